"""Matchings of two namings (Cazals, Mazauric, Tetley, Watrigant 2019, D-family-matching; paper, section 4).

Disjoint sets of concepts whose inside weight is largest. Three kinds of sets, always named: pairs (`one_to_one`), stars
(`one_to_many`), bicliques (`biclique`). Every pair is a star and every star a biclique, so that their values only grow.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from onoma.science.analysis_options import TIME_LIMIT_S
from onoma.science.biclique import biclique_value, bicliques
from onoma.science.one_to_one import one_to_one, one_to_one_value
from onoma.science.overlaps import Overlaps, Solution, parts
from onoma.science.star_forest import star_forest, star_forest_value


class Kind(Enum):
    """Which sets of concepts a matching may form."""

    ONE_TO_ONE = "one_to_one"
    """Pairs (D = 1)."""
    ONE_TO_MANY = "one_to_many"
    """Stars: one concept refined into several; what the paper describes in words for D = 2."""
    BICLIQUE = "biclique"
    """Complete bipartite sets, the literal D = 2; inflated by noise."""


@dataclass(frozen=True)
class ConceptSet:
    """Concepts that a matching takes for one, by their indices; every left one overlaps every right one."""

    left: tuple[int, ...]
    right: tuple[int, ...]

    def edges(self) -> Iterator[tuple[int, int]]:
        """The (left, right) pairs inside."""
        return ((left, right) for left in self.left for right in self.right)


@dataclass(frozen=True)
class Matching:
    """A matching of two namings.

    Attributes:
        kind: which sets are allowed.
        value: activations inside the sets.
        upper_bound: no matching of this kind has more; proven.
        sets: in the order of their first left concept.
        several_optima: whether another matching has the same value; None where that is not known.
        lexicographically_first: of all optimal matchings this is the one with the earliest edges (by left concept,
            then right). Only large graphs, or a short time limit, leave that open.
        several_unknown: why `several_optima` is None, otherwise empty.
    """

    kind: Kind
    value: int
    upper_bound: int
    sets: tuple[ConceptSet, ...]
    several_optima: bool | None
    lexicographically_first: bool
    several_unknown: str = ""

    @property
    def status(self) -> str:
        """'optimal' where the value reaches the proven bound, otherwise 'feasible'."""
        return "optimal" if self.value == self.upper_bound else "feasible"

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The matched (left, right) pairs of concepts, in order."""
        return tuple(sorted(edge for part in self.sets for edge in part.edges()))


_SOLVERS: dict[Kind, Callable[[Overlaps, float], Solution]] = {
    Kind.ONE_TO_ONE: one_to_one,
    Kind.ONE_TO_MANY: star_forest,
    Kind.BICLIQUE: bicliques,
}


def match(graph: Overlaps, kind: Kind, time_limit_s: float = TIME_LIMIT_S) -> Matching:
    """The best matching of a kind; connected components are solved on their own.

    Args:
        time_limit_s: for the whole; what is best by then is returned as 'feasible'.
    Raises:
        ValueError: the time limit is not positive.
    """
    return match_all(graph, (kind,), time_limit_s)[kind]


def match_all(
    graph: Overlaps, kinds: tuple[Kind, ...] = tuple(Kind), time_limit_s: float = TIME_LIMIT_S
) -> dict[Kind, Matching]:
    """The best matching of each kind, as `match`; the time limit is for each of them."""
    if not time_limit_s > 0:
        raise ValueError(f"the time limit is {time_limit_s} s; it must be positive")
    components = list(parts(graph))
    matchings: dict[Kind, Matching] = {}
    for kind in kinds:
        deadline = time.monotonic() + time_limit_s
        chosen = np.zeros(graph.left.size, dtype=np.bool_)
        solutions = []
        for component, edges in components:
            solution = _SOLVERS[kind](component, deadline)
            chosen[edges] = solution.edges
            solutions.append(solution)
        matchings[kind] = _matching(graph, kind, chosen, solutions)
    return matchings


def best_value(table: NDArray[np.int64], kind: Kind, deadline: float) -> int | None:
    """The value alone of the best matching of a contingency table, quicker than `match`.

    Args:
        deadline: `time.monotonic()` when to stop.
    Returns:
        Activations inside the sets; None where that is not proven: the table is too large, or the time too short.
    """
    if kind is Kind.ONE_TO_ONE:
        return one_to_one_value(table)
    if kind is Kind.ONE_TO_MANY:
        return star_forest_value(table)
    return biclique_value(table, deadline)


def good_value(graph: Overlaps, kind: Kind, deadline: float) -> tuple[int, bool]:
    """The value of a matching that is quickly found where the best one is not, and whether none is better."""
    from onoma.science.biclique_programs import local_search
    from onoma.science.integer_programs import simple_forests, solve_one_to_one

    if kind is Kind.ONE_TO_ONE:
        edges, bound = solve_one_to_one(graph, deadline)
        value = int(graph.weight[edges].sum())
        return value, value == bound
    value = max(int(graph.weight[edges].sum()) for edges in simple_forests(graph))
    if kind is Kind.BICLIQUE:
        value = max(value, int(graph.weight[local_search(graph, deadline=0)].sum()))
    return value, value == graph.total


def _matching(graph: Overlaps, kind: Kind, chosen: NDArray[np.bool_], solutions: list[Solution]) -> Matching:
    several: bool | None = False
    if any(solution.several_optima for solution in solutions):
        several = True
    elif any(solution.several_optima is None for solution in solutions):
        several = None
    inside = Overlaps(
        graph.left_count, graph.right_count, graph.left[chosen], graph.right[chosen], graph.weight[chosen]
    )
    return Matching(
        kind,
        inside.total,
        sum(solution.upper_bound for solution in solutions),
        _sets(inside),
        several,
        all(solution.first for solution in solutions),
        next((s.several_unknown for s in solutions if s.several_unknown), "") if several is None else "",
    )


def _sets(inside: Overlaps) -> tuple[ConceptSet, ...]:
    """The concepts that chosen edges join; each set is complete, so that a left concept's partners tell its set."""
    partners: dict[int, list[int]] = {}
    for left, right in zip(inside.left.tolist(), inside.right.tolist(), strict=True):
        partners.setdefault(left, []).append(right)
    lefts: dict[tuple[int, ...], list[int]] = {}
    for left, rights in partners.items():
        lefts.setdefault(tuple(rights), []).append(left)
    return tuple(ConceptSet(tuple(left), rights) for rights, left in lefts.items())
