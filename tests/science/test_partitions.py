"""Measures of two partitions, against scikit-learn and igraph."""

import igraph
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from onoma.science.partitions import compare_partitions

labels = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=60)


def table_of(left: list[int], right: list[int]) -> np.ndarray:
    table = np.zeros((max(left) + 1, max(right) + 1), dtype=np.int64)
    np.add.at(table, (left, right), 1)
    return table


@settings(max_examples=200)
@given(pairs=labels)
def test_measures_agree_with_the_libraries(pairs: list[tuple[int, int]]) -> None:
    left, right = (list(side) for side in zip(*pairs, strict=True))
    got = compare_partitions(table_of(left, right))
    assert got is not None
    assert got.ari == pytest.approx(metrics.adjusted_rand_score(left, right), abs=1e-9)
    assert got.ami == pytest.approx(metrics.adjusted_mutual_info_score(left, right), abs=1e-6)
    assert got.v_measure == pytest.approx(metrics.v_measure_score(left, right), abs=1e-9)
    wanted = igraph.compare_communities(left, right, method="vi")
    assert got.variation_of_information == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=50)
@given(pairs=labels)
def test_bcubed_is_a_mean_over_activations(pairs: list[tuple[int, int]]) -> None:
    left, right = (np.array(side) for side in zip(*pairs, strict=True))
    same_left, same_right = left[:, None] == left, right[:, None] == right
    both = (same_left & same_right).sum(axis=1)
    got = compare_partitions(table_of(left.tolist(), right.tolist()))
    assert got is not None
    assert got.bcubed_precision == pytest.approx((both / same_left.sum(axis=1)).mean())
    assert got.bcubed_recall == pytest.approx((both / same_right.sum(axis=1)).mean())


def test_large_counts_keep_their_precision() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 20, 20_000), rng.integers(0, 30, 20_000)
    right[:5000] = left[:5000]
    got = compare_partitions(table_of(left.tolist(), right.tolist()))
    assert got is not None
    assert got.ami == pytest.approx(metrics.adjusted_mutual_info_score(left, right), abs=1e-9)


def test_nothing_in_common_is_undefined() -> None:
    assert compare_partitions(np.zeros((2, 3), dtype=np.int64)) is None
