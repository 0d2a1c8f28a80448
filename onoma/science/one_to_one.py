"""Maximum-weight bipartite matching: each concept has at most one partner (D = 1).

An optimal matching gives dual prices, and prices give all optimal matchings: they are those that keep to the tight
edges (which cost what they weigh) and leave no concept of a positive price alone. One becomes another along cycles of
the graph in which a concept takes a tight partner from whoever has it; concepts without a partner close paths into
cycles by way of one more node. So several optima mean a cycle, and the lexicographically first is found row by row.
"""

import time

import numpy as np
from numpy.typing import NDArray

from onoma.science.overlaps import DENSE_CELLS, Overlaps, Solution

_MOST_STEPS = 1_000_000_000
"""Steps of the assignment problem (cells times the smaller side) up to which it takes no second."""

_MOST_TIES = 1_000_000  # edges that may be in an optimum; the search keeps them in Python's sets

_OUT_OF_TIME = "the time limit ended the search for another"


def one_to_one(graph: Overlaps, deadline: float) -> Solution:
    """The lexicographically first maximum-weight matching of a connected graph.

    Small graphs are solved as an assignment problem, large ones as a linear programme over their edges.

    Args:
        deadline: `time.monotonic()` when to stop; what is known by then is returned.
    """
    if _may_be_assigned(graph.left_count, graph.right_count):
        table = graph.table()
        partner = np.full(graph.left_count, -1)
        rows, columns = _assignment(table)
        paired = table[rows, columns] > 0  # a pair of weight zero is no pair
        partner[rows[paired]] = columns[paired]
        bound = int(table[rows, columns].sum())
    else:
        from onoma.science.integer_programs import solve_one_to_one

        chosen, bound = solve_one_to_one(graph, deadline)
        partner = np.full(graph.left_count, -1)
        partner[graph.left[chosen]] = graph.right[chosen]
    edges = partner[graph.left] == graph.right
    if bound > int(graph.weight[edges].sum()):
        return Solution(edges, bound, None, first=False, several_unknown="the matching is not proven optimal")
    found = _tight(graph, partner, deadline)
    if found is None:
        return Solution(edges, bound, None, first=False, several_unknown=_OUT_OF_TIME)
    tight, *_ = found
    if not (tight & ~edges).any():
        return Solution(edges, bound, several_optima=False, first=True)
    if np.count_nonzero(tight) > _MOST_TIES:
        return Solution(
            edges, bound, None, first=False, several_unknown="too many edges are tied to look for another"
        )
    exchanges = _Exchanges(graph, partner, *found)
    if not exchanges.any():
        return Solution(edges, bound, several_optima=False, first=True)
    first = exchanges.take_the_first(deadline)
    return Solution(np.array(exchanges.partner)[graph.left] == graph.right, bound, True, first)


def one_to_one_value(table: NDArray[np.int64]) -> int | None:
    """The value alone of the maximum-weight matching of a table; None where it is too large."""
    if not _may_be_assigned(*table.shape):
        return None
    return int(table[_assignment(table)].sum())


def _may_be_assigned(left: int, right: int) -> bool:
    """Whether the assignment problem of a table of this shape is quick."""
    return left * right <= DENSE_CELLS and left * right * min(left, right) <= _MOST_STEPS


def _assignment(table: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table, maximize=True)
    return rows, columns


def _tight(
    graph: Overlaps, partner: NDArray[np.int64], deadline: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]] | None:
    """The tight edges, and which concepts of either side may stay alone; None where time runs out.

    The prices are shortest distances between rows, where a row reaches another by taking its partner; an optimal
    matching has no cycle of negative length.

    Args:
        partner: (left,) the column of each row in an optimal matching, -1 without one.
    """
    holder = np.full(graph.right_count, -1)
    holder[partner[partner >= 0]] = np.flatnonzero(partner >= 0)
    matched = partner[graph.left] == graph.right
    own = np.zeros(graph.left_count, dtype=np.int64)
    own[graph.left[matched]] = graph.weight[matched]
    takes = np.flatnonzero((holder[graph.right] >= 0) & ~matched)
    takes = takes[np.argsort(graph.right[takes], kind="stable")]
    taker, loser = graph.left[takes], holder[graph.right[takes]]
    loss = own[taker] - graph.weight[takes]
    starts = np.flatnonzero(np.diff(loser, prepend=-1))  # the takers of a row's partner are beside each other
    losers = loser[starts]
    distance = np.zeros(graph.left_count, dtype=np.int64)
    while starts.size:
        shortest = np.minimum.reduceat(distance[taker] + loss, starts)
        if (shortest >= distance[losers]).all():
            break
        distance[losers] = np.minimum(distance[losers], shortest)
        if time.monotonic() > deadline:
            return None
    left_price = own + distance
    right_price = np.where(holder >= 0, -distance[holder], 0)
    tight = left_price[graph.left] + right_price[graph.right] == graph.weight
    return tight, left_price == 0, right_price == 0


