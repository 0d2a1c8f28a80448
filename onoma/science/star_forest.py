"""Maximum-weight star forest: one concept refined into several, either way (one_to_many).

A star forest is known by its centres: every other concept is a leaf of the centre that it shares most with. Small
graphs are solved by trying all choices of centres in a few matrix products, large ones as an integer programme.
"""

import time
from functools import cache, lru_cache
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onoma.science.overlaps import Overlaps, Solution

MAX_CHOICES = 30_000_000
"""Choices of centres that are tried one by one; above, the integer programme is faster."""

MAX_SIDE = 16
"""Concepts a side whose subsets are listed."""

_CHUNK = 4096  # choices of centres whose forests are built at once


def star_forest(graph: Overlaps, deadline: float) -> Solution:
    """The lexicographically first maximum-weight star forest of a connected graph.

    Args:
        deadline: `time.monotonic()` when to stop; what is known by then is returned.
    """
    left, right = graph.left_count, graph.right_count
    if min(left, right) == 1:
        return Solution(np.ones(graph.left.size, np.bool_), graph.total, several_optima=False, first=True)
    if not _may_be_listed(left, right):
        from onoma.science.integer_programs import solve_star_forest

        return solve_star_forest(graph, deadline)
    table = graph.table()
    value, centres, other_centres = _best_centres(table, every=True)
    several, all_seen, edges = False, False, np.zeros((0, graph.left.size), dtype=np.bool_)
    for start in range(0, len(centres), _CHUNK):  # a graph full of ties has very many best choices
        chunk = slice(start, start + _CHUNK)
        forests, tied = _forests(table, centres[chunk], other_centres[chunk])
        first, distinct = first_of(np.concatenate([edges, forests[:, graph.left, graph.right]]))
        several |= distinct or bool(tied.any())
        edges = first[None]
        all_seen = start + _CHUNK >= len(centres)
        if time.monotonic() > deadline:
            break
    if several or all_seen:
        return Solution(edges[0], value, several, first=all_seen)
    return Solution(
        edges[0], value, None, first=False, several_unknown="the time limit ended the search for another"
    )


def star_forest_value(table: NDArray[np.int64]) -> int | None:
    """The value alone of the best star forest of a table; None where it is too large to list the choices."""
    return _best_centres(table, every=False)[0] if _may_be_listed(*table.shape) else None


def first_of(masks: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], bool]:
    """The lexicographically first of some sets of edges, that is the one that has the earliest edges.

    Args:
        masks: (n, E) bool, n >= 1.
    Returns:
        (E,) bool, and whether the sets differ.
    """
    if len(masks) == 1:
        return masks[0], False
    packed = [row.tobytes() for row in np.packbits(masks, axis=1)]
    first = max(range(len(packed)), key=packed.__getitem__)
    return masks[first], len(set(packed)) > 1


def _most_other_centres(rows: int, row_centres: int) -> int:
    """Centres among the columns that need be tried beside `row_centres` centres among the rows.

    The centre of a star of one edge may be its row, so that a column at the centre has two leaves or more.
    """
    return (rows - row_centres) // 2


def _may_be_listed(left: int, right: int) -> bool:
    return max(left, right) <= MAX_SIDE and min(_choices(left, right), _choices(right, left)) <= MAX_CHOICES


@cache
def _choices(rows: int, columns: int) -> int:
    return sum(
        comb(rows, k) * sum(comb(columns, j) for j in range(min(columns, _most_other_centres(rows, k)) + 1))
        for k in range(rows + 1)
    )


@lru_cache(maxsize=64)
def _subsets(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Subsets of `count` things as bit masks, the smaller ones first.

    Returns:
        (2^count,) masks, (count + 2,) where each size starts, (2^count, count) which things are in.
    """
    masks = np.arange(1 << count)
    members = (masks[:, None] >> np.arange(count) & 1).astype(np.bool_)
    sizes = members.sum(axis=1)
    order = np.argsort(sizes, kind="stable")
    return masks[order], np.searchsorted(sizes[order], np.arange(count + 2)), members[order]


def _best_over_subsets(table: NDArray[Any]) -> NDArray[Any]:
    """(2^rows, columns) the largest entry of each column among the rows of each subset, in `_subsets` order."""
    rows, columns = table.shape
    best = np.zeros((1 << rows, columns), dtype=table.dtype)
    for row in range(rows):
        np.maximum(best[: 1 << row], table[row], out=best[1 << row : 2 << row])
    return best[_subsets(rows)[0]]


def _best_centres(
    table: NDArray[np.int64], *, every: bool
) -> tuple[int, NDArray[np.bool_], NDArray[np.bool_]]:
    """The value of the best star forest, and every choice of centres that reaches it.

    Args:
        table: (rows, columns).
        every: False finds the value alone, and no choices.
    Returns:
        The value, (n, rows) bool and (n, columns) bool.
    """
    rows, columns = table.shape
    if _choices(rows, columns) > _choices(columns, rows):
        best, other_centres, centres = _best_centres(table.T, every=every)
        return best, centres, other_centres
    # Sums below 2^24 are exact in single precision, which multiplies twice as fast.
    exact = table.astype(np.float32 if int(table.sum()) < 1 << 24 else np.float64)
    _, row_start, row_members = _subsets(rows)
    _, column_start, column_members = _subsets(columns)
    # Leaves among the rows choose among the columns' centres, and the other way round.
    by_rows = np.hstack([~row_members, _best_over_subsets(exact)], dtype=exact.dtype)
    by_columns = np.hstack([_best_over_subsets(exact.T), ~column_members], dtype=exact.dtype)
    best_value, found = -1.0, list[NDArray[np.int64]]()
    for k in range(rows + 1):
        stop = column_start[min(columns, _most_other_centres(rows, k)) + 1]
        values = by_rows[row_start[k] : row_start[k + 1]] @ by_columns[:stop].T
        largest = float(values.max())
        if largest > best_value:
            best_value, found = largest, []
        if every and largest == best_value:
            found.append(np.argwhere(values == largest) + np.array([row_start[k], 0]))
    pairs = np.concatenate([*found, np.zeros((0, 2), dtype=np.int64)])
    return int(best_value), row_members[pairs[:, 0]], column_members[pairs[:, 1]]


def _forests(
    table: NDArray[np.int64], centres: NDArray[np.bool_], other_centres: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The star forests of some choices of centres; a leaf that has several best centres goes to the first.

    Args:
        table: (left, right).
        centres: (n, left) bool.
        other_centres: (n, right) bool.
    Returns:
        (n, left, right) bool edges, (n,) bool whether some leaf had a choice.
    """
    to_right = table * (other_centres[:, None, :] & ~centres[:, :, None])
    to_left = table * (centres[:, :, None] & ~other_centres[:, None, :])
    forests = np.zeros(to_right.shape, dtype=np.bool_)
    tied = np.zeros(len(forests), dtype=np.bool_)
    for weights, axis in ((to_right, 2), (to_left, 1)):
        best = weights.max(axis=axis, keepdims=True)
        chosen = (weights == best) & (best > 0)
        tied |= (chosen.sum(axis=axis) > 1).any(axis=1)
        forests |= chosen & (chosen.cumsum(axis=axis) == 1)
    return forests, tied
