from onoma.science.purity import purity
from onoma.science.study_data import make_category, make_namings


def test_purity_of_an_empty_naming_is_undefined() -> None:
    category = make_category("shirt", ["i1"], ["a"], ["i1"], [0])
    got = purity(category, make_namings(category, {"ann": []})["ann"])
    assert got.cx.value is None
    assert got.xc.value is None


def test_one_concept_of_two_x_features_is_mixed_one_way_and_pure_the_other() -> None:
    category = make_category("shirt", ["i1", "i2"], ["a", "b"], ["i1", "i2"], [0, 4])
    got = purity(category, make_namings(category, {"ann": [("hem", ["a", "b"])]})["ann"])
    assert got.cx.value == 0.5
    assert got.xc.value == 1.0


def test_purity_of_a_category_without_activations_is_undefined() -> None:
    empty = make_category("hat", ["i1"], [], [], [])
    assert purity(empty, make_namings(empty, {"ann": []})["ann"]).cx.value is None
