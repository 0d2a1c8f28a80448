import krippendorff
import numpy as np
import pytest
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from onoma.science.agreement import (
    by_name,
    named_or_not,
    pair_agreement,
    shuffled_agreement,
    spread,
)
from onoma.science.matching import Kind
from onoma.science.study_data import UNNAMED, Naming


def naming(annotator: str, concept: list[int], *names: str) -> Naming:
    names = names or tuple(f"c{i}" for i in range(max(concept, default=-1) + 1))
    return Naming(annotator, names, np.array(concept, dtype=np.int32))


def counts(count: int) -> dict[Kind, int]:
    return dict.fromkeys(Kind, count)


def random_naming(annotator: str, seed: int, count: int = 120, concepts: int = 7) -> Naming:
    rng = np.random.default_rng(seed)
    return naming(annotator, rng.integers(UNNAMED, concepts, count).tolist())


def test_agreement_is_over_what_both_named() -> None:
    pair = pair_agreement(naming("ann", [0, 0, 1, UNNAMED]), naming("bob", [0, 0, 0, 0]))
    assert pair.jaccard.value == 3 / 4
    assert pair.agreement(Kind.ONE_TO_ONE).value == 2 / 3
    assert pair.agreement(Kind.ONE_TO_MANY).value == 1


def test_without_anything_in_common_agreement_is_undefined_and_jaccard_is_zero() -> None:
    pair = pair_agreement(naming("ann", [0, UNNAMED]), naming("bob", [UNNAMED, 0]))
    assert pair.jaccard.value == 0
    assert pair.agreement(Kind.BICLIQUE).value is None
    assert pair.partitions is None


def test_two_empty_namings_have_no_jaccard() -> None:
    assert pair_agreement(naming("ann", [UNNAMED]), naming("bob", [UNNAMED])).jaccard.value is None


@pytest.mark.parametrize("seed", range(5))
def test_annotators_may_change_places(seed: int) -> None:
    ann, bob = random_naming("ann", seed), random_naming("bob", seed + 50)
    there, back = pair_agreement(ann, bob), pair_agreement(bob, ann)
    assert there.jaccard == back.jaccard
    for kind in Kind:
        assert back.matchings[kind].value == there.matchings[kind].value
        assert sorted((right, left) for left, right in back.matchings[kind].edges) == list(
            there.matchings[kind].edges
        )
    assert there.partitions is not None
    assert back.partitions is not None
    assert there.partitions.bcubed_precision == back.partitions.bcubed_recall


def test_concepts_go_by_their_names_whatever_their_order() -> None:
    sorted_one = by_name(naming("ann", [0, 1, UNNAMED], "wing", "eye"))
    assert sorted_one.concept_names == ("eye", "wing")
    assert sorted_one.concept.tolist() == [1, 0, UNNAMED]


def test_shuffles_of_one_seed_are_the_same() -> None:
    ann, bob = random_naming("ann", 1), random_naming("bob", 2)
    first, again = (shuffled_agreement(ann, bob, counts(3), (9,)) for _ in range(2))
    assert first == again
    assert all(len(chance.values) == 3 and not chance.at_least for chance in first.values())


def test_a_matching_may_have_more_shuffles_than_others() -> None:
    ann, bob = random_naming("ann", 1), random_naming("bob", 2)
    wanted = {Kind.ONE_TO_ONE: 5, Kind.BICLIQUE: 2}
    chance = shuffled_agreement(ann, bob, wanted, (9,))
    assert {kind: len(of.values) for kind, of in chance.items()} == wanted


def test_chance_is_what_metrics_md_measured() -> None:
    # 8 x 8 concepts, 150 activations: .23, .33, .74
    rng = np.random.default_rng(0)
    chances = []
    for seed in range(12):
        ann, bob = (naming(name, rng.integers(0, 8, 150).tolist()) for name in ("ann", "bob"))
        chances.append(shuffled_agreement(ann, bob, counts(5), (seed,)))
    means = [np.mean([chance[kind].values for chance in chances]) for kind in Kind]
    assert means == pytest.approx([0.23, 0.33, 0.74], abs=0.03)


def test_nothing_in_common_has_no_chance() -> None:
    ann, bob = naming("ann", [0]), naming("bob", [UNNAMED])
    assert shuffled_agreement(ann, bob, counts(2), (0,)) == {}


