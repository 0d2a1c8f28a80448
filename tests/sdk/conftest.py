"""The command line against the services of the main job."""

import pytest

from tests.command_line import run
from tests.conftest import OpenStudy


@pytest.fixture
def onoma(open_study: OpenStudy, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Runs `onoma ARGUMENTS` in this process; returns exit code and output."""
    for service, address in open_study.running.addresses.items():
        monkeypatch.setenv(f"ONOMA_{service.upper()}_ADDRESS", address)

    return lambda *arguments: run(["onoma", *arguments], monkeypatch, capfd)
