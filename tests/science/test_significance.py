"""Significant X-features [P 3.3]."""

import itertools
import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onoma.science.significance import significant, significant_in_groups

# whole numbers: their sums are exact, so the property needs no tolerance
TERMS = st.lists(st.integers(-20, 20), min_size=1, max_size=6)
SHARES = st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9, 1.0])


@settings(max_examples=200)
@given(TERMS, SHARES)
def test_no_smaller_set_of_positive_terms_holds_the_share(terms: list[int], share: float) -> None:
    taken = significant(torch.tensor(terms, dtype=torch.float32), share)
    chosen = [term for term, is_taken in zip(terms, taken.tolist(), strict=True) if is_taken]
    positive = [term for term in terms if term > 0]
    wanted = share * sum(positive) * (1 - 1e-12)
    assert all(term > 0 for term in chosen)
    assert sum(chosen) >= wanted
    if positive:
        smaller = itertools.combinations(positive, len(chosen) - 1)
        assert all(sum(some) < wanted for some in smaller)


@settings(max_examples=100)
@given(TERMS, SHARES)
def test_each_image_is_judged_by_itself(terms: list[int], share: float) -> None:
    one = torch.tensor(terms, dtype=torch.float64)
    both = significant(torch.stack([one, one.flip(0) * 3]), share)
    assert both[0].equal(significant(one, share))
    assert both[1].equal(significant(one.flip(0) * 3, share))


def test_the_worked_example_takes_terms_until_nine_tenths() -> None:
    """Positive sum 10; 6 holds 0.6, 6 + 3 holds 0.9: enough. The negative term and the last 1 are left."""
    assert significant(torch.tensor([3.0, -50.0, 6.0, 1.0])).tolist() == [True, False, True, False]


def test_of_equal_terms_the_first_is_taken() -> None:
    assert significant(torch.tensor([2.0, 2.0, 2.0, 2.0]), 0.5).tolist() == [True, True, False, False]


def test_a_share_reached_but_for_rounding_is_reached() -> None:
    """0.9 * (0.3 + 0.3 + 0.3 + 0.1) in floating point lies above 0.3 + 0.3 + 0.3."""
    terms = torch.tensor([0.1, 0.3, 0.3, 0.3], dtype=torch.float64)
    assert significant(terms).tolist() == [False, True, True, True]


@pytest.mark.parametrize("tenths", [[9.0, 1.0], [3.24, 0.36], [2.07, 0.23], [5.4, 0.6]])
def test_a_share_reached_but_for_the_rounding_of_float32_is_reached(tenths: list[float]) -> None:
    """The larger holds nine tenths; as float32 0.9 of the sum lies above some of them."""
    for dtype in (torch.float32, torch.float64):
        assert significant(torch.tensor(tenths, dtype=dtype)).tolist() == [True, False]


def test_without_a_positive_term_the_set_is_empty() -> None:
    assert not significant(torch.tensor([[0.0, -1.0], [0.0, 0.0]])).any()


def test_the_whole_share_takes_every_positive_term() -> None:
    assert significant(torch.tensor([1.0, 100.0, -1.0, 0.0, 1e-9]), 1.0).tolist() == [
        True,
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.0001, math.nan])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="must be in"):
        significant(torch.ones(3), share)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_damaged_term_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        significant(torch.tensor([1.0, value]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_type_is_taken(dtype: torch.dtype) -> None:
    assert significant(torch.tensor([9.0, 1.0], dtype=dtype)).tolist() == [True, False]


@settings(max_examples=100)
@given(st.lists(TERMS, min_size=1, max_size=6), SHARES, st.randoms())
def test_groups_of_any_size_in_any_order_are_judged_as_alone(
    groups: list[list[int]], share: float, random: random.Random
) -> None:
    rows = [(group, term) for group, terms in enumerate(groups) for term in terms]
    random.shuffle(rows)
    numbers, terms = (torch.tensor(column) for column in zip(*rows, strict=True))
    found = significant_in_groups(numbers, terms.double(), share)
    for group in range(len(groups)):
        alone = significant(terms[numbers == group].double(), share)
        assert found[numbers == group].equal(alone)


def test_terms_and_groups_of_unlike_number_are_refused() -> None:
    with pytest.raises(ValueError, match="3 terms with 2 groups"):
        significant_in_groups(torch.tensor([0, 0]), torch.tensor([1.0, 2.0, 3.0]))
