"""Bicliques of graphs too large for the search over partitions: a local search from below, cuts from above."""

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from onoma.science.integer_programs import Rows, maximise
from onoma.science.overlaps import Overlaps, Solution

_RESTARTS = 60
_SEARCH_SHARE = 0.2  # of the time, for the local search
_MOST_CUTS = 20_000  # that one round adds to the integer programme


def solve_bicliques(graph: Overlaps, deadline: float) -> Solution:
    """A good partition into bicliques with a proven bound, which may be larger than its value.

    Edges form disjoint bicliques where any path of three of them is closed by a fourth. The integer programme learns
    only the paths that its answers leave open; each answer bounds the problem.
    """
    edges = local_search(graph, time.monotonic() + _SEARCH_SHARE * max(deadline - time.monotonic(), 0))
    value = int(graph.weight[edges].sum())
    bound = graph.total
    rows: list[Rows] = []
    while value < bound:
        answer = maximise(graph.weight.astype(np.float64), np.ones(graph.left.size, np.bool_), rows, deadline)
        if answer.bound is not None:
            bound = max(min(bound, answer.bound), value)
        if answer.x is None:
            break
        chosen = answer.x > 0.5
        open_paths = _open_paths(graph, chosen, deadline)
        if open_paths is None:
            break
        if open_paths.low.size == 0:
            if int(graph.weight[chosen].sum()) > value:
                edges, value = chosen, int(graph.weight[chosen].sum())
            break
        rows.append(open_paths)
    return Solution(
        edges,
        bound,
        several_optima=None,
        first=False,
        several_unknown="another optimum is not looked for in graphs that are too large to list all partitions",
    )


def local_search(graph: Overlaps, deadline: float) -> NDArray[np.bool_]:
    """A partition into bicliques that no move of a whole side improves; the best of seeded restarts.

    The sides take turns: each concept goes to the block of the other side with which it shares most.

    Args:
        deadline: `time.monotonic()` when to stop; one descent is always done.
    Returns:
        (E,) bool, the edges inside.
    """
    rng = np.random.default_rng(0)
    rows, columns = graph.left_count, graph.right_count
    best, best_value = np.zeros(graph.left.size, dtype=np.bool_), -1
    for restart in range(_RESTARTS):
        if restart and time.monotonic() > deadline:
            break
        # Restarts merge the rows at random, the more the later.
        block_count = max(2, round(rows * (1 - restart / _RESTARTS)))
        block = np.arange(rows) if restart == 0 else rng.integers(0, block_count, rows)
        value = -1
        while True:
            other = _best_blocks(graph.left, graph.right, graph.weight, block, columns)
            block = _best_blocks(graph.right, graph.left, graph.weight, other, rows)
            inside = (block[graph.left] == other[graph.right]) & (block[graph.left] >= 0)
            reached = int(graph.weight[inside].sum())
            if reached <= value:
                break
            value = reached
        if value > best_value:
            best, best_value = inside, value
    return best


def _best_blocks(
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    weight: NDArray[np.int64],
    block: NDArray[np.int64],
    column_count: int,
) -> NDArray[np.int64]:
    """(columns,) the block of rows with which a column shares most among those it overlaps wholly, -1 without any.

    Args:
        row, column, weight: (E,) the edges.
        block: (rows,) block of each row, -1 for none.
    """
    sizes = np.bincount(block[block >= 0], minlength=1)
    there = block[row] >= 0
    cells, cell = np.unique(column[there] * sizes.size + block[row[there]], return_inverse=True)
    shared = np.bincount(
        cell, weight[there], minlength=cells.size
    )  # exact: weights are whole, sums below 2^53
    whole = np.bincount(cell, minlength=cells.size) == sizes[cells % sizes.size]
    cells, shared = cells[whole], shared[whole]
    chosen = np.full(column_count, -1)
    order = np.lexsort(
        (-cells, shared)
    )  # the last one written stays: the most shared, of equal ones the first block
    chosen[cells[order] // sizes.size] = cells[order] % sizes.size
    return chosen


def _open_paths(graph: Overlaps, chosen: NDArray[np.bool_], deadline: float) -> Rows | None:
    """Constraints against paths of three chosen edges whose ends are not joined by a chosen edge.

    Returns:
        Some of them, none only where there is no such path; None where time runs out.
    """
    ends = list(zip(graph.left.tolist(), graph.right.tolist(), strict=True))
    edge_at = {pair: edge for edge, pair in enumerate(ends)}
    rights: list[set[int]] = [set() for _ in range(graph.left_count)]
    lefts: list[set[int]] = [set() for _ in range(graph.right_count)]
    for edge in np.flatnonzero(chosen).tolist():
        left, right = ends[edge]
        rights[left].add(right)
        lefts[right].add(left)
    paths: list[tuple[list[int], list[float]]] = []
    for first in range(graph.left_count):
        if time.monotonic() > deadline:
            return None
        if len(paths) >= _MOST_CUTS:
            break
        for middle, other, last in _paths_from(first, rights, lefts):
            path = [edge_at[first, middle], edge_at[other, middle], edge_at[other, last]]
            closing = edge_at.get((first, last))
            paths.append((path, [1.0] * 3) if closing is None else ([*path, closing], [1.0] * 3 + [-1.0]))
    lengths = [len(edges) for edges, _ in paths]
    return Rows(
        np.repeat(np.arange(len(paths)), lengths),
        np.array([edge for edges, _ in paths for edge in edges], dtype=np.int64),
        np.array([sign for _, signs in paths for sign in signs]),
        np.full(len(paths), -np.inf),
        np.full(len(paths), 2.0),
    )


def _paths_from(first: int, rights: list[set[int]], lefts: list[set[int]]) -> Iterator[tuple[int, int, int]]:
    """The rest (middle, other, last) of one open path from `first` to each end that has one."""
    reached, seen = set(rights[first]), {first}
    for middle in sorted(rights[first]):
        for other in sorted(lefts[middle] - seen):
            seen.add(other)
            for last in sorted(rights[other] - reached):
                reached.add(last)
                yield middle, other, last
