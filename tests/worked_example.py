"""tests/data/worked_example.json: an input made by hand, and every value that is expected of it."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parent / "data" / "worked_example.json"
DOCUMENT = json.loads(FILE.read_text())
PARTS = ("expected", "other_measures_on_commonly_named")

VALUES = 280
"""How many values the example has: a ratio, a number, a name, or an empty list each."""

# Beside the values: which optimal matchings there are, and what labels give over all of them.
_OF_OPTIMA = ("optimal_edge_sets", "exact_compat_range", "subset_compat_range")


def compare(analysis: Any) -> int:
    """Compares every value of the example with an analysis of it; returns how many there were."""
    return sum(_compare(DOCUMENT[part], analysis[part], part) for part in PARTS)


def _compare(wanted: Any, found: Any, where: str) -> int:
    if isinstance(wanted, dict) and set(wanted) == {"fraction", "value"}:
        assert found["value"] == pytest.approx(wanted["value"], abs=1e-6), where
        assert Fraction(found["numerator"], found["denominator"]) == Fraction(wanted["fraction"]), where
        return 1
    if isinstance(wanted, dict):
        return sum(
            _compare(value, found[key], f"{where}, {key}")
            for key, value in wanted.items()
            if key not in _OF_OPTIMA
        )
    if isinstance(wanted, list) and wanted:
        assert len(found) == len(wanted), where
        return sum(
            _compare(one, other, f"{where}, {i}")
            for i, (one, other) in enumerate(zip(wanted, found, strict=True))
        )
    if isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=1e-4 if wanted > 1 else 2e-6), where
    else:
        assert found == wanted, where
    return 1
