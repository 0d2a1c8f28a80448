"""Two namings as Figure 7 draws them."""

import numpy as np

from onoma.science.agreement import pair_agreement
from onoma.science.drawn_pair import MOST_DRAWN, drawn_pair
from onoma.science.study_data import Naming


def naming(annotator: str, names: list[str], concepts: list[int]) -> Naming:
    return Naming(annotator, tuple(names), np.array(concepts, dtype=np.int32))


def drawn(left: Naming, right: Naming) -> dict:
    return drawn_pair(pair_agreement(left, right), left, right)


def test_concepts_of_one_name_are_drawn_apart() -> None:
    left = naming("ann", ["eye", "eye"], [0, 0, 0, 1, 1, -1])
    right = naming("bo", ["beak", "wing"], [0, 0, 0, 1, 1, 1])
    found = drawn(left, right)
    assert found["concepts"] == [
        [{"name": "eye", "activations": 3}, {"name": "eye", "activations": 2}],
        [{"name": "beak", "activations": 3}, {"name": "wing", "activations": 2}],
    ]
    assert found["overlaps"] == [[0, 0, 3, True], [1, 1, 2, True]]
    assert (found["common"], found["matching"]["weight"], found["matching"]["status"]) == (5, 5, "optimal")
    assert found["left_out"] == {"concepts": [0, 0], "activations": 0}


def test_matched_concepts_come_first_in_the_order_of_the_matching() -> None:
    left = naming("ann", ["a", "b", "c"], [0, 0, 1, 2, 2, 2, 0])
    right = naming("bo", ["x", "y"], [1, 1, 1, 0, 0, 0, 1])
    found = drawn(left, right)
    inside = [(one, other) for one, other, _, is_inside in found["overlaps"] if is_inside]
    assert inside == sorted(inside)
    assert [one["name"] for one in found["concepts"][1]] == ["y", "x"]


def test_of_many_concepts_those_with_the_largest_overlaps_are_drawn_and_the_rest_is_counted() -> None:
    many = MOST_DRAWN + 10
    sizes = np.arange(1, many + 1)
    concept = np.repeat(np.arange(many), sizes).tolist()
    names = [f"part {i}" for i in range(many)]
    found = drawn(naming("ann", names, concept), naming("bo", names, concept))
    for side in found["concepts"]:
        assert {one["name"] for one in side} == set(names[10:])
    assert found["left_out"] == {"concepts": [10, 10], "activations": int(sizes[:10].sum())}
