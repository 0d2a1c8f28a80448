"""Every command, used wrongly: one clear line, which names the thing or the way out, and nothing done."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from onoma.cli import app, main
from onoma.v1 import naming_pb2
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
WRONG_BEFORE_ASKING = {("naming", "export"), ("predict",)}  # a file of no known kind, no picture to score
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
        said = capsys.readouterr().err.strip()
        if ended.value.code == 2:  # of the command line itself: typer says it, in a frame under the usage
            assert re.match(r"Usage: .*\bonoma ", said)  # `python -m pytest` stands before it
            return 2, " ".join(said.replace("│", " ").split())
        *above, line = said.splitlines()
        assert not [one for one in above if not re.search(r"━|\d/\d", one)], (
            "more than one line and the bar of the work"
        )
        return int(ended.value.code or 0), line

    return run


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_without_a_server_the_address_is_named_or_what_else_is_wrong(
    path: tuple[str, ...], wrongly: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in SERVICES:
        monkeypatch.setenv(f"ONOMA_{service}_ADDRESS", "127.0.0.1:9")
    code, line = wrongly(path)
    assert code == (2 if path in WRONG_BEFORE_ASKING else 1)
    assert code == 2 or line.startswith("onoma: ")
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
    assert code == (2 if path in WRONG_BEFORE_ASKING else 1)
    assert code == 2 or line.startswith("onoma: ")
    assert UNKNOWN in line or "some.bin" in line or "give " in line


ANALYSES = ("analyse FILE", "study analyse STUDY", "report STUDY --out FOLDER")
NO_VALUES = (
    ("--confidence 0", "0 is no confidence; give more than 0 and less than 1"),
    ("--confidence 1.5", "1.5 is no confidence"),
    ("--confidence nan", "nan is no confidence"),
    ("--time-limit 0", "0 s is no time; give more than 0"),
    ("--time-limit -1", "-1 s is no time"),
    ("--time-limit nan", "nan s is no time"),
)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        *((f"{analysis} {option}", said) for analysis in ANALYSES for option, said in NO_VALUES),
        ("analyse FILE --wordnet FILE", "give --part-of too"),
        ("study labels STUDY --by Ada", "give --overrule LABEL LABEL OUTCOME too"),
        ("study labels STUDY --overrule a b none", "--overrule needs --by NAME"),
        ("doctor --most", "give --remove-orphans too"),
    ],
)
def test_what_has_no_meaning_is_wrong_use_before_anything_is_read(
    command: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for service in SERVICES:
        monkeypatch.setenv(f"ONOMA_{service}_ADDRESS", "127.0.0.1:9")
    (tmp_path / "FILE").write_bytes(b"\x00")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["onoma", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())


PICTURE = b"\x89PNG\r\n\x1a\n\xff\xfe"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("naming import STUDY FILE", "is not UTF-8 text; give a .json or .csv file as onoma naming export"),
        ("maps import STUDY FILE", "no zip archive; docs/importing-maps.md says how one is written"),
        ("study import FILE", "no zip archive, or its end is missing; copy it again"),
        ("model check FILE", "docs/howto/own-model.md says how one is made"),
        ("explain FILE --study WITH_MAPS --annotator ADA", "some.bin: "),
        ("analyse FILE", "is not UTF-8 text"),
        ("report STUDY --out FILE", "is a file"),
        ("naming export STUDY --out FILE", "ends neither with .json nor with .csv; say which with --format"),
        ("explain FILE --study STUDY --annotator Grace", "'Grace' looks on in study"),
    ],
)
def test_a_file_of_another_kind_or_a_viewer_is_named_with_the_way_out(
    command: str,
    said: str,
    open_study: OpenStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for service in SERVICES:
        monkeypatch.setenv(f"ONOMA_{service}_ADDRESS", open_study.running.addresses[service.lower()])
    (tmp_path / "some.bin").write_bytes(PICTURE)
    study = f"wrong use {tmp_path.name}"
    made = open_study.client.create_study(study, "tiny", "shapes", "", ["circle"])
    with_maps = open_study.study.study_id
    ada = open_study.client.invite_annotator(with_maps, study).annotator.annotator_id
    open_study.client.invite_annotator(made.study_id, "Grace", role=naming_pb2.ROLE_VIEWER)
    given = {"STUDY": study, "WITH_MAPS": with_maps, "ADA": ada, "FILE": str(tmp_path / "some.bin")}
    monkeypatch.setattr("sys.argv", ["onoma", *(given.get(word, word) for word in command.split())])
    with pytest.raises(SystemExit) as ended:
        main()
    text = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert ended.value.code
    assert said in text
    assert "some.bin" in text.replace(" ", "") or "Grace" in text  # a long path is folded
