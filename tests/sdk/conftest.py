"""The command line against the services of the main job."""

import pytest

from onoma import cli
from tests.conftest import OpenStudy


@pytest.fixture
def onoma(open_study: OpenStudy, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Runs `onoma ARGUMENTS` in this process; returns exit code and output."""
    for service, address in open_study.running.addresses.items():
        monkeypatch.setenv(f"ONOMA_{service.upper()}_ADDRESS", address)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["onoma", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capfd.readouterr()
        return code, captured.out + captured.err

    return run
