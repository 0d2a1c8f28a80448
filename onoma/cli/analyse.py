"""`onoma analyse`: every statistic of a study in a file, with no server."""

from __future__ import annotations

import json as json_text
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import comb
from pathlib import Path
from typing import Annotated, Any

import typer

from onoma.cli.output import Json, bar, console, errors, print_table
from onoma.science.analysis import analyse_categories, averages
from onoma.science.category_analysis import Options
from onoma.science.matching import TIME_LIMIT_S, Kind
from onoma.science.study_file import StudyFile, study_from_document
from onoma.science.wordnet import Parts

WORDNET = Path("/usr/share/wordnet/data.noun")
_HEADINGS = (
    "category",
    "n",
    "cover",
    "CX",
    "XC",
    "Jaccard",
    "1:1",
    "chance",
    "1:n",
    "chance",
    "bicl.",
    "chance",
)
_LEGEND = (
    "n: significant activations. Means over annotators, or pairs of them. 1:1, 1:n, bicl.: agreement by the matchings "
    "one_to_one, one_to_many and biclique, each beside that of shuffled namings."
)
_MANY_PAIRS = 2000  # from here on it pays to start a process a core


def analyse(
    file: Annotated[Path, typer.Argument(help="A study (docs/statistics.md).", exists=True, dir_okay=False)],
    shuffles: Annotated[
        int, typer.Option(min=0, help="Of the permutation baseline, a category; 0: none.")
    ] = Options.shuffles,
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffles.")] = Options.seed,
    time_limit: Annotated[
        float, typer.Option(help="Seconds for one matching of one pair of annotators.")
    ] = TIME_LIMIT_S,
    confidence: Annotated[float, typer.Option(help="Of the intervals.")] = Options.confidence,
    part_of: Annotated[
        bool, typer.Option("--part-of", help="Take parts by WordNet for subsets ('eye' of 'head').")
    ] = False,
    wordnet: Annotated[Path, typer.Option(help="WordNet's data.noun.")] = WORDNET,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Categories beside each other; found by itself.")
    ] = None,
    json: Json = False,
) -> None:
    """Compute coverage, purity, agreement and more of a study in a file; needs no server."""
    study = study_from_document(_read(file))
    for key in study.unread:
        errors.print(f"'{key}' in {file} means nothing here and is left out", markup=False, soft_wrap=True)
    if part_of:
        study = replace(study, vocabulary=replace(study.vocabulary, part_of=_parts(wordnet).part_of))
    options = Options(shuffles, seed, time_limit, confidence, processes or _processes(study))
    with bar("analyse", errors) as progress:
        categories = analyse_categories(study, options, progress)
        if json:
            _write(categories)
            return
        found = _rows(categories)
    _print(*found)


def show(analysis: Mapping[str, Any]) -> None:
    """Prints an analysis as a table, a category a row."""
    _print(*_rows((name, {"expected": part}) for name, part in analysis["expected"].items()))


def _print(rows: list[list[Any]], notes: list[str]) -> None:
    print_table(_HEADINGS, rows)
    console.print(_LEGEND, markup=False)
    for note in notes:
        console.print(f"  ! {note}", markup=False)


def _read(file: Path) -> Any:
    try:
        return json_text.loads(
            file.read_text(encoding="utf-8"),
            object_pairs_hook=_once,
            parse_constant=_no_number,
            parse_int=_whole,
        )
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text") from None
    except json_text.JSONDecodeError as error:
        raise ValueError(
            f"{file} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise ValueError(f"{file} is nested too deeply to be a study") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(
            f"'{twice}' stands twice in one object (two concepts of one name: write 'clusters' as a list)"
        )
    return found


def _no_number(constant: str) -> float:
    raise ValueError(f"the study has {constant}, which is no number; leave out what is not known")


def _whole(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        raise ValueError(f"the study has a whole number of {len(digits):,} digits: too large") from None


def _parts(wordnet: Path) -> Parts:
    try:
        with wordnet.open(encoding="latin-1") as lines:
            return Parts(lines)
    except FileNotFoundError:
        raise ValueError(
            f"--part-of needs WordNet, and {wordnet} is not there (install Debian's wordnet-base, or give --wordnet)"
        ) from None


def _processes(study: StudyFile) -> int:
    pairs = sum(comb(len(namings), 2) for namings in study.study.namings.values())
    if pairs < _MANY_PAIRS:
        return 1
    return max(1, min(os.cpu_count() or 1, len(study.study.categories)))


def _write(categories: Iterator[tuple[str, dict[str, Any]]]) -> None:
    """Writes the analysis category by category: of a large study it would not fit into memory as a whole."""
    other, averaged = {}, []
    start = '{"expected": {'
    for name, part in categories:
        sys.stdout.write(f"{start}\n{_text(name)}: {_text(part['expected'])}")
        start = ","
        other[name] = _text(part["other_measures"])
        averaged.append({key: part["expected"][key] for key in ("coverage", "purity", "pair_summary")})
    if not averaged:
        sys.stdout.write(start)
    others = ",\n".join(f"{_text(name)}: {text}" for name, text in other.items())
    sys.stdout.write(f'}},\n"other_measures_on_commonly_named": {{\n{others}}},\n')
    sys.stdout.write(f'"averages": {_text(averages(averaged))}}}\n')


def _text(value: Any) -> str:
    return json_text.dumps(value, ensure_ascii=False, allow_nan=False)


def _rows(categories: Iterable[tuple[str, dict[str, Any]]]) -> tuple[list[list[Any]], list[str]]:
    """A row a category, and what has to be said beside the table."""
    rows: list[list[Any]] = []
    notes: list[str] = []
    for name, part in categories:
        found = part["expected"]
        mean = averages([found])
        rows.append(
            [
                name,
                found["n"]["activations"],
                *(mean[key]["mean"] for key in ("coverage_activation", "purity_CX", "purity_XC")),
                mean["jaccard"]["mean"],
                *(
                    value
                    for kind in Kind
                    for value in (mean[kind.value]["mean"], (found["chance"][kind.value] or {}).get("value"))
                ),
            ]
        )
        notes += [f"{name}: {warning}" for warning in found["warnings"]]
        open_pairs = [
            key
            for key, pair in found["pairs"].items()
            if any(pair[kind.value] and pair[kind.value]["status"] != "optimal" for kind in Kind)
        ]
        if open_pairs:
            notes.append(f"{name}: not proven within the time limit: {', '.join(open_pairs)}")
    return rows, notes
