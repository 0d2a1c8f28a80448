"""Maximum-weight partition into bicliques: the literal D = 2 (an induced subgraph of diameter at most 2).

Connected bipartite graphs of diameter at most 2 are the complete ones, so every set pairs some concepts of one side
with some of the other, all of which overlap. Once one side is partitioned into blocks, each concept of the other
side goes to the block with which it shares most among those that it overlaps wholly. So the search is over
partitions of the smaller side, block by block; a Lagrangian bound, in which a concept may go to several blocks at a
price, cuts it. Larger graphs: an integer programme that learns the missing edges as it goes, and a local search.
"""

import time
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import floor

import numpy as np
from numpy.typing import NDArray

from onoma.science.overlaps import Overlaps, Solution
from onoma.science.star_forest import first_of

MAX_PARTITIONED = 15
"""Concepts of the smaller side whose partitions are searched."""

MOST_BLOCK_VALUES = 8_000_000
"""Values of a block in a column that the search keeps, of which there are 2^rows a column: some 100 MB."""

MOST_LISTED = 100_000
"""Best partitions among which the first is looked for; graphs full of ties have more."""

_PRICE_ROUNDS = {8: 12, 9: 20, 10: 40}  # by size of the smaller side; the search is short below, long above
_MOST_PRICE_ROUNDS = 80
_CHUNK = 200_000  # partial partitions that are looked at together,
_CHUNK_NUMBERS = 2_500_000  # fewer where many columns make them large
_ROUNDING = 1e-6


def bicliques(graph: Overlaps, deadline: float) -> Solution:
    """The lexicographically first best partition of a connected graph into bicliques.

    Args:
        deadline: `time.monotonic()` when to give up; the best so far is returned with a proven bound.
    """
    if graph.left.size == graph.cells:  # one biclique has everything
        return Solution(np.ones(graph.left.size, np.bool_), graph.total, several_optima=False, first=True)
    if not _may_be_partitioned(graph.left_count, graph.right_count):
        from onoma.science.biclique_programs import solve_bicliques

        return solve_bicliques(graph, deadline)
    table = graph.table()
    swap = graph.left_count > graph.right_count
    found = _best_partitions(table.T if swap else table, deadline)
    several, first, edges = False, found.all_listed, np.zeros((0, graph.left.size), dtype=np.bool_)
    for blocks in found.partitions:
        inside, tied = _inside(table.T if swap else table, blocks)
        masks = np.vstack([edges, (inside.T if swap else inside)[graph.left, graph.right]])
        earliest, distinct = first_of(masks)
        several |= distinct or tied
        edges = earliest[None]
        if time.monotonic() > deadline:
            first = first and blocks is found.partitions[-1]
            break
    if found.proven and (several or first):
        return Solution(edges[0], found.upper_bound, several, first)
    why = (
        "the time limit ended the search for another"
        if found.proven
        else "the matching is not proven optimal"
    )
    return Solution(edges[0], found.upper_bound, None, first=False, several_unknown=why)


def _may_be_partitioned(left: int, right: int) -> bool:
    rows = min(left, right)
    return rows <= MAX_PARTITIONED and max(left, right) << rows <= MOST_BLOCK_VALUES


@dataclass(frozen=True)
class _Found:
    """Partitions of the rows that reach the best value, each as blocks (bit masks of rows).

    Attributes:
        proven: whether the upper bound is their value.
        all_listed: whether there are no others.
    """

    partitions: list[tuple[int, ...]]
    upper_bound: int
    proven: bool
    all_listed: bool


@dataclass(frozen=True, eq=False)
class _Blocks:
    """For every set of rows left over: the blocks that may come next, which are those with its lowest row.

    Sets are bit masks; they are listed by size, so that what is left after a block stands before.

    Attributes:
        order: (2^n - 1,) int64, the sets but the empty one.
        sizes: where the sets of each size start and stop in `order`.
        start: (2^n + 1,) where the blocks of the i-th of `order` start.
        position: (2^n,) the index in `order` of each set.
        block: (total,) int64, the blocks.
        rest: (total,) int64, what is left after it.
    """

    order: NDArray[np.int64]
    sizes: tuple[tuple[int, int], ...]
    start: NDArray[np.int64]
    position: NDArray[np.int64]
    block: NDArray[np.int64]
    rest: NDArray[np.int64]


