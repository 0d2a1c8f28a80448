"""Every command, used wrongly: one clear line, which names the thing or the way out, and nothing done."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from onoma.cli import app, main
from tests.conftest import OpenStudy

UNKNOWN = "nothing-here"
STARTS_SERVERS = {("up",), ("demo",)}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
    else:
        for name, child in below.items():
            yield from leaves(child, (*path, name))


COMMANDS = {
    path: command for path, command in leaves(typer.main.get_command(app)) if path not in STARTS_SERVERS
}
SERVICES = ("INFERENCE", "ATTRIBUTION", "NAMING", "ANALYTICS")


def words(command: Any, file: Path) -> list[str]:
    """What the command asks for: names that nobody has, and where a file has to be there, one of none of its kinds."""
    given = []
    for parameter in command.params:
        if parameter.required:
            value = str(file) if parameter.type_descriptor.parameter_info.exists else UNKNOWN
            given += [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]
    return given


@pytest.fixture
def wrongly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Runs a command with such words in an empty folder; its exit code and its last line of errors."""
    file = tmp_path / "some.bin"
    file.write_bytes(b"\x00 of no kind")
    monkeypatch.chdir(tmp_path)

    def run(path: tuple[str, ...]) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["onoma", *path, *words(COMMANDS[path], file)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert [left.name for left in tmp_path.iterdir()] == ["some.bin"], "it left something behind"
        *above, line = capsys.readouterr().err.strip().splitlines()
        assert not [one for one in above if "/?" not in one], "more than one line and the bar of the work"
        return int(ended.value.code or 0), line

    return run


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_without_a_server_the_address_is_named_or_what_else_is_wrong(
    path: tuple[str, ...], wrongly: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in SERVICES:
        monkeypatch.setenv(f"ONOMA_{service}_ADDRESS", "127.0.0.1:9")
    code, line = wrongly(path)
    assert code == 1
    assert line.startswith("onoma: ")
    assert (
        "127.0.0.1:9 (start one with `onoma up`" in line
        or "some.bin" in line
        or UNKNOWN in line
        or "give " in line
    )


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_name_or_file_that_is_not_what_was_wanted_is_named(
    path: tuple[str, ...], wrongly: Any, open_study: OpenStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in SERVICES:
        monkeypatch.setenv(f"ONOMA_{service}_ADDRESS", open_study.running.addresses[service.lower()])
    if not any(parameter.required for parameter in COMMANDS[path].params):
        return  # a list: nothing that could be wrong
    code, line = wrongly(path)
    assert code == 1
    assert line.startswith("onoma: ")
    assert UNKNOWN in line or "some.bin" in line or "give " in line
