"""The `onoma` command, run in the tests' own process."""

import io
from collections.abc import Sequence

import pytest

from onoma import cli


class Terminal(io.StringIO):
    """Somebody who types an answer."""

    def isatty(self) -> bool:
        return True


def run(
    words: Sequence[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Exit code and all that a command line, `onoma` included, puts on the screen: bars and their rates too."""
    code, out, err = run_apart(words, monkeypatch, capfd)
    return code, out + err


def run_apart(
    words: Sequence[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line, `onoma` included."""
    monkeypatch.setattr("sys.argv", [*words])
    try:
        cli.main()
        code = 0
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    captured = capfd.readouterr()
    return code, captured.out, captured.err
