"""Matchings of large graphs as integer programmes for HiGHS (scipy), with a bound that is proven or says so."""

import io
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onoma.science.overlaps import Overlaps, Solution

MOST_REFINED = 600
"""Edges of a graph whose lexicographically first optimum is looked for; above, some optimum is returned."""

MOST_VARIABLES = 1_000_000
"""Of a programme that HiGHS is given: setting up a larger one takes long whatever its time limit."""

_MOST_IN_PROCESS = (
    20_000  # variables of a programme whose steps are short, so that HiGHS keeps its time by itself
)
_GRACE_S = 2.0  # to start a process, and for HiGHS to keep its time

_REFINED_AT_ONCE = 16  # edges whose order one pass settles: their weights are powers of two
_DUAL_TOLERANCE = 1e-7  # HiGHS's default
_ROUNDING = 1e-10  # of a sum, relative: generous beside 2^-53


@dataclass(frozen=True, eq=False)
class Rows:
    """Linear constraints `low <= A x <= high`.

    Attributes:
        row, column, value: (nonzeros,) A's entries.
        low, high: (rows,).
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answer:
    """What HiGHS says.

    Attributes:
        x: the best point found; None where there is none, or none in time.
        bound: no point has a larger objective; None where that is not known.
    """

    x: NDArray[np.float64] | None
    bound: int | None


def maximise(
    objective: NDArray[np.float64], whole: NDArray[np.bool_], rows: list[Rows], deadline: float
) -> Answer:
    """Maximises a whole-numbered objective over variables in [0, 1].

    The bound is HiGHS's, which computes in floating point: a reduced cost may be wrong by its tolerance, a variable
    contributes at most that since none exceeds 1, and sums round. Were that error below 1/4, then twice it and 1/2
    more keep a bound that meets a whole optimum where it is, and lift one that was too low by the error. Where the
    error may be larger (weights above 2e9 in all, or millions of variables) the bound comes out above the optimum:
    nothing is then taken for proven.

    Args:
        whole: which variables must be 0 or 1.
        deadline: `time.monotonic()` when to give up.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0 or objective.size > MOST_VARIABLES:
        return Answer(None, None)
    solve = solve_in_time if objective.size > _MOST_IN_PROCESS else solve_programme
    x, bound = solve(objective, whole, rows, seconds)
    if bound is None or not np.isfinite(bound):
        return Answer(x, None)
    error = _DUAL_TOLERANCE * objective.size + _ROUNDING * float(np.abs(objective).sum())
    return Answer(x, floor(-bound + 0.5 + 2 * error))


