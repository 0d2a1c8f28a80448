"""Two namings as partitions of what both named: Rand, mutual information, variation of information, B-cubed.

All come from the contingency table, so that thousands of pairs are cheap; scikit-learn and igraph are what the tests
compare with. Only activations that both annotators named count.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CELLS_AT_ONCE = 20_000
_SPREADS = 12  # standard deviations of a hypergeometric count beyond which its probability is below rounding


@dataclass(frozen=True)
class PartitionMeasures:
    """How alike two partitions are.

    Attributes:
        ari: Rand index adjusted for chance (Hubert, Arabie 1985), at most 1.
        ami: mutual information adjusted for chance, over the mean entropy (Vinh, Epps, Bailey 2010), at most 1.
        v_measure: mutual information over the mean entropy, in [0, 1] (Rosenberg, Hirschberg 2007).
        variation_of_information: H(left | right) + H(right | left), in nats (Meila 2007).
        bcubed_precision: mean share of an activation's left concept that is in its right one (Bagga, Baldwin 1998).
        bcubed_recall: the same with left and right exchanged.
    """

    ari: float
    ami: float
    v_measure: float
    variation_of_information: float
    bcubed_precision: float
    bcubed_recall: float


def compare_partitions(table: NDArray[np.int64]) -> PartitionMeasures | None:
    """The measures of a contingency table (left, right); None where no activation is named by both."""
    total = int(table.sum())
    if total == 0:
        return None
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    rows, columns, table = rows[rows > 0], columns[columns > 0], table[np.ix_(rows > 0, columns > 0)]
    row_entropy, column_entropy = _entropy(rows, total), _entropy(columns, total)
    information = max(0.0, row_entropy + column_entropy - _entropy(table[table > 0], total))
    mean_entropy = (row_entropy + column_entropy) / 2
    same = int((table > 0).sum()) == rows.size == columns.size
    squares = table.astype(np.float64) ** 2
    return PartitionMeasures(
        ari=_adjusted_rand(table, rows, columns, total),
        ami=1.0 if same else _adjusted_information(information, mean_entropy, rows, columns, total),
        v_measure=1.0 if mean_entropy == 0 else information / mean_entropy,
        variation_of_information=max(0.0, row_entropy + column_entropy - 2 * information),
        bcubed_precision=float((squares / rows[:, None]).sum() / total),
        bcubed_recall=float((squares / columns).sum() / total),
    )


def _entropy(counts: NDArray[np.int64], total: int) -> float:
    share = counts / total
    return float(-(share * np.log(share)).sum())


def _adjusted_rand(
    table: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64], total: int
) -> float:
    together = _pairs(table)
    in_rows, in_columns = _pairs(rows), _pairs(columns)
    expected = in_rows * in_columns / max(total * (total - 1) / 2, 1)
    largest = (in_rows + in_columns) / 2
    return 1.0 if together == largest else (together - expected) / (largest - expected)


def _pairs(counts: NDArray[np.int64]) -> float:
    return float((counts * (counts - 1)).sum()) / 2


def _adjusted_information(
    information: float,
    mean_entropy: float,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    total: int,
) -> float:
    if 1 in (rows.size, columns.size):
        return 0.0
    chance = _chance(rows, columns, total)
    return (information - chance) / max(mean_entropy - chance, float(np.finfo(np.float64).eps))


def _chance(rows: NDArray[np.int64], columns: NDArray[np.int64], total: int) -> float:
    """Expected mutual information, in nats, of partitions with these sizes thrown at random.

    The count of a cell is hypergeometric; counts further than `_SPREADS` from its mean are left out.
    """
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    rows, row_repeats = np.unique(rows, return_counts=True)
    columns, column_repeats = np.unique(columns, return_counts=True)
    expected = 0.0
    at_once = max(_CELLS_AT_ONCE // columns.size, 1)
    for start in range(0, rows.size, at_once):
        row, column = (
            part.ravel() for part in np.meshgrid(rows[start : start + at_once], columns, indexing="ij")
        )
        repeats = np.outer(row_repeats[start : start + at_once], column_repeats).ravel()
        expected += float((repeats * _cell_chances(row, column, total, log_factorial)).sum())
    return expected


def _cell_chances(
    row: NDArray[np.int64], column: NDArray[np.int64], total: int, log_factorial: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) expected share in the mutual information of cells of rows and columns of these sizes."""
    mean = row * column / total
    reach = _SPREADS * np.sqrt(mean) + 2 * _SPREADS
    low = np.maximum(np.maximum(1, row + column - total), np.floor(mean - reach)).astype(np.int64)
    high = np.minimum(np.minimum(row, column), np.ceil(mean + reach)).astype(np.int64)
    widths = np.maximum(high - low + 1, 0)
    # All counts of all cells in one row: those of a cell are beside each other.
    cell = np.repeat(np.arange(row.size), widths)
    counts = np.arange(cell.size) - np.repeat(np.cumsum(widths) - widths, widths) + low[cell]
    of_row, of_column = row[cell], column[cell]
    log_probability = (
        (
            log_factorial[row]
            + log_factorial[column]
            + log_factorial[total - row]
            + log_factorial[total - column]
        )[cell]
        - log_factorial[total]
        - log_factorial[counts]
        - log_factorial[of_row - counts]
        - log_factorial[of_column - counts]
        - log_factorial[total - of_row - of_column + counts]
    )
    information = counts / total * np.log(total * counts / (of_row * of_column))
    terms = information * np.exp(log_probability)
    return np.asarray(np.bincount(cell, terms, minlength=row.size), dtype=np.float64)
