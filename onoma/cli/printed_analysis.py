"""An analysis as it comes, category by category: as JSON or as a table."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from onoma.cli.output import console, percent, print_table
from onoma.science.analysis import averages
from onoma.science.matching import Kind

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
_AVERAGED = ("coverage", "purity", "named_by_exactly_n", "pair_summary", "chance")
_LEGEND = (
    "n: significant activations. Means over annotators, or pairs of them. 1:1, 1:n, bicl.: agreement by the matchings "
    "one_to_one, one_to_many and biclique, each beside that of shuffled namings."
)


def prepared(categories: Iterator[tuple[str, dict[str, Any]]], *, as_json: bool) -> Callable[[], None]:
    """Takes an analysis as it comes: as JSON written at once, otherwise to be printed as a table when called."""
    if as_json:
        _write(categories)
        return lambda: None
    return partial(_print, *_rows(categories))


def _print(rows: list[list[Any]], notes: list[str]) -> None:
    print_table(_HEADINGS, rows)
    console.print(_LEGEND)
    for note in notes:
        console.print(f"  ! {note}")


def _write(categories: Iterator[tuple[str, dict[str, Any]]]) -> None:
    """Writes the analysis category by category: of a large study it would not fit into memory as a whole."""
    other, averaged = {}, []
    start = '{"expected": {'
    for name, part in categories:
        sys.stdout.write(f"{start}\n{_text(name)}: {_text(part['expected'])}")
        start = ","
        other[name] = _text(part["other_measures"])
        averaged.append({key: part["expected"][key] for key in _AVERAGED})
    if not averaged:
        sys.stdout.write(start)
    others = ",\n".join(f"{_text(name)}: {text}" for name, text in other.items())
    sys.stdout.write(f'}},\n"other_measures_on_commonly_named": {{\n{others}}},\n')
    sys.stdout.write(f'"averages": {_text(averages(averaged))}}}\n')


def _text(value: Any) -> str:
    return json_text.dumps(value, ensure_ascii=False, allow_nan=False)


def _shares(mean: dict[str, Any], chance: dict[str, Any]) -> Iterator[str | None]:
    for key in ("coverage_activation", "purity_CX", "purity_XC", "jaccard"):
        yield percent(mean[key]["mean"], digits=0)
    for kind in Kind:
        yield percent(mean[kind.value]["mean"], digits=0)
        known, at_least = chance[kind.value], chance.get(f"{kind.value}_at_least")
        if known is None and at_least:
            yield f"≥ {percent(at_least['value'], digits=0)}"
        else:
            yield percent(known and known["value"], digits=0)


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
                *_shares(mean, found["chance"]),
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
