"""The whole analysis: worked_example.json, what must not change it, and input that is out of the ordinary."""

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from onoma.science.analysis import analyse, analyse_categories
from onoma.science.analysis_options import Options
from onoma.science.study_file import study_from_document
from tests.studies import synthetic_study
from tests.worked_example import DOCUMENT, VALUES, compare


def rounded(wanted: Any) -> Any:
    if isinstance(wanted, list):
        return [rounded(item) for item in wanted]
    if isinstance(wanted, dict):
        return {key: rounded(value) for key, value in wanted.items()}
    return pytest.approx(wanted, abs=1e-4 if wanted > 1 else 2e-6) if isinstance(wanted, float) else wanted


@pytest.fixture(scope="module")
def analysis() -> dict[str, Any]:
    return analyse(study_from_document(DOCUMENT["input"]))


def test_every_value_of_the_worked_example(analysis: dict[str, Any]) -> None:
    assert compare(analysis) == VALUES


@pytest.mark.parametrize("category", ["p", "q"])
def test_compatibility_lies_within_what_the_optimal_matchings_of_the_example_give(
    analysis: dict[str, Any], category: str
) -> None:
    for pair, kinds in DOCUMENT["expected"][category]["pairs"].items():
        for kind in ("one_to_one", "one_to_many", "biclique"):
            if kinds[kind] is None:
                continue
            got = analysis["expected"][category]["pairs"][pair][kind]
            edges = [[a, b] for left, right in got["sets"] for a in left for b in right]
            assert sorted(edges) in [sorted(edges) for edges in kinds[kind]["optimal_edge_sets"]]
            assert got["several_optima"] is (len(kinds[kind]["optimal_edge_sets"]) > 1)
            for compat in ("exact_compat", "subset_compat"):
                low, high = (end["value"] for end in kinds[kind][f"{compat}_range"])
                assert low - 1e-6 <= got[compat]["value"] <= high + 1e-6


def test_the_rules_alone_find_what_the_example_judged_by_hand(analysis: dict[str, Any]) -> None:
    document = {key: value for key, value in DOCUMENT["input"].items() if key != "label_judgements"}
    by_rule = analyse(study_from_document(document))
    for category in ("p", "q"):
        hand = analysis["expected"][category]["pair_summary"]
        for key in hand:
            assert by_rule["expected"][category]["pair_summary"][key] == hand[key]


def test_averages_are_means_of_category_means(analysis: dict[str, Any]) -> None:
    assert analysis["averages"]["jaccard"] == {"n": 2, "mean": pytest.approx((0.8 + 1 / 6) / 2)}
    assert analysis["averages"]["coverage_activation"]["mean"] == pytest.approx(
        (np.mean([10, 9, 8]) / 11 + np.mean([3, 0, 3]) / 4) / 2
    )
    # Annotator A2 named nothing in category q: that leaves the mean.
    assert analysis["averages"]["purity_CX"]["mean"] == pytest.approx(
        (np.mean([1, 1, 0.75]) + np.mean([1, 2 / 3])) / 2
    )


def nulls(found: Any, path: str = "") -> Iterator[str]:
    """Where a null stands without a reason, or a number is none."""
    if isinstance(found, dict):
        for key, value in found.items():
            if value is None and key not in found.get("reasons", {}):
                yield f"{path}/{key}"
            if key == "named_by_exactly_n" and key in found.get("reasons", {}):
                continue  # one reason for all of its shares, which are keyed by numbers alone
            yield from nulls(value, f"{path}/{key}")
    elif isinstance(found, list):
        for i, value in enumerate(found):
            yield from nulls(value, f"{path}/{i}")
    elif isinstance(found, float) and not math.isfinite(found):
        yield path


def document(**changes: Any) -> dict[str, Any]:
    changed = copy.deepcopy(DOCUMENT["input"])
    changed.update(changes)
    return changed