@cache
def _blocks(rows: int) -> _Blocks:
    masks = np.arange(1, 1 << rows, dtype=np.int32)
    sizes = (masks[:, None] >> np.arange(rows) & 1).sum(axis=1)
    by_size = np.argsort(sizes, kind="stable")
    order = masks[by_size]
    counts = 1 << (sizes[by_size] - 1).astype(np.int64)
    start = np.concatenate([[0], np.cumsum(counts)])
    owner = np.repeat(order, counts)
    lowest = owner & -owner
    others = owner ^ lowest
    # The i-th subset of the other rows: the bits of i laid out over them.
    number = (np.arange(start[-1]) - np.repeat(start[:-1], counts)).astype(np.int32)
    block = lowest.copy()
    for row in range(rows):
        there = others >> row & 1
        block |= (number & 1 & there) << row
        number >>= there
    position = np.empty(1 << rows, dtype=np.int64)
    position[order] = np.arange(order.size)
    size_start = np.searchsorted(sizes[by_size], np.arange(1, rows + 2)).tolist()
    # numpy takes by int64 alone: other integers would be turned into them each time.
    return _Blocks(
        order.astype(np.int64),
        tuple(pairwise(size_start)),
        start,
        position,
        block.astype(np.int64),
        (owner ^ block).astype(np.int64),
    )


