"""The intersection graph of two namings: which concepts share activations, and how many."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onoma.science.study_data import Naming

DENSE_CELLS = 4_000_000
"""Above this many cells a part of the graph is kept as edges alone."""

_SMALL = 2000  # edges up to which a graph is looked at without scipy


@dataclass(frozen=True, eq=False)
class Overlaps:
    """A bipartite graph: nodes are the concepts of two namings, weights the activations that they share.

    Edges are in row-major order: by left concept, then by right. That order is what the
    lexicographically first optimum of a matching goes by.

    Attributes:
        left_count: concepts of the left naming.
        right_count: concepts of the right one.
        left: (E,) int64, the left concept of each edge.
        right: (E,) int64, the right one.
        weight: (E,) int64, common activations, at least 1.
    """

    left_count: int
    right_count: int
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    weight: NDArray[np.int64]

    @property
    def total(self) -> int:
        """Activations that are named by both."""
        return int(self.weight.sum())

    @property
    def turned(self) -> "Overlaps":
        """The graph with left and right exchanged."""
        order = np.lexsort((self.left, self.right))
        return Overlaps(
            self.right_count, self.left_count, self.right[order], self.left[order], self.weight[order]
        )

    @property
    def cells(self) -> int:
        """Cells of the contingency table."""
        return self.left_count * self.right_count

    @property
    def weight_of(self) -> dict[tuple[int, int], int]:
        """Common activations of each (left, right) that has some."""
        ends = zip(self.left.tolist(), self.right.tolist(), strict=True)
        return dict(zip(ends, self.weight.tolist(), strict=True))

    def table(self) -> NDArray[np.int64]:
        """(left_count, right_count) the contingency table."""
        table = np.zeros((self.left_count, self.right_count), dtype=np.int64)
        table[self.left, self.right] = self.weight
        return table


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solver found in a graph.

    Attributes:
        edges: (E,) bool, the edges inside the sets.
        upper_bound: no solution is worth more; proven.
        several_optima: whether another set of edges is worth as much; None where that is not known.
        first: whether `edges` is the lexicographically first optimum.
        several_unknown: why `several_optima` is None, otherwise empty.
    """

    edges: NDArray[np.bool_]
    upper_bound: int
    several_optima: bool | None
    first: bool
    several_unknown: str = ""


def overlaps_of_table(table: NDArray[np.int64]) -> Overlaps:
    """The graph of a contingency table of shape (left, right)."""
    left, right = np.nonzero(table)
    left_count, right_count = table.shape
    return Overlaps(left_count, right_count, left, right, table[left, right])


def overlaps_of_cells(cell: NDArray[np.int64], left_count: int, right_count: int) -> Overlaps:
    """The graph of activations of which each lies in a cell (row-major) of the table."""
    cells, weight = np.unique(cell, return_counts=True)
    return Overlaps(left_count, right_count, cells // right_count, cells % right_count, weight)


def overlaps(left: Naming, right: Naming) -> Overlaps:
    """The graph of two namings of one category, after cleaning.

    Raises:
        ValueError: the namings are of different numbers of activations.
    """
    if left.concept.shape != right.concept.shape:
        raise ValueError(
            f"'{left.annotator}' names {left.concept.size} activations and '{right.annotator}' {right.concept.size}: "
            "they are not of one category"
        )
    both = left.named & right.named
    left_count, right_count = len(left.concept_names), len(right.concept_names)
    cell = left.concept[both].astype(np.int64) * right_count + right.concept[both]
    if left_count * right_count <= DENSE_CELLS:
        table = np.bincount(cell, minlength=left_count * right_count)
        return overlaps_of_table(table.reshape(left_count, right_count))
    return overlaps_of_cells(cell, left_count, right_count)


def parts(graph: Overlaps) -> Iterator[tuple[Overlaps, NDArray[np.int64]]]:
    """The connected components that have an edge.

    Yields:
        The component with its concepts counted anew in the same order, and (e,) its edges' indices in `graph`.
    """
    if graph.left.size == 0:
        return
    component = _components(graph)
    component_of_edge = component[graph.left]
    order = np.argsort(component_of_edge, kind="stable")
    starts = np.flatnonzero(np.diff(component_of_edge[order], prepend=-1))
    for edges in np.split(order, starts[1:]):
        lefts, left = np.unique(graph.left[edges], return_inverse=True)
        rights, right = np.unique(graph.right[edges], return_inverse=True)
        yield Overlaps(lefts.size, rights.size, left, right, graph.weight[edges]), edges


def _components(graph: Overlaps) -> NDArray[np.int64]:
    """(left,) the smallest left concept that each left concept is connected with.

    The smallest number known goes along all edges, to the right and back, until none changes. Thousands of pairs have
    graphs so small that scipy takes a millisecond to look at one; in large ones the way may be long.
    """
    if graph.left.size > _SMALL:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        nodes = graph.left_count + graph.right_count
        ends = (graph.left, graph.left_count + graph.right)
        _, label = connected_components(coo_array((graph.weight, ends), shape=(nodes, nodes)), directed=False)
        smallest = np.full(nodes, nodes)
        np.minimum.at(smallest, label[: graph.left_count], np.arange(graph.left_count))
        return np.asarray(smallest[label[: graph.left_count]])
    smallest = np.arange(graph.left_count)
    while True:
        at_right = np.full(graph.right_count, graph.left_count)
        np.minimum.at(at_right, graph.right, smallest[graph.left])
        before, smallest = smallest, smallest.copy()
        np.minimum.at(smallest, graph.left, at_right[graph.right])
        smallest = smallest[smallest]  # what the smallest has learned since
        if np.array_equal(before, smallest):
            return smallest
