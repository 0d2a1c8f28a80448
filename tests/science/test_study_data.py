import numpy as np
import pytest

from onoma.science.study_data import (
    UNNAMED,
    Category,
    Ratio,
    Study,
    clean,
    make_category,
    make_namings,
)


@pytest.fixture
def category() -> Category:
    return make_category(
        "shirt", ["i1", "i2", "i3"], ["a", "b", "c", "d"], ["i1", "i1", "i2", "i3"], [0, 1, 0, 0]
    )


def test_zero_of_zero_is_undefined() -> None:
    assert Ratio(0, 0).value is None
    assert Ratio(0, 4).value == 0


def test_a_concept_needs_distinct_images_not_activations(category: Category) -> None:
    naming = make_namings(category, {"ann": [("collar", ["a", "b", "c"])]})["ann"]
    cleaned = clean(category, naming, min_images=3)
    assert cleaned.concept_names == ()
    assert not cleaned.named.any()
    assert cleaned.removed[0].name == "collar"
    assert cleaned.removed[0].reason == "it touches 2 images, fewer than 3"


def test_the_minimum_of_images_is_a_setting(category: Category) -> None:
    naming = make_namings(category, {"ann": [("collar", ["a", "b"]), ("hem", ["c", "d"])]})["ann"]
    cleaned = clean(category, naming, min_images=2)
    assert cleaned.concept_names == ("hem",)
    assert cleaned.concept.tolist() == [UNNAMED, UNNAMED, 0, 0]


def test_a_concept_without_a_name_is_grouped_but_not_named(category: Category) -> None:
    naming = make_namings(category, {"ann": [(" ", ["a", "c", "d"])]})["ann"]
    cleaned = clean(category, naming)
    assert not cleaned.named.any()
    assert cleaned.removed[0].reason == "it has no name"


def test_two_concepts_of_one_name_stay_two(category: Category) -> None:
    naming = make_namings(category, {"ann": [("hem", ["a"]), ("hem", ["c"])]})["ann"]
    assert naming.concept.tolist() == [0, UNNAMED, 1, UNNAMED]


def test_an_activation_in_two_concepts_is_an_error_that_names_both(category: Category) -> None:
    with pytest.raises(ValueError, match="'a' is in two concepts, 'collar' and 'hem'"):
        make_namings(category, {"ann": [("collar", ["a"]), ("hem", ["a"])]})


def test_an_unknown_activation_is_an_error_that_names_it(category: Category) -> None:
    with pytest.raises(ValueError, match=r"'zz' in concept 'collar' is not one of the category's"):
        make_namings(category, {"ann": [("collar", ["zz"])]})


def test_an_activation_listed_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="activation 'a' is listed twice"):
        make_category("shirt", ["i1"], ["a", "a"], ["i1", "i1"], [0, 1])


def test_an_activation_on_another_categorys_image_is_an_error() -> None:
    with pytest.raises(ValueError, match="image 'i9', which is not among"):
        make_category("shirt", ["i1"], ["a"], ["i9"], [0])


def test_a_category_without_images_is_empty_not_an_error() -> None:
    empty = make_category("hat", [], [], [], [])
    assert empty.left_out_count == 0
    assert empty.image.dtype == np.int32
    assert clean(empty, make_namings(empty, {"ann": []})["ann"]).concept_names == ()


def test_an_unknown_category_is_an_error_that_lists_the_others(category: Category) -> None:
    with pytest.raises(ValueError, match="'hat' is not one of the study's: 'shirt'"):
        Study({"shirt": category}, ()).cleaned("hat")


def test_an_annotator_who_was_not_assigned_a_category_has_no_naming_there(category: Category) -> None:
    study = Study({"shirt": category}, ("ann", "bob"), {"shirt": make_namings(category, {"bob": []})})
    assert [naming.annotator for naming in study.cleaned("shirt")] == ["bob"]
