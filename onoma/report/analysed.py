"""What a report keeps of a category's analysis: a large study's pairs would not fit into memory together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from onoma.science.matching import Kind

Json = Mapping[str, Any]
Row = tuple[str | int | float | None, ...]

_OF_MATCHING = (
    "weight", "upper_bound", "status", "several_optima", "agreement", "chance", "chance_n", "chance_at_least",
    "chance_at_least_n", "exact_compat", "subset_compat", "ambiguous_compat", "edges", "edges_judged_by_hand",
)  # fmt: skip
PAIR_COLUMNS = (
    "category", "annotator", "other_annotator", "common", "union", "jaccard",
    *(f"{kind.value}_{key}" for kind in Kind for key in _OF_MATCHING),
)  # fmt: skip
MEASURES = ("ari", "ami", "v_measure", "vi_nats", "bcubed_precision", "bcubed_recall")
"""Keys of the other measures of a pair."""
_DROPPED = ("pairs", "explanation_summary_table4_style", "explanation_summary_section33_style")


@dataclass(frozen=True)
class MatchingCounts:
    """One kind of matching over the pairs of a category.

    Attributes:
        matched: pairs that have one: those with a commonly named activation.
        proven: of these, with proof that nothing is better.
        gap: the farthest that an upper bound lies above its value, as a share of it.
        settled: pairs of which it is known whether there are several optima.
        several: of these, with several.
        edges: matched concepts, over all pairs.
        by_hand: of these, whose labels a person judged.
    """

    matched: int
    proven: int
    gap: float
    settled: int
    several: int
    edges: int
    by_hand: int


@dataclass(frozen=True, eq=False)
class AnalysedCategory:
    """A category's analysis.

    Attributes:
        category: its name.
        found: the analysis' "expected", without what the fields below hold.
        matchings: by kind.
        pair_count: pairs of namings.
        compared_count: those with a commonly named activation, whose other measures are known.
        measures: mean over these of each of MEASURES; None where there is none.
        kappa: named against unnamed, Fleiss' kappa and Krippendorff's alpha, or why there is none.
        pair_rows: a row of PAIR_COLUMNS each.
    """

    category: str
    found: Json
    matchings: Mapping[Kind, MatchingCounts]
    pair_count: int
    compared_count: int
    measures: Mapping[str, float | None]
    kappa: Json
    pair_rows: tuple[Row, ...]


def analysed_category(category: str, part: Json) -> AnalysedCategory:
    """Keeps of an analysis what a report needs.

    Args:
        part: {"expected": ..., "other_measures": ...} of the category (docs/statistics.md).
    """
    found, others = part["expected"], part["other_measures"]
    compared = [pair for pair in others["pairs"].values() if pair is not None]
    return AnalysedCategory(
        category=category,
        found={key: value for key, value in found.items() if key not in _DROPPED},
        matchings={
            kind: _counts(
                [pair[kind.value] for pair in found["pairs"].values() if pair[kind.value] is not None]
            )
            for kind in Kind
        },
        pair_count=len(found["pairs"]),
        compared_count=len(compared),
        measures={key: fmean(pair[key] for pair in compared) if compared else None for key in MEASURES},
        kappa={key: value for key, value in others.items() if key != "pairs"},
        pair_rows=tuple(_row(category, pair) for pair in found["pairs"].values()),
    )


def _counts(matchings: Sequence[Json]) -> MatchingCounts:
    settled = [one["several_optima"] for one in matchings if one["several_optima"] is not None]
    return MatchingCounts(
        matched=len(matchings),
        proven=sum(one["status"] == "optimal" for one in matchings),
        gap=max((one["upper_bound"] / one["weight"] - 1 for one in matchings if one["weight"]), default=0.0),
        settled=len(settled),
        several=sum(settled),
        edges=sum(one["edges"] for one in matchings),
        by_hand=sum(one["edges_judged_by_hand"] for one in matchings),
    )


def _row(category: str, pair: Json) -> Row:
    of_matchings = [_of_matching(pair[kind.value] or {}, key) for kind in Kind for key in _OF_MATCHING]
    return (
        category,
        *pair["annotators"],
        pair["common"],
        pair["union"],
        _value(pair["jaccard"]),
        *of_matchings,
    )


def _of_matching(matching: Json, key: str) -> Any:
    if key in ("chance_n", "chance_at_least_n"):
        return (matching.get(key.removesuffix("_n")) or {}).get("shuffles")
    return _value(matching.get(key))


def _value(found: Any) -> Any:  # a share of the analysis, or a plain value
    return found["value"] if isinstance(found, Mapping) else found