def _block_values(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """(2^rows, columns) what a column shares with a block that it overlaps wholly, otherwise 0."""
    rows, columns = table.shape
    shared = np.zeros((1 << rows, columns))
    whole = np.ones((1 << rows, columns), dtype=np.bool_)
    for row in range(rows):
        shared[1 << row : 2 << row] = shared[: 1 << row] + table[row]
        whole[1 << row : 2 << row] = whole[: 1 << row] & (table[row] > 0)
    return shared * whole


class _Relaxation:
    """The Lagrangian relaxation for one price a column: blocks no longer compete for it.

    A block is then worth what its columns share with it beyond their price, and the best partition of every set of rows
    comes from smaller sets. The prices together with the best partition's worth bound the problem.
    """

    def __init__(self, blocks: _Blocks, values: NDArray[np.float64], price: NDArray[np.float64]) -> None:
        self.price = price
        beyond = values - price
        self.worth = np.maximum(beyond, 0, out=beyond).sum(axis=1)
        self.best = np.zeros(len(values))
        self._blocks = blocks
        worths = self.worth.take(blocks.block)
        for size_start, size_stop in blocks.sizes:
            first, last = blocks.start[size_start], blocks.start[size_stop]
            options = self.best.take(blocks.rest[first:last])
            options += worths[first:last]
            # All sets of a size have as many blocks.
            options = options.reshape(size_stop - size_start, -1)
            self.best[blocks.order[size_start:size_stop]] = np.maximum.reduce(options, axis=1)
        self.bound = float(price.sum() + self.best[-1])

    def partition(self) -> tuple[int, ...]:
        """A best partition of all rows."""
        chosen = []
        left = len(self.best) - 1
        while left:
            position = self._blocks.position[left]
            options = slice(self._blocks.start[position], self._blocks.start[position + 1])
            block, rest = self._blocks.block[options], self._blocks.rest[options]
            i = int((self.worth[block] + self.best[rest]).argmax())
            chosen.append(int(block[i]))
            left = int(rest[i])
        return tuple(chosen)


def biclique_value(table: NDArray[np.int64], deadline: float) -> int | None:
    """The value alone of the best partition of a table; None where it is too large, or time too short to prove it."""
    table = table if len(table) <= table.shape[1] else table.T
    if not _may_be_partitioned(*table.shape):
        return None
    found = _best_partitions(table, deadline, every=False)
    return found.upper_bound if found.proven else None


def _best_partitions(table: NDArray[np.int64], deadline: float, *, every: bool = True) -> _Found:
    """Searches the partitions of the rows.

    Args:
        every: whether to find all of the best partitions, or one and its value.
    """
    rows = len(table)
    blocks, values = _blocks(rows), _block_values(table)
    relaxed, best, partition = _prices(
        blocks, values, _PRICE_ROUNDS.get(rows, 5 if rows < 8 else _MOST_PRICE_ROUNDS), deadline
    )
    bound = floor(relaxed.bound + _ROUNDING)
    chunk = max(1, min(_CHUNK, _CHUNK_NUMBERS // table.shape[1]))
    found: list[tuple[int, ...]] = []
    enough = -_ROUNDING if every else 1 - _ROUNDING  # values are whole: a better one is better by 1
    # Partial partitions: what is left, what each column has so far, and the blocks.
    stack = [(np.array([len(values) - 1]), np.zeros((1, table.shape[1])), np.zeros((1, 0), dtype=np.int64))]
    while stack:
        if time.monotonic() > deadline:
            upper = max(bound, int(best))
            return _Found(found or [partition], upper, proven=upper == int(best), all_listed=False)
        left, has, taken = stack.pop()
        first = blocks.start[blocks.position[left]]
        counts = blocks.start[blocks.position[left] + 1] - first
        fitting = max(1, int(np.searchsorted(np.cumsum(counts), chunk, side="right")))
        if fitting < left.size:
            stack.append((left[fitting:], has[fitting:], taken[fitting:]))
            left, has, taken = left[:fitting], has[:fitting], taken[:fitting]
            first, counts = first[:fitting], counts[:fitting]
        parent = np.repeat(np.arange(left.size), counts)
        option = np.arange(parent.size) + np.repeat(first - np.cumsum(counts) + counts, counts)
        # A cheap bound first: what columns have, or their price, and the relaxed rest.
        so_far = np.maximum(has, relaxed.price).sum(axis=1)
        promise = so_far[parent] + relaxed.worth[blocks.block[option]] + relaxed.best[blocks.rest[option]]
        kept = promise >= best + enough
        parent, option = parent[kept], option[kept]
        block, rest = blocks.block[option], blocks.rest[option]
        has = np.maximum(has[parent], values[block])
        kept = np.maximum(has, relaxed.price).sum(axis=1) + relaxed.best[rest] >= best + enough
        taken = np.hstack([taken[parent], block[:, None]])[kept]
        has, rest = has[kept], rest[kept]
        whole = rest == 0
        if whole.any():
            reached = has[whole].sum(axis=1)
            if reached.max() > best:
                best, found = reached.max(), []
            found += [tuple(row) for row in taken[whole][reached == best].tolist()]
            if len(found) > MOST_LISTED:
                every, enough = False, 1 - _ROUNDING  # from here on only a better one
        if not whole.all():
            stack.append((rest[~whole], has[~whole], taken[~whole]))
    return _Found(found or [partition], int(best), proven=True, all_listed=every)


def _prices(
    blocks: _Blocks, values: NDArray[np.float64], rounds: int, deadline: float
) -> tuple[_Relaxation, float, tuple[int, ...]]:
    """Prices that bound well (subgradient steps), and the best partition met on the way with its value."""
    price = values.max(axis=0) / 2
    best, best_partition = -1.0, tuple[int, ...]()
    tightest = _Relaxation(blocks, values, price)
    relaxed, step = tightest, 1.0
    for _ in range(rounds):
        partition = relaxed.partition()
        chosen = values[list(partition)]
        value = float(chosen.max(axis=0).sum())
        if value > best:
            best, best_partition = value, partition
        if relaxed.bound < tightest.bound:
            tightest = relaxed
        else:
            step *= 0.8
        if tightest.bound - best < 1 or time.monotonic() > deadline:
            break
        excess = (chosen > relaxed.price).sum(axis=0) - 1.0
        norm = float(excess @ excess)
        if norm == 0:
            break
        price = np.maximum(relaxed.price + step * (relaxed.bound - best) / norm * excess, 0)
        relaxed = _Relaxation(blocks, values, price)
    return tightest, best, best_partition


def _inside(table: NDArray[np.int64], partition: tuple[int, ...]) -> tuple[NDArray[np.bool_], bool]:
    """(rows, columns) bool, the edges inside the bicliques; and whether some column had a choice of blocks."""
    rows = np.arange(len(table))
    members = np.array([(block >> rows & 1).astype(np.bool_) for block in partition])
    shared = members.astype(np.int64) @ table
    whole = ~((members[:, :, None] & (table == 0)).any(axis=1))
    shared = shared * whole
    best = shared.max(axis=0)
    tied = bool((((shared == best) & (best > 0)).sum(axis=0) > 1).any())
    # Blocks stand in the order of their lowest rows, so that the first of equal ones has the earliest edges.
    own = members[shared.argmax(axis=0)].T & (best > 0)
    return own & (table > 0), tied
