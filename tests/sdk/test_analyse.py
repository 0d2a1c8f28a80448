"""`onoma analyse`: a study in a file, with no server."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from onoma import cli
from tests.command_line import run_apart
from tests.worked_example import FILE as EXAMPLE
from tests.worked_example import VALUES, compare


@pytest.fixture
def analyse(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Runs `onoma analyse ARGUMENTS`; returns exit code, output and errors."""
    return lambda *arguments: run_apart(["onoma", "analyse", *map(str, arguments)], monkeypatch, capfd)


def test_the_worked_example_comes_out_as_json(analyse) -> None:
    code, out, _ = analyse(EXAMPLE, "--json")
    assert code == 0
    found = json.loads(out)
    assert list(found) == ["expected", "other_measures_on_commonly_named", "averages"]
    assert compare(found) == VALUES


def test_people_get_a_table_with_dashes_for_what_is_undefined(analyse, tmp_path: Path) -> None:
    study = json.loads(EXAMPLE.read_text())["input"]
    study["namings"]["A1"]["q"] = study["namings"]["A3"]["q"] = {"clusters": {}}
    (tmp_path / "study.json").write_text(json.dumps(study))
    code, out, _ = analyse(tmp_path / "study.json")
    assert code == 0
    assert "one_to_many" in out
    assert "\N{EN DASH}" in out


def test_the_same_seed_gives_the_same_chance(analyse) -> None:
    first, again, other = (analyse(EXAMPLE, "--json", "--seed", seed)[1] for seed in (1, 1, 2))
    assert first == again != other


def test_processes_do_not_change_the_output(analyse) -> None:
    assert analyse(EXAMPLE, "--json")[1] == analyse(EXAMPLE, "--json", "--processes", 2)[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON: Expecting property name"),
        ('{"format": "onoma-namings", "version": 1}', "holds namings alone, without what was shown"),
        ('{"annotators": [], "annotators": []}', "'annotators' stands twice in one object"),
        ('{"annotators": NaN}', "the study has NaN, which is no number"),
        ('{"annotators": ' + "1" * 5000 + "}", "the study has a whole number of 5,000 digits: too large"),
        (
            '{"annotators": ["\\ud800"]}',
            "the study, 'annotators' has the text '\\ud800' with half of a character",
        ),
        ("[" * 100_000, "nested too deeply"),
        ('{"annotators": []}', "the study has no 'categories'"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_study_is_one_line(
    analyse, tmp_path: Path, text: str | bytes, message: str
) -> None:
    file = tmp_path / "s.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    code, out, err = analyse(file, "--json")
    assert (code, out) == (1, "")
    assert message in err
    assert err.startswith("onoma: ")
    assert err.count("\n") == 1


def test_a_file_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    assert CliRunner().invoke(cli.app, ["analyse", str(tmp_path / "none.json")]).exit_code == 2


def test_wordnet_that_is_not_there_is_told(analyse, tmp_path: Path) -> None:
    code, _, err = analyse(EXAMPLE, "--part-of", "--wordnet", tmp_path / "data.noun")
    assert code == 1
    assert "install Debian's wordnet-base" in err


def test_parts_come_from_wordnet_when_asked(analyse, tmp_path: Path) -> None:
    study = json.loads(EXAMPLE.read_text())["input"]
    del study["label_judgements"]
    (tmp_path / "study.json").write_text(json.dumps(study))
    (tmp_path / "data.noun").write_text(
        "00000001 08 n 01 eye 0 001 #p 00000002 n 0000 | sees\n00000002 08 n 01 head 0 000 | top\n"
    )
    arguments = [tmp_path / "study.json", "--json"]
    compat = [
        json.loads(analyse(*arguments, *flag)[1])["expected"]["p"]["pairs"]["A1-A3"]["one_to_one"]
        for flag in ([], ["--part-of", "--wordnet", tmp_path / "data.noun"])
    ]
    assert [found["subset_compat"]["value"] for found in compat] == [0.5, 1.0]


def chain(concepts: int, *, tied: bool) -> dict[str, Any]:
    """A study of two annotators: one concept of two activations after the other, the second's shifted by one or not."""
    ids = [f"a{i}" for i in range(2 * concepts)]

    def clusters(first: int) -> list[dict[str, Any]]:
        return [{"name": f"c{i}", "activations": ids[i : i + 2]} for i in range(first, 2 * concepts, 2)]

    return {
        "annotators": ["ann", "bob"],
        "min_cluster_images": 1,
        "categories": {"bird": {"images": ["i"], "activations": {a: ["i", 0] for a in ids}}},
        "namings": {
            "ann": {"bird": {"clusters": clusters(0)}},
            "bob": {"bird": {"clusters": clusters(1 if tied else 0)}},
        },
    }


@pytest.mark.parametrize(
    ("concepts", "tied", "options", "most_s"),
    [
        (2000, True, ["--time-limit", "1"], 60),
        pytest.param(10_000, True, ["--time-limit", "1"], 90, marks=pytest.mark.slow),
        pytest.param(10_000, False, [], 150, marks=pytest.mark.slow),
    ],
)
def test_thousands_of_concepts_end_with_their_time_in_little_memory(
    tmp_path: Path, concepts: int, tied: bool, options: list[str], most_s: float
) -> None:
    (tmp_path / "study.json").write_text(json.dumps(chain(concepts, tied=tied)))
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30));"
        "from onoma.cli import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", limited, "analyse", tmp_path / "study.json", "--json", *options],
        capture_output=True,
        text=True,
        timeout=most_s,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    pair = json.loads(ended.stdout)["expected"]["bird"]["pairs"]["ann-bob"]
    if not tied:
        assert (pair["one_to_one"]["status"], pair["one_to_one"]["several_optima"]) == ("optimal", False)
    for kind in ("one_to_one", "one_to_many", "biclique"):
        assert pair[kind]["weight"] <= pair[kind]["upper_bound"]
        assert pair[kind]["chance"] or pair[kind]["chance_at_least"]