class _Exchanges:
    """The graph along whose cycles one optimal matching becomes another.

    Rows, then columns, then one node for being without a partner; a row has an arc to each column that it may take, a
    column to the row that has it.

    Attributes:
        partner: the column of each row, -1 without one; stays an optimal matching.
    """

    def __init__(
        self,
        graph: Overlaps,
        partner: NDArray[np.int64],
        tight: NDArray[np.bool_],
        left_may_stay_alone: NDArray[np.bool_],
        right_may_stay_alone: NDArray[np.bool_],
    ) -> None:
        rows, alone = graph.left_count, graph.left_count + graph.right_count
        self.partner: list[int] = partner.tolist()
        self._rows, self._alone = rows, alone
        self._next: list[set[int]] = [set() for _ in range(alone + 1)]
        for left, right in zip(graph.left[tight].tolist(), graph.right[tight].tolist(), strict=True):
            if self.partner[left] == right:
                self._next[rows + right].add(left)
            else:
                self._next[left].add(rows + right)
        has_row = set(self.partner)
        for row in np.flatnonzero(left_may_stay_alone).tolist():
            if self.partner[row] >= 0:
                self._next[row].add(alone)
            else:
                self._next[alone].add(row)
        for column in np.flatnonzero(right_may_stay_alone).tolist():
            if column in has_row:
                self._next[alone].add(rows + column)
            else:
                self._next[rows + column].add(alone)

    def any(self) -> bool:
        """Whether there is a cycle: nodes that no arc enters are taken away until none is left, or a cycle."""
        entering = [0] * len(self._next)
        for following in self._next:
            for node in following:
                entering[node] += 1
        free = [node for node, count in enumerate(entering) if not count]
        left = len(entering)
        while free:
            left -= 1
            for node in self._next[free.pop()]:
                entering[node] -= 1
                if not entering[node]:
                    free.append(node)
        return left > 0

    def take_the_first(self, deadline: float) -> bool:
        """Makes `partner` the first optimum, row by row the smallest column that is left; False where time runs out."""
        for row in range(self._rows):
            if time.monotonic() > deadline:
                return False
            has = self.partner[row]
            end = self._rows + has if has >= 0 else self._alone  # what alone has an arc to the row
            seen: set[int] = set()
            for column in sorted(self._next[row]):
                if column >= end:
                    break
                path = self._path(column, end, seen)
                if path:
                    self._exchange([row, *path])
                    break
            # From here on it keeps what it has.
            self._next[row] = set()
            if self.partner[row] >= 0:
                self._next[self._rows + self.partner[row]] = set()
        return True

    def _path(self, start: int, end: int, seen: set[int]) -> list[int]:
        """A path from node to node, empty without one.

        Args:
            seen: nodes from which the end is not reached; those of a vain search are added.
        """
        before = {start: start}
        stack = [start]
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            following = self._next[node]
            if end in following:
                path = [end, node]
                while path[-1] != start:
                    path.append(before[path[-1]])
                return path[::-1]
            for other in following - seen:
                before[other] = node
                stack.append(other)
        return []

    def _exchange(self, cycle: list[int]) -> None:
        """Goes along a cycle: every row in it takes the column that comes next, and the arcs turn round."""
        for node, following in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            self._next[node].remove(following)
            self._next[following].add(node)
            if node < self._rows:
                self.partner[node] = following - self._rows if following < self._alone else -1