EXTREMES = {
    "no annotators": document(annotators=[], namings={}),
    "one annotator": document(annotators=["A1"], namings={"A1": DOCUMENT["input"]["namings"]["A1"]}),
    "no namings": document(namings={}),
    "empty namings": document(
        namings={annotator: {"p": {"clusters": {}}} for annotator in DOCUMENT["input"]["annotators"]}
    ),
    "no categories": document(categories={}, namings={}),
    "a category without images": document(
        categories={"p": {"images": [], "activations": {}}},
        namings={annotator: {"p": {"clusters": {}}} for annotator in DOCUMENT["input"]["annotators"]},
    ),
    "concepts all below the minimum": document(min_cluster_images=100),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_what_is_undefined_is_null_with_a_reason(name: str) -> None:
    found = analyse(study_from_document(EXTREMES[name]))
    others = found.pop("other_measures_on_commonly_named")
    assert list(nulls(found)) == []
    for other in others.values():
        other["pairs"]["reasons"] = other["reasons"]
        assert list(nulls(other)) == []
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("name", EXTREMES)
def test_shares_of_named_by_n_are_keyed_by_numbers_alone(name: str) -> None:
    for found in analyse(study_from_document(EXTREMES[name]))["expected"].values():
        assert list(found["named_by_exactly_n"]) == [str(n) for n in range(found["n"]["annotators"] + 1)]


def test_concepts_without_a_name_are_each_told_as_removed() -> None:
    changed = document()
    changed["namings"]["A3"]["p"]["clusters"] = [
        {"name": "", "activations": ["e1"]},
        {"name": "", "activations": ["e2"]},
    ]
    removed = analyse(study_from_document(changed))["expected"]["p"]["removed_because"]["A3"]
    assert removed == [{"name": "(unnamed)", "reason": "it has no name"}] * 2


def test_every_pair_has_shuffles_and_a_category_says_over_how_many_pairs_its_chance_is() -> None:
    file = synthetic_study(categories=1, annotators=6, activations=200)
    (found,) = analyse(file, Options(shuffles=12))["expected"].values()
    made = {
        kind: [pair[kind]["chance"] and pair[kind]["chance"]["shuffles"] for pair in found["pairs"].values()]
        for kind in KINDS
    }
    assert made["one_to_one"] == [10] * 15
    assert sorted(made["biclique"], key=str) == [1] * 12 + [None] * 3
    assert found["chance"]["pairs_in_all"] == 15
    assert (found["chance"]["one_to_one"]["pairs"], found["chance"]["biclique"]["pairs"]) == (15, 12)


def test_one_pair_too_large_voids_no_chance_of_the_others() -> None:
    file = synthetic_study(categories=1, annotators=3, activations=900, concepts=(5, 8))
    (category,) = file.study.categories
    people = dict(file.study.namings[category])
    one, other, _ = people
    count = people[one].concept.size
    for person in (one, other):
        names = tuple(f"c{i}" for i in range(30))
        concept = np.random.default_rng(len(names)).integers(0, 30, count).astype(np.int32)
        people[person] = replace(people[person], concept_names=names, concept=np.roll(concept, len(person)))
    study = replace(file.study, namings={category: people})
    (found,) = analyse(replace(file, study=study), Options(shuffles=6))["expected"].values()
    pair = found["pairs"][f"{one}-{other}"]["biclique"]
    assert pair["chance"] is None
    assert pair["reasons"]["chance"] == "a shuffle is too large to be solved with proof"
    assert pair["chance_at_least"]["shuffles"] == 2
    assert found["chance"]["biclique"]["pairs"] == 2
    assert found["chance"]["biclique_at_least"]["pairs"] == 3


def test_ambiguous_names_are_shown_apart() -> None:
    changed = document()
    del changed["label_judgements"]
    changed["vague_words"] = ["eye"]
    (pair, *_) = analyse(study_from_document(changed))["expected"]["p"]["pairs"].values()
    summary = analyse(study_from_document(changed))["expected"]["p"]["pair_summary"]
    assert pair["one_to_one"]["ambiguous_compat"]["value"] > 0
    assert summary["one_to_one_ambiguous_compat"]["n"] == 3


def test_labels_that_differ_by_case_only_are_told() -> None:
    changed = document()
    changed["namings"]["A3"]["p"]["clusters"] = {"Head": ["e1", "e2", "e3"], "head": ["w1", "w2", "w3"]}
    found = analyse(study_from_document(changed))["expected"]["p"]
    assert found["warnings"] == ["annotator 'A3' has concepts 'Head' and 'head': they count as two"]


def test_a_concept_that_is_called_as_the_unnamed_are_is_told() -> None:
    changed = document()
    changed["namings"]["A3"]["p"]["clusters"] = {"other": ["e1", "e2", "e3"], "wing": ["w1", "w2", "w3"]}
    (warning,) = analyse(study_from_document(changed))["expected"]["p"]["warnings"]
    assert "annotator 'A3' has a concept 'other'" in warning


def test_ten_thousand_concepts_and_labels_of_any_script() -> None:
    ids = [f"a{i}" for i in range(20_000)]
    clusters = [{"name": f"眼{i}", "activations": ids[2 * i : 2 * i + 2]} for i in range(10_000)]
    found = analyse(
        study_from_document(
            {
                "annotators": ["Å", "и"],
                "min_cluster_images": 1,
                "categories": {"鳥": {"images": ["i"], "activations": {a: ["i", 0] for a in ids}}},
                "namings": {who: {"鳥": {"clusters": clusters}} for who in ("Å", "и")},
            }
        ),
        Options(shuffles=0),
    )
    pair = found["expected"]["鳥"]["pairs"]["Å-и"]
    assert pair["biclique"]["agreement"]["value"] == 1
    assert pair["one_to_one"]["exact_compat"]["value"] == 1


def test_a_time_limit_too_short_gives_bounds_and_says_so() -> None:
    file = synthetic_study(categories=1, annotators=2, activations=4000, concepts=(25, 30))
    found = analyse(file, Options(shuffles=0, time_limit_s=1e-6))["expected"]["class 000"]
    (pair,) = found["pairs"].values()
    assert pair["biclique"]["status"] == "feasible"
    assert pair["biclique"]["weight"] < pair["biclique"]["upper_bound"]
    assert pair["biclique"]["reasons"] == {
        "several_optima": "another optimum is not looked for in graphs that are too large to list all partitions",
        "chance": "no shuffle of this pair was made",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(shuffles=-1), "-1 shuffles cannot be made"),
        (Options(seed=-1), "seed of the shuffles is -1"),
        (Options(processes=0), "cannot run in 0 processes"),
        (Options(time_limit_s=0), "it must be positive"),
        (Options(confidence=95), "between 0 and 1"),
    ],
)
def test_options_out_of_their_range_are_refused(options: Options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        analyse(synthetic_study(1, 2, 20), options)


def test_pairs_that_would_be_called_alike_are_numbered() -> None:
    changed = small_document()
    names = dict(zip(changed["annotators"], ["a", "b-c", "a-b"], strict=True))
    changed["annotators"] = [*names.values(), "c"]
    changed["namings"] = {names[name]: naming for name, naming in changed["namings"].items()}
    changed["namings"]["c"] = changed["namings"]["a"]
    wanted = ["a-b-c", "a-a-b", "a-c", "b-c-a-b", "b-c-c", "a-b-c (2)"]
    for found in analysed(changed).values():
        assert list(found["pairs"]) == wanted
        assert found["pairs"]["a-b-c"]["annotators"] == ["a", "b-c"]
        assert found["pairs"]["a-b-c (2)"]["annotators"] == ["a-b", "c"]
        assert found["pair_summary"]["jaccard"]["n"] == 6


# What changes only what it should.

SMALL = synthetic_study(categories=2, annotators=3, activations=160, concepts=(4, 7), seed=3)


def small_document() -> dict[str, Any]:
    """SMALL as a document, whose parts can be changed."""
    study = SMALL.study
    return {
        "annotators": list(study.annotators),
        "min_cluster_images": 1,
        "categories": {
            name: {
                "images": list(category.image_ids),
                "activations": {
                    activation_id: [category.image_ids[image], int(x_feature)]
                    for activation_id, image, x_feature in zip(
                        category.activation_ids, category.image, category.x_feature, strict=True
                    )
                },
            }
            for name, category in study.categories.items()
        },
        "namings": {
            annotator: {
                name: {
                    "clusters": {
                        concept: [
                            category.activation_ids[i]
                            for i in np.flatnonzero(study.namings[name][annotator].concept == c)
                        ]
                        for c, concept in enumerate(study.namings[name][annotator].concept_names)
                    }
                }
                for name, category in study.categories.items()
            }
            for annotator in study.annotators
        },
    }


def analysed(changed: dict[str, Any]) -> dict[str, Any]:
    return analyse(study_from_document(changed), Options(shuffles=9))["expected"]


def agreements(pairs: dict[str, Any]) -> dict[frozenset[str], Any]:
    return {
        frozenset(pair["annotators"]): (
            pair["jaccard"],
            [(pair[kind]["weight"], pair[kind]["several_optima"], pair[kind]["chance"]) for kind in KINDS],
        )
        for pair in pairs.values()
    }


KINDS = ("one_to_one", "one_to_many", "biclique")


def test_other_names_of_concepts_change_no_agreement() -> None:
    renamed = small_document()
    for by_category in renamed["namings"].values():
        for naming in by_category.values():
            clusters = naming["clusters"]
            naming["clusters"] = {f"z{len(clusters) - i}": ids for i, ids in enumerate(clusters.values())}
    before, after = analysed(small_document()), analysed(renamed)
    for name in before:
        assert agreements(after[name]["pairs"]) == agreements(before[name]["pairs"])
        for key in ("coverage", "purity", "named_by_exactly_n"):
            assert after[name][key] == before[name][key]


def test_the_order_of_annotators_changes_nothing_but_the_order() -> None:
    turned = small_document()
    turned["annotators"].reverse()
    before, after = analysed(small_document()), analysed(turned)
    for name in before:
        assert agreements(after[name]["pairs"]) == agreements(before[name]["pairs"])
        for pair in after[name]["pairs"].values():
            same = before[name]["pairs"]["-".join(reversed(pair["annotators"]))]
            for kind in KINDS:
                sets = sorted([right, left] for left, right in pair[kind]["sets"])
                assert sets == sorted(same[kind]["sets"])
                assert pair[kind]["exact_compat"] == same[kind]["exact_compat"]
        for key in ("named_by_exactly_n", "pair_summary", "chance", "coverage"):
            assert after[name][key] == rounded(before[name][key])
        assert [c["names"] for c in after[name]["consensus"]] == [
            c["names"] for c in before[name]["consensus"]
        ]


def test_an_activation_that_nobody_named_changes_coverage_alone() -> None:
    more = small_document()
    (name, category), *_ = more["categories"].items()
    category["activations"]["new"] = [category["images"][0], 0]
    before, after = analysed(small_document())[name], analysed(more)[name]
    for key in ("pairs", "pair_summary", "purity", "consensus", "chance"):
        assert after[key] == before[key]
    for annotator in more["annotators"]:
        was, now = (found["coverage"][annotator]["activation"] for found in (before, after))
        assert (now["numerator"], now["denominator"]) == (was["numerator"], was["denominator"] + 1)


def test_processes_change_nothing() -> None:
    options = Options(shuffles=6)
    alone = analyse(SMALL, options)
    assert analyse(SMALL, Options(shuffles=6, processes=2)) == alone
    assert list(dict(analyse_categories(SMALL, options))) == list(alone["expected"])


def test_progress_ends_with_all_that_there_is() -> None:
    seen: list[tuple[int, int]] = []
    analyse(SMALL, Options(shuffles=0), lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 8)
    assert seen[-1] == (8, 8)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_what_a_practitioner_asks_is_answered_where_the_study_tells() -> None:
    found = analyse(SMALL, Options(shuffles=0))["expected"]["class 000"]
    rows = found["accuracy_by_explanation"]["annotator 00"]
    assert sum(row["accuracy"]["denominator"] for row in rows) == found["n"]["images"]
    shares = [suspect["usual"] for suspect in found["right_for_the_wrong_reason"]]
    assert shares == sorted(shares)
    assert len(shares) == min(found["right_for_the_wrong_reason_n"], 20)
    assert found["concept_places"]["annotator 00"][0]["n"] > 0