def test_shuffles_too_large_to_be_proven_have_a_lower_bound_that_says_so() -> None:
    rng = np.random.default_rng(0)
    ann, bob = (naming(name, rng.integers(0, 40, 3000).tolist()) for name in ("ann", "bob"))
    chance = shuffled_agreement(ann, bob, counts(2), (0,))
    assert len(chance[Kind.ONE_TO_ONE].values) == 2
    for kind in (Kind.ONE_TO_MANY, Kind.BICLIQUE):
        assert chance[kind].values == []
        assert chance[kind].unknown == "a shuffle is too large to be solved with proof"
        pairs = zip(chance[kind].at_least, chance[Kind.ONE_TO_ONE].values, strict=True)
        assert all(1 > bound > 0.5 * one_to_one for bound, one_to_one in pairs)


def test_shuffles_that_are_solved_because_they_are_easy_are_no_chance_of_their_own() -> None:
    rng = np.random.default_rng(0)
    ids = [*range(17), 0, 1, 2]
    ann, bob = (naming(name, rng.permutation(ids).tolist()) for name in ("ann", "bob"))
    chance = shuffled_agreement(ann, bob, counts(50), (0,))[Kind.BICLIQUE]
    assert 1.0 in chance.at_least, "none of them is easy"
    assert min(chance.at_least) < 1
    assert (chance.values, len(chance.at_least)) == ([], 50)


@pytest.mark.timeout(60)
def test_shuffles_end_with_their_time_and_say_how_many_were_made() -> None:
    rng = np.random.default_rng(0)
    ann, bob = (naming(name, rng.integers(0, 12, 200).tolist()) for name in ("ann", "bob"))
    chance = shuffled_agreement(ann, bob, counts(100_000), (0,), time_limit_s=0.3)
    assert 0 < len(chance[Kind.ONE_TO_ONE].values) < 100_000
    assert "the time limit ended the shuffles after" in chance[Kind.ONE_TO_ONE].unknown


def test_shuffles_of_thousands_of_concepts_are_solved_by_their_edges() -> None:
    ids = np.repeat(np.arange(2500), 2).tolist()
    chance = shuffled_agreement(naming("ann", ids), naming("bob", ids), counts(1), (0,))
    assert len(chance[Kind.ONE_TO_ONE].values) == 1
    assert 0.4 < chance[Kind.ONE_TO_ONE].values[0] < 0.6


def test_spread_leaves_out_what_is_undefined() -> None:
    got = spread([0.5, None, 1.0])
    assert (got.n, got.min, got.mean, got.max) == (2, 0.5, 0.75, 1.0)
    assert got.std_sample == pytest.approx(0.353553, abs=1e-6)
    assert got.std_population == 0.25


def test_one_value_has_no_sample_deviation_and_none_has_nothing() -> None:
    assert spread([0.5]).std_sample is None
    assert spread([0.5]).std_population == 0
    assert spread([None]).mean is None


@pytest.mark.parametrize("seed", range(4))
def test_named_or_not_agrees_with_the_libraries(seed: int) -> None:
    namings = [random_naming(f"a{i}", 10 * seed + i, count=30, concepts=1 + i) for i in range(4)]
    answers = np.array([naming.named for naming in namings]).astype(int)
    got = named_or_not(namings)
    assert got.fleiss_kappa == pytest.approx(fleiss_kappa(aggregate_raters(answers.T)[0]))
    wanted = krippendorff.alpha(reliability_data=answers, level_of_measurement="nominal")
    assert got.krippendorff_alpha == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("namings", "reason"),
    [
        ([], "two annotators"),
        ([naming("a", [0])], "two annotators"),
        ([naming("a", []), naming("b", [])], "no significant activation"),
        ([naming("a", [0]), naming("b", [0])], "names all"),
        ([naming("a", [UNNAMED]), naming("b", [UNNAMED])], "names none"),
    ],
)
def test_named_or_not_is_undefined_with_a_reason(namings: list[Naming], reason: str) -> None:
    got = named_or_not(namings)
    assert got.fleiss_kappa is None
    assert got.krippendorff_alpha is None
    assert reason in got.reason
