import pytest

from onoma.science.study_data import Category, make_category, make_namings
from onoma.science.summary import Reading, explanation, inferred_names, summary


@pytest.fixture
def category() -> Category:
    return make_category(
        "shirt",
        ["i1", "i2", "i3", "i4"],
        ["a", "b", "c", "d", "e"],
        ["i1", "i2", "i3", "i1", "i2"],
        [0, 0, 0, 2, 2],
    )


@pytest.mark.parametrize(
    ("names", "reading", "wanted"),
    [
        (["sleeve", "collar", "sleeve"], Reading.NAMED_ONLY, ("collar", "sleeve")),
        (["sleeve", None], Reading.NAMED_ONLY, ("sleeve",)),
        (["sleeve", None], Reading.WITH_OTHER, ("other", "sleeve")),
        ([None, None], Reading.NAMED_ONLY, ("unlabeled",)),
        ([None], Reading.WITH_OTHER, ("other",)),
        ([], Reading.NAMED_ONLY, ()),
        ([], Reading.WITH_OTHER, ()),
    ],
)
def test_an_explanation_is_the_set_of_names(
    names: list[str | None], reading: Reading, wanted: tuple[str, ...]
) -> None:
    assert explanation(names, reading) == wanted


def test_rows_come_most_frequent_first_then_by_names(category: Category) -> None:
    naming = make_namings(category, {"ann": [("sleeve", ["a", "b"]), ("collar", ["c"])]})["ann"]
    got = summary(category, naming, Reading.NAMED_ONLY)
    assert [(row.names, row.image_ids) for row in got.rows] == [
        (("sleeve",), ("i1", "i2")),
        (("collar",), ("i3",)),
    ]
    assert got.image_count == 3
    assert got.left_out_count == 1
    assert sum(got.share(row) for row in got.rows) == pytest.approx(1)


def test_a_summary_of_a_category_without_images_has_no_rows() -> None:
    empty = make_category("hat", [], [], [], [])
    got = summary(empty, make_namings(empty, {"ann": []})["ann"], Reading.WITH_OTHER)
    assert got.rows == ()
    assert got.image_count == 0


def test_a_name_is_inferred_from_the_x_features_named_activations(category: Category) -> None:
    naming = make_namings(category, {"ann": [("sleeve", ["a", "b"]), ("collar", ["c"])]})["ann"]
    got = inferred_names(category, naming)
    assert got[0].name == "sleeve"
    assert got[0].support == pytest.approx(2 / 3)
    assert 2 not in got, "none of its activations is named"


def test_a_tie_goes_to_the_name_that_sorts_first(category: Category) -> None:
    naming = make_namings(category, {"ann": [("sleeve", ["d"]), ("collar", ["e"])]})["ann"]
    assert inferred_names(category, naming)[2].name == "collar"
