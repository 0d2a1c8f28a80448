"""Bicliques of graphs too large for the search over partitions: a local search from below, cuts from above."""

import time

import numpy as np
from numpy.typing import NDArray

from onoma.science.integer_programs import Rows, maximise
from onoma.science.overlaps import Overlaps, Solution

_RESTARTS = 60
_SEARCH_SHARE = 0.2  # of the time, for the local search


def solve_bicliques(graph: Overlaps, deadline: float) -> Solution:
    """A good partition into bicliques with a proven bound, which may be larger than its value.

    Edges form disjoint bicliques where any path of three of them is closed by a fourth. The integer programme learns
    only the paths that its answers leave open; each answer bounds the problem.
    """
    table = graph.table()
    edges = local_search(table, time.monotonic() + _SEARCH_SHARE * max(deadline - time.monotonic(), 0))
    value = int(table[edges].sum())
    bound = graph.total
    edge_at = np.full(table.shape, -1)
    edge_at[graph.left, graph.right] = np.arange(graph.left.size)
    rows: list[Rows] = []
    while value < bound:
        answer = maximise(graph.weight.astype(np.float64), np.ones(graph.left.size, np.bool_), rows, deadline)
        if answer.bound is not None:
            bound = max(min(bound, answer.bound), value)
        if answer.x is None:
            break
        chosen = np.zeros(table.shape, dtype=np.bool_)
        chosen[graph.left, graph.right] = answer.x > 0.5
        open_paths = _open_paths(chosen, edge_at)
        if open_paths is None:
            if int(table[chosen].sum()) > value:
                edges, value = chosen, int(table[chosen].sum())
            break
        rows.append(open_paths)
    return Solution(edges[graph.left, graph.right], bound, several_optima=None, first=False)


def local_search(table: NDArray[np.int64], deadline: float, seed: int = 0) -> NDArray[np.bool_]:
    """A partition into bicliques that no move of a whole side improves; the best of seeded restarts.

    The sides take turns: each concept goes to the block of the other side with which it shares most.

    Args:
        table: (left, right) common activations.
        deadline: `time.monotonic()` when to stop; one descent is always done.
    Returns:
        (left, right) bool.
    """
    rng = np.random.default_rng(seed)
    best, best_value = np.zeros(table.shape, dtype=np.bool_), -1
    for restart in range(_RESTARTS):
        if restart and time.monotonic() > deadline:
            break
        # Restarts merge the rows at random, the more the later.
        block_count = max(2, round(len(table) * (1 - restart / _RESTARTS)))
        block = np.arange(len(table)) if restart == 0 else rng.integers(0, block_count, len(table))
        value = -1
        while True:
            other = _best_blocks(table, block)
            block = _best_blocks(table.T, other)
            inside = (block[:, None] == other) & (block[:, None] >= 0)
            reached = int(table[inside].sum())
            if reached <= value:
                break
            value = reached
        if value > best_value:
            best, best_value = inside, value
    return best


def _best_blocks(table: NDArray[np.int64], block: NDArray[np.int64]) -> NDArray[np.int64]:
    """(columns,) the block of rows with which a column shares most among those it overlaps wholly, -1 without any.

    Args:
        block: (rows,) block of each row, -1 for none.
    """
    count = max(int(block.max(initial=-1)) + 1, 1)
    inside = block >= 0
    shared = np.zeros((count, table.shape[1]), dtype=np.int64)
    missing = np.zeros((count, table.shape[1]), dtype=np.int64)
    np.add.at(shared, block[inside], table[inside])
    np.add.at(missing, block[inside], table[inside] == 0)
    shared[missing > 0] = 0
    chosen = shared.argmax(axis=0)
    return np.where(shared.max(axis=0) > 0, chosen, -1)


def _open_paths(chosen: NDArray[np.bool_], edge_at: NDArray[np.int64]) -> Rows | None:
    """Constraints against paths of three chosen edges whose ends are not joined by a chosen edge; None without any."""
    steps = chosen.astype(np.float32)
    ends = np.argwhere((steps @ steps.T @ steps > 0) & ~chosen)
    if len(ends) == 0:
        return None
    row, column, value = [], [], []
    for i, (first, last) in enumerate(ends):
        # first - middle - other - last, by way of the first such path
        other, middle = np.argwhere(chosen[:, last, None] & chosen & chosen[first])[0]
        path = [edge_at[first, middle], edge_at[other, middle], edge_at[other, last]]
        closing = edge_at[first, last]
        columns = [*path, closing] if closing >= 0 else path
        row += [i] * len(columns)
        column += columns
        value += [1.0, 1.0, 1.0, -1.0][: len(columns)]
    count = len(ends)
    return Rows(
        np.array(row), np.array(column), np.array(value), np.full(count, -np.inf), np.full(count, 2.0)
    )
