import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onoma.science.coverage import coverage, coverage_by_any, named_by_exactly
from onoma.science.study_data import UNNAMED, Category, Naming, make_category, make_namings


@st.composite
def categories_with_namings(draw: st.DrawFn) -> tuple[Category, list[Naming]]:
    image_count = draw(st.integers(1, 6))
    images = [f"i{i}" for i in range(image_count)]
    on = draw(st.lists(st.integers(0, image_count - 1), max_size=12))
    category = make_category(
        "c", images, [f"a{i}" for i in range(len(on))], [images[i] for i in on], [0] * len(on)
    )
    concepts = st.lists(st.integers(UNNAMED, 2), min_size=len(on), max_size=len(on))
    namings = [
        Naming(f"r{r}", ("x", "y", "z"), np.array(draw(concepts), dtype=np.int32))
        for r in range(draw(st.integers(0, 3)))
    ]
    return category, namings


@given(categories_with_namings())
def test_any_annotator_covers_at_least_as_much_as_each(data: tuple[Category, list[Naming]]) -> None:
    category, namings = data
    union = coverage_by_any(category, namings)
    for naming in namings:
        alone = coverage(category, naming)
        for part in ("activation", "partial", "complete"):
            assert getattr(union, part).numerator >= getattr(alone, part).numerator
        assert union.complete_by_one_annotator is not None
        assert union.complete_by_one_annotator.numerator >= alone.complete.numerator


@given(categories_with_namings())
def test_complete_is_at_most_partial_and_one_annotator_at_most_any(
    data: tuple[Category, list[Naming]],
) -> None:
    union = coverage_by_any(*data)
    assert union.complete_by_one_annotator is not None
    assert union.complete_by_one_annotator.numerator <= union.complete.numerator
    assert union.complete.numerator <= union.partial.numerator


@given(categories_with_namings())
def test_coverage_by_definition_on_sets(data: tuple[Category, list[Naming]]) -> None:
    category, namings = data
    for naming in namings:
        named = set(np.flatnonzero(naming.named).tolist())
        per_image = [
            set(np.flatnonzero(category.image == i).tolist()) for i in range(len(category.image_ids))
        ]
        per_image = [activations for activations in per_image if activations]
        got = coverage(category, naming)
        assert got.activation.numerator == len(named)
        assert got.partial.numerator == sum(bool(s & named) for s in per_image)
        assert got.complete.numerator == sum(s <= named for s in per_image)
        assert got.complete.denominator == len(per_image)


@given(categories_with_namings())
def test_named_by_exactly_n_adds_up_to_all(data: tuple[Category, list[Naming]]) -> None:
    category, namings = data
    ratios = named_by_exactly(category, namings)
    assert len(ratios) == len(namings) + 1
    assert sum(ratio.numerator for ratio in ratios) == len(category.activation_ids)


def test_a_category_without_images_has_no_coverage() -> None:
    empty = make_category("hat", [], [], [], [])
    naming = make_namings(empty, {"ann": []})["ann"]
    for got in (coverage(empty, naming), coverage_by_any(empty, [naming])):
        assert got.activation.value is None
        assert got.partial.value is None
        assert got.complete.value is None


def test_without_annotators_coverage_is_undefined_but_an_empty_naming_covers_nothing() -> None:
    category = make_category("shirt", ["i1"], ["a"], ["i1"], [0])
    empty_naming = make_namings(category, {"ann": []})["ann"]
    assert coverage_by_any(category, []).activation.value is None
    assert coverage_by_any(category, [empty_naming]).activation.value == pytest.approx(0)
