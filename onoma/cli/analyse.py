"""`onoma analyse`: every statistic of a study in a file, with no server."""

from __future__ import annotations

import json as json_text
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from onoma.cli.output import Json, bar, console, errors, print_table
from onoma.science.analysis import analyse_categories, averages, processes_for
from onoma.science.category_analysis import Options
from onoma.science.matching import TIME_LIMIT_S, Kind
from onoma.science.study_file import study_from_document
from onoma.wordnet_file import DATA_NOUN, read_parts

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


Shuffles = Annotated[int, typer.Option(min=0, help="Of the permutation baseline, a category; 0: none.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the shuffles.")]
TimeLimit = Annotated[float, typer.Option(help="Seconds for one matching of one pair of annotators.")]
Confidence = Annotated[float, typer.Option(help="Of the intervals.")]
PartOf = Annotated[
    bool, typer.Option("--part-of", help="Take parts by WordNet for subsets ('eye' of 'head').")
]


def analyse(
    file: Annotated[Path, typer.Argument(help="A study (docs/statistics.md).", exists=True, dir_okay=False)],
    shuffles: Shuffles = Options.shuffles,
    seed: Seed = Options.seed,
    time_limit: TimeLimit = TIME_LIMIT_S,
    confidence: Confidence = Options.confidence,
    part_of: PartOf = False,
    wordnet: Annotated[Path, typer.Option(help="WordNet's data.noun.")] = DATA_NOUN,
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
        study = replace(study, vocabulary=replace(study.vocabulary, part_of=read_parts(wordnet).part_of))
    options = Options(
        shuffles, seed, time_limit, confidence, processes or processes_for(study, os.cpu_count() or 1)
    )
    with bar("analyse", errors) as progress:
        categories = analyse_categories(study, options, progress)
        print_analysis = prepared(categories, as_json=json)
    print_analysis()


def prepared(categories: Iterator[tuple[str, dict[str, Any]]], *, as_json: bool) -> Callable[[], None]:
    """Takes an analysis as it comes: as JSON written at once, otherwise to be printed as a table when called."""
    if as_json:
        _write(categories)
        return lambda: None
    return partial(_print, *_rows(categories))


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