def solve_programme(
    objective: NDArray[np.float64], whole: NDArray[np.bool_], rows: list[Rows], seconds: float
) -> tuple[NDArray[np.float64] | None, float | None]:
    """The point that HiGHS finds, and its bound of the negative objective."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    constraints = [
        LinearConstraint(
            coo_array((part.value, (part.row, part.column)), shape=(part.low.size, objective.size)).tocsr(),
            part.low,
            part.high,
        )
        for part in rows
    ]
    result = milp(
        -objective,
        integrality=whole.astype(np.int8),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0, "time_limit": seconds},
    )
    # Without a variable that must be whole it is a linear programme, which is solved or not.
    bound = result.mip_dual_bound
    if bound is None and result.status == 0:
        bound = result.fun
    return result.x, bound


def solve_in_time(
    objective: NDArray[np.float64], whole: NDArray[np.bool_], rows: list[Rows], seconds: float
) -> tuple[NDArray[np.float64] | None, float | None]:
    """As `solve_programme`, in a process of its own that is ended when its time is over.

    HiGHS looks at its clock between its steps alone, and a step of a large programme may take minutes. What it has by
    then is lost with it, as where the process dies (killed for memory, say): there is no point and no bound then.
    """
    task = {"objective": objective, "whole": whole, "seconds": seconds}
    for number, part in enumerate(rows):
        task |= {f"{name}_{number}": column for name, column in asdict(part).items()}
    try:
        done = subprocess.run(
            # -P: nothing of the working directory is imported.
            [sys.executable, "-P", "-m", "onoma.science.highs_process"],
            input=_packed(task),
            stdout=subprocess.PIPE,
            timeout=seconds + _GRACE_S,
            check=True,
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return None, None
    answer = _unpacked(done.stdout)
    return answer.get("x"), float(answer["bound"]) if "bound" in answer else None


def solve_packed(task: bytes) -> bytes:
    """What the process of `solve_in_time` does: `solve_programme`, from bytes to bytes."""
    given = _unpacked(task)
    rows = [
        Rows(**{name: given[f"{name}_{number}"] for name in Rows.__dataclass_fields__})
        for number in range(sum(name.startswith("low_") for name in given))
    ]
    x, bound = solve_programme(given["objective"], given["whole"], rows, float(given["seconds"]))
    return _packed({name: value for name, value in (("x", x), ("bound", bound)) if value is not None})


def _packed(arrays: dict[str, Any]) -> bytes:
    """Arrays and numbers by their names as a .npz file, which runs no code where it is read."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _unpacked(content: bytes) -> dict[str, NDArray[Any]]:
    """What `_packed` packed."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return dict(file)


def sums_of_edges(groups: NDArray[np.int64], count: int) -> Rows:
    """At most one of the edges of each group is chosen; edge i is variable i.

    Args:
        groups: (E,) each edge's group, below `count`.
    """
    edges = np.arange(groups.size)
    return Rows(groups, edges, np.ones(edges.size), np.full(count, -np.inf), np.ones(count))


def solve_one_to_one(graph: Overlaps, deadline: float) -> tuple[NDArray[np.bool_], int]:
    """Maximum-weight matching over the edges alone; the linear programme's corners are whole.

    Returns:
        (E,) bool edges of a matching, and a proven bound.
    """
    rows = [
        sums_of_edges(graph.left, graph.left_count),
        sums_of_edges(graph.right, graph.right_count),
    ]
    objective = graph.weight.astype(np.float64)
    answer = maximise(objective, np.zeros(graph.left.size, np.bool_), rows, deadline)
    edges = _greedy_matching(graph) if answer.x is None else answer.x > 0.5
    return edges, _bound(answer, graph.weight, edges, graph.total)


def solve_star_forest(graph: Overlaps, deadline: float) -> Solution:
    """Maximum-weight star forest; centres are whole variables, the leaves follow."""
    program = _StarProgram(graph)
    answer = program.solve(graph.weight, [], deadline)
    candidates = simple_forests(graph)
    if answer.x is not None:
        candidates.append(forest_of_centres(graph, *program.centres(answer.x)))
    edges = max(candidates, key=lambda edges: int(graph.weight[edges].sum()))
    best = int(graph.weight[edges].sum())
    bound = _bound(answer, graph.weight, edges, graph.total)

    def unknown(why: str) -> Solution:
        return Solution(edges, bound, several_optima=None, first=False, several_unknown=why)

    if bound > best:
        return unknown("the matching is not proven optimal")
    another = program.solve(graph.weight, [program.not_all_of(edges)], deadline, whole_edges=edges)
    if another.bound is None:
        return unknown("the time limit ended the search for another")
    if another.bound < best:
        return Solution(edges, bound, several_optima=False, first=True)
    if another.x is None or program.value(another.x) < best:
        return unknown("the time limit ended the search for another")
    if graph.left.size > MOST_REFINED:
        return Solution(edges, bound, several_optima=True, first=False)
    refined = program.first_optimum(best, deadline)
    return Solution(edges if refined is None else refined, bound, True, first=refined is not None)


class _StarProgram:
    """Variables: edge e with its left end as a leaf, edge e with its right end as a leaf, left and right centres."""

    def __init__(self, graph: Overlaps) -> None:
        count, lefts, rights = graph.left.size, graph.left_count, graph.right_count
        edge, left_centre = np.arange(count), 2 * count + np.arange(lefts)
        right_centre = 2 * count + lefts + np.arange(rights)
        self._graph = graph
        self._size = 2 * count + lefts + rights
        self._whole = np.arange(self._size) >= 2 * count
        ones = np.ones(count)
        # A concept is a centre or a leaf of one centre at most.
        one_role = Rows(
            np.concatenate([graph.left, np.arange(lefts), lefts + graph.right, lefts + np.arange(rights)]),
            np.concatenate([edge, left_centre, count + edge, right_centre]),
            np.ones(self._size),
            np.full(lefts + rights, -np.inf),
            np.ones(lefts + rights),
        )
        # A leaf hangs on a centre.
        hangs = Rows(
            np.concatenate([edge, edge, count + edge, count + edge]),
            np.concatenate([edge, right_centre[graph.right], count + edge, left_centre[graph.left]]),
            np.concatenate([ones, -ones, ones, -ones]),
            np.full(2 * count, -np.inf),
            np.zeros(2 * count),
        )
        self._rows = [one_role, hangs]

    def solve(
        self,
        edge_values: NDArray[np.int64],
        more: list[Rows],
        deadline: float,
        whole_edges: NDArray[np.bool_] | None = None,
    ) -> Answer:
        """Maximises the value of the chosen edges under further constraints."""
        objective = np.zeros(self._size)
        objective[: 2 * edge_values.size] = np.tile(edge_values, 2)
        whole = self._whole.copy()
        if whole_edges is not None:
            whole[: 2 * edge_values.size] = np.tile(whole_edges, 2)
        return maximise(objective, whole, [*self._rows, *more], deadline)

    def edges(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(E,) the chosen edges."""
        count = self._graph.left.size
        chosen: NDArray[np.bool_] = x[:count] + x[count : 2 * count] > 0.5
        return chosen

    def value(self, x: NDArray[np.float64]) -> int:
        """Weight of the chosen edges."""
        return int(self._graph.weight[self.edges(x)].sum())

    def centres(self, x: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(left,) and (right,) bool."""
        left, right = np.split(x[2 * self._graph.left.size :] > 0.5, [self._graph.left_count])
        return left, right

    def not_all_of(self, edges: NDArray[np.bool_]) -> Rows:
        """Some of these edges is not chosen."""
        return self._sum(edges.astype(np.float64), -np.inf, edges.sum() - 1)

    def first_optimum(self, best: int, deadline: float) -> NDArray[np.bool_] | None:
        """The lexicographically first of the forests of value `best`; None where time runs out."""
        graph = self._graph
        count = graph.left.size
        more = [self._sum(graph.weight.astype(np.float64), best - 0.5, np.inf)]
        x = np.zeros(self._size)
        for start in range(0, count, _REFINED_AT_ONCE):
            now = np.arange(start, min(start + _REFINED_AT_ONCE, count))
            values = np.zeros(count, dtype=np.int64)
            values[now] = 1 << np.arange(now.size)[::-1]
            answer = self.solve(values, more, deadline, whole_edges=values > 0)
            if answer.x is None or answer.bound != int(values[self.edges(answer.x)].sum()):
                return None
            x = answer.x
            settled = self.edges(x)[now].astype(np.float64)
            more.append(
                Rows(
                    np.tile(np.arange(now.size), 2),
                    np.concatenate([now, count + now]),
                    np.ones(2 * now.size),
                    settled,
                    settled,
                )
            )
        edges = self.edges(x)
        return edges if int(graph.weight[edges].sum()) == best else None

    def _sum(self, coefficients: NDArray[np.float64], low: float, high: float) -> Rows:
        columns = np.arange(2 * coefficients.size)
        return Rows(
            np.zeros_like(columns), columns, np.tile(coefficients, 2), np.array([low]), np.array([high])
        )


def forest_of_centres(
    graph: Overlaps, left_centre: NDArray[np.bool_], right_centre: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(E,) every concept that is no centre hangs on the centre that it shares most with, the first of equal ones."""
    edges = np.zeros(graph.left.size, dtype=np.bool_)
    for leaf, leaf_is_centre, centre_is_centre in (
        (graph.left, left_centre[graph.left], right_centre[graph.right]),
        (graph.right, right_centre[graph.right], left_centre[graph.left]),
    ):
        possible = np.flatnonzero(~leaf_is_centre & centre_is_centre)
        order = possible[np.lexsort((possible, -graph.weight[possible], leaf[possible]))]
        _, first = np.unique(leaf[order], return_index=True)
        edges[order[first]] = True
    return edges


def simple_forests(graph: Overlaps) -> list[NDArray[np.bool_]]:
    """Star forests that need no search: one side at the centres, or pairs."""
    none, every = np.zeros, np.ones
    return [
        forest_of_centres(graph, every(graph.left_count, np.bool_), none(graph.right_count, np.bool_)),
        forest_of_centres(graph, none(graph.left_count, np.bool_), every(graph.right_count, np.bool_)),
        _greedy_matching(graph),
    ]


def _greedy_matching(graph: Overlaps) -> NDArray[np.bool_]:
    edges = np.zeros(graph.left.size, dtype=np.bool_)
    left_free, right_free = np.ones(graph.left_count, np.bool_), np.ones(graph.right_count, np.bool_)
    for edge in np.argsort(-graph.weight, kind="stable"):
        left, right = graph.left[edge], graph.right[edge]
        if left_free[left] and right_free[right]:
            edges[edge] = True
            left_free[left] = right_free[right] = False
    return edges


def _bound(answer: Answer, weight: NDArray[np.int64], edges: NDArray[np.bool_], total: int) -> int:
    """The proven bound; at least the value found, which rounding may have put above the solver's."""
    bound = total if answer.bound is None else min(answer.bound, total)
    return max(bound, int(weight[edges].sum()))
