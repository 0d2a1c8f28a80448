"""Maximum-weight bipartite matching: each concept has at most one partner (D = 1)."""

import numpy as np
from numpy.typing import NDArray

from onoma.science.overlaps import DENSE_CELLS, Overlaps, Solution

_SQUARED = 64  # rows up to which squaring a matrix is faster than looking for its components


def one_to_one(graph: Overlaps, deadline: float) -> Solution:
    """The lexicographically first maximum-weight matching of a connected graph; always proven, unless out of time.

    Graphs of more than DENSE_CELLS cells are solved as a linear programme over their edges.

    Args:
        deadline: `time.monotonic()` when to stop; small graphs need none.
    """
    if graph.cells > DENSE_CELLS:
        from onoma.science.integer_programs import solve_one_to_one

        return solve_one_to_one(graph, deadline)
    from scipy.optimize import linear_sum_assignment

    size = max(graph.left_count, graph.right_count)
    # Square by rows or columns of zeros: a pair of weight zero is no pair, and any matching can be filled up by such.
    weights = np.zeros((size, size), dtype=np.int64)
    weights[graph.left, graph.right] = graph.weight
    _, column = linear_sum_assignment(weights, maximize=True)
    value = int(weights[np.arange(size), column].sum())
    tight = _tight(weights, column)
    several = bool(((weights > 0) & _exchangeable(tight, column)).any())
    if several:
        column = _first(weights, tight, column)
    return Solution(column[graph.left] == graph.right, value, several, first=True)


def one_to_one_value(table: NDArray[np.int64]) -> int:
    """The value alone of the maximum-weight matching of a table."""
    from scipy.optimize import linear_sum_assignment

    return int(table[linear_sum_assignment(table, maximize=True)].sum())


def _tight(weights: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(k, k) cells that may be part of a maximum assignment: those without reduced cost.

    The dual prices are shortest distances between rows, where row i reaches row j by taking j's column; an optimal
    assignment has no cycle of negative length.
    """
    own = weights[np.arange(column.size), column]
    loss = own[:, None] - weights[:, column]  # of row i when it takes the column of row j
    distance = np.zeros(column.size, dtype=np.int64)
    while True:
        shorter = np.minimum(distance, (distance[:, None] + loss).min(axis=0))
        if np.array_equal(shorter, distance):
            break
        distance = shorter
    tight = np.empty(weights.shape, dtype=np.bool_)
    tight[:, column] = loss + distance[:, None] == distance
    return tight


def _exchangeable(tight: NDArray[np.bool_], column: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(k, k) tight cells outside the assignment that are in another maximum assignment."""
    takes = tight[:, column]
    np.fill_diagonal(takes, False)
    exchangeable = np.zeros_like(tight)
    if takes.any():
        exchangeable[:, column] = takes & _reached(takes).T
    return exchangeable


def _reached(steps: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(k, k) whether the second is reached from the first by any number of steps."""
    if len(steps) > _SQUARED:
        from scipy.sparse.csgraph import connected_components

        # Where only cycles matter, two are as good as connected where they are in one strong component.
        _, component = connected_components(steps, directed=True, connection="strong")
        return np.asarray(component[:, None] == component)
    reached = steps.astype(np.float32)
    for _ in range(len(steps).bit_length()):
        reached = np.minimum(reached + reached @ reached, 1)
    return reached > 0


def _first(
    weights: NDArray[np.int64], tight: NDArray[np.bool_], column: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The maximum assignment whose pairs come first: row by row the smallest column that an optimum allows."""
    tight, column = tight.copy(), column.copy()
    for row in range(column.size):
        options = _exchangeable(tight, column)[row]
        options[column[row]] = True
        wanted = np.flatnonzero(options & (weights[row] > 0))
        if wanted.size == 0:
            tight[row, weights[row] > 0] = False  # it stays without a partner
            continue
        if wanted[0] != column[row]:
            _rotate(tight, column, row, int(wanted[0]))
        tight[row] = False
        tight[:, wanted[0]] = False
        tight[row, wanted[0]] = True
    return column


def _rotate(tight: NDArray[np.bool_], column: NDArray[np.int64], row: int, wanted: int) -> None:
    """Gives `row` the column it wants, along a cycle of rows that each take the next one's column."""
    from scipy.sparse.csgraph import breadth_first_order

    holder = int(np.flatnonzero(column == wanted)[0])
    takes = tight[:, column]
    np.fill_diagonal(takes, False)
    _, before = breadth_first_order(takes, holder)
    path = [row]
    while path[-1] != holder:
        path.append(int(before[path[-1]]))
    # path: row, ..., holder; each row before another in the cycle row -> holder -> ... -> row takes its column
    cycle = [row, *reversed(path[1:])]
    column[cycle] = column[[*cycle[1:], row]]
