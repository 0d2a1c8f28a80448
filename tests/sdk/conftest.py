"""The command line against the services of the main job."""

import pytest

from tests.command_line import run, run_apart
from tests.conftest import OpenStudy


@pytest.fixture
def onoma(open_study: OpenStudy, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Runs `onoma ARGUMENTS` in this process; returns exit code and output."""
    _reaches(open_study, monkeypatch)
    return lambda *arguments: run(["onoma", *arguments], monkeypatch, capfd)


@pytest.fixture
def onoma_apart(open_study: OpenStudy, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Runs `onoma ARGUMENTS` in this process; returns exit code, standard output and standard error."""
    _reaches(open_study, monkeypatch)
    return lambda *arguments: run_apart(["onoma", *arguments], monkeypatch, capfd)


def _reaches(open_study: OpenStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    for service, address in open_study.running.addresses.items():
        monkeypatch.setenv(f"ONOMA_{service.upper()}_ADDRESS", address)
