"""Two namings as a drawing shows them: concepts, what they share, and which are matched (paper, Figure 7)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onoma.science.agreement import PairAgreement
from onoma.science.matching import Kind, Matching
from onoma.science.plain_numbers import Json
from onoma.science.study_data import Naming

MOST_DRAWN = 30
"""Concepts of a side: more cannot be told apart on a page."""
_LOOKED_AT = 10_000  # of the largest overlaps


def drawn_pair(pair: PairAgreement, left: Naming, right: Naming) -> Json:
    """Two namings and their one-to-many matching. Concepts are told apart by their places: names may come twice.

    Args:
        pair: of the two, with an activation that both named.
        left, right: cleaned.
    Returns:
        "annotators"; "matching", its kind, weight, bound and status; "concepts", of each side those with the largest
        overlaps, at most MOST_DRAWN, matched ones first, each with its name and the commonly named activations in it;
        "overlaps" of these, as [left place, right place, common activations, whether it is inside the matching];
        "left_out", the concepts of each side and the commonly named activations that are not drawn.
    """
    graph, matching = pair.graph, pair.matchings[Kind.ONE_TO_MANY]
    drawn_left, drawn_right = _largest(graph.left, graph.right, graph.weight)
    sides = (_matched_first(drawn_left, matching, 0), _matched_first(drawn_right, matching, 1))
    place = [{concept: i for i, concept in enumerate(side)} for side in sides]
    drawn = np.isin(graph.left, sides[0]) & np.isin(graph.right, sides[1])
    edges = set(matching.edges)
    overlaps = [
        [place[0][one], place[1][other], weight, (one, other) in edges]
        for one, other, weight in zip(
            *(of_edge[drawn].tolist() for of_edge in (graph.left, graph.right, graph.weight)), strict=True
        )
    ]
    sizes = [
        np.bincount(ends, graph.weight, minlength=len(naming.concept_names)).astype(int).tolist()
        for ends, naming in ((graph.left, left), (graph.right, right))
    ]
    return {
        "annotators": [pair.left, pair.right],
        "common": pair.common,
        "matching": {
            "kind": Kind.ONE_TO_MANY.value,
            "weight": matching.value,
            "upper_bound": matching.upper_bound,
            "status": matching.status,
            "several_optima": matching.several_optima,
        },
        "concepts": [
            [{"name": naming.concept_names[c], "activations": of_side[c]} for c in side]
            for naming, side, of_side in zip((left, right), sides, sizes, strict=True)
        ],
        "overlaps": overlaps,
        "left_out": {
            "concepts": [
                len(np.unique(ends)) - len(side)
                for ends, side in zip((graph.left, graph.right), sides, strict=True)
            ],
            "activations": pair.common - sum(weight for _, _, weight, _ in overlaps),
        },
    }


def _largest(
    left: NDArray[np.int64], right: NDArray[np.int64], weight: NDArray[np.int64]
) -> tuple[set[int], set[int]]:
    """The concepts of the largest overlaps, at most MOST_DRAWN a side."""
    lefts: set[int] = set()
    rights: set[int] = set()
    for edge in np.argsort(-weight, kind="stable")[:_LOOKED_AT].tolist():
        with_it = lefts | {int(left[edge])}, rights | {int(right[edge])}
        if max(map(len, with_it)) <= MOST_DRAWN:
            lefts, rights = with_it
        if len(lefts) == len(rights) == MOST_DRAWN:
            break
    return lefts, rights


def _matched_first(concepts: set[int], matching: Matching, side: int) -> Sequence[int]:
    """In the order of the matching's sets, so that its lines cross little; the others behind."""
    matched = [c for part in matching.sets for c in (part.left, part.right)[side] if c in concepts]
    return [*matched, *sorted(concepts.difference(matched))]
