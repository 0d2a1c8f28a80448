import numpy as np
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from onoma.science.practice import (
    accuracy_by_explanation,
    newcombe,
    places,
    share_inside,
    share_near,
    suspects,
    wilson,
)
from onoma.science.study_data import Category, Naming, Ratio, make_category, make_namings

IMAGES = ["i1", "i2", "i3", "i4", "i5"]


def bird() -> tuple[Category, Naming]:
    category = make_category("bird", IMAGES, ["a", "b", "c", "d"], IMAGES[:4], [0, 0, 0, 0])
    naming = make_namings(category, {"ann": [("eye", ["a", "b", "c"])]})["ann"]
    return category, naming


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (3, 11), (250, 1000)])
def test_wilsons_interval_agrees_with_statsmodels(hits: int, n: int) -> None:
    got = wilson(Ratio(hits, n))
    assert got is not None
    assert (got.low, got.high) == pytest.approx(proportion_confint(hits, n, method="wilson"))


@pytest.mark.parametrize(("one", "other"), [((3, 11), (7, 9)), ((0, 5), (5, 5)), ((40, 50), (300, 400))])
def test_newcombes_interval_agrees_with_statsmodels(one: tuple[int, int], other: tuple[int, int]) -> None:
    got = newcombe(Ratio(*one), Ratio(*other))
    wanted = confint_proportions_2indep(*one, *other, method="newcomb", compare="diff")
    assert got is not None
    assert (got.low, got.high) == pytest.approx(wanted)


def test_intervals_of_nothing_are_undefined() -> None:
    assert wilson(Ratio(0, 0)) is None
    assert newcombe(Ratio(1, 2), Ratio(0, 0)) is None


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson(Ratio(1, 2), confidence)


def test_accuracy_with_an_explanation_and_without_it() -> None:
    category, naming = bird()
    eye, other = accuracy_by_explanation(category, naming, np.array([True, True, False, False, True]))
    assert (eye.names, eye.accuracy, eye.rest) == (("eye",), Ratio(2, 3), Ratio(0, 1))
    assert (other.names, other.accuracy, other.rest) == (("other",), Ratio(0, 1), Ratio(2, 3))
    assert eye.difference == pytest.approx(2 / 3)
    assert eye.interval is not None
    assert eye.interval.low < 2 / 3 < eye.interval.high


def test_an_explanation_of_every_image_has_no_rest() -> None:
    category = make_category("bird", ["i1"], ["a"], ["i1"], [0])
    naming = make_namings(category, {"ann": [("eye", ["a"])]})["ann"]
    (only,) = accuracy_by_explanation(category, naming, np.array([True]))
    assert only.rest.value is None
    assert only.difference is None
    assert only.difference_interval is None


def test_suspects_are_right_and_unusual() -> None:
    category, naming = bird()
    found = suspects(category, [naming], np.array([True, True, False, True, True]))
    assert [suspect.image_id for suspect in found] == ["i4"]
    assert found[0].usual == 0.25
    assert found[0].explanations == (("ann", ("other",)),)


def test_who_is_usual_to_one_annotator_and_unusual_to_another_is_suspect() -> None:
    category, ann = bird()
    bob = make_namings(category, {"bob": [("head", ["a", "d"]), ("wing", ["b"]), ("foot", ["c"])]})["bob"]
    found = suspects(category, [ann, bob], np.ones(5, dtype=bool))
    assert [suspect.image_id for suspect in found] == ["i4", "i2", "i3"]


def test_without_namings_nobody_is_suspect() -> None:
    assert suspects(bird()[0], [], np.ones(5, dtype=bool)) == ()


def test_concepts_whose_maps_lie_outside_come_first() -> None:
    category = make_category("bird", IMAGES, ["a", "b", "c", "d"], IMAGES[:4], [0, 0, 0, 0])
    naming = make_namings(category, {"ann": [("eye", ["a"]), ("sky", ["b", "c"]), ("tail", ["d"])]})["ann"]
    eye, sky, tail = 1, 0, 2
    found = places(naming, np.array([0.9, 0.1, 0.3, np.nan]))
    assert [place.name for place in found] == ["sky", "eye", "tail"]
    assert (found[sky].inside, found[sky].n, found[sky].outside) == (pytest.approx(0.2), 2, True)
    assert not found[eye].outside
    assert (found[tail].inside, found[tail].n, found[tail].outside) == (None, 0, False)


def test_places_say_of_how_many_maps_the_object_is_known_by_points_alone() -> None:
    category, _ = bird()
    naming = make_namings(category, {"ann": [("eye", ["a", "b"]), ("tail", ["c"])]})["ann"]
    known_by_points = np.array([True, False, True, True])
    found = {
        place.name: place for place in places(naming, np.array([0.9, 0.1, np.nan, 0.5]), known_by_points)
    }
    assert (found["eye"].n, found["eye"].n_by_points) == (2, 1)
    assert (found["tail"].n, found["tail"].n_by_points) == (0, 0)


def test_a_box_takes_its_share_of_the_mass() -> None:
    flat = np.ones((4, 4))
    assert share_inside(flat, (0, 0, 1, 1)) == pytest.approx(1)
    assert share_inside(flat, (0.25, 0, 0.75, 0.5)) == pytest.approx(0.25)
    assert share_inside(flat, (0, 0, 0.125, 1)) == pytest.approx(0.125)
    assert share_inside(np.zeros((4, 4)), (0, 0, 1, 1)) is None


def test_a_box_without_area_is_refused() -> None:
    with pytest.raises(ValueError, match="no area"):
        share_inside(np.ones((2, 2)), (0.5, 0, 0.5, 1))


def test_mass_near_part_points() -> None:
    corner = np.zeros((4, 4))
    corner[0, 0] = corner[3, 3] = 1
    assert share_near(corner, np.array([[0.125, 0.125]]), 0.1) == 0.5
    assert share_near(corner, np.zeros((0, 2)), 0.1) == 0
