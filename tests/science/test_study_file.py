"""What `onoma analyse` reads: every mistake is told in one line that names it."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onoma.science.analysis import analyse
from onoma.science.analysis_options import Options
from onoma.science.labels import Outcome
from onoma.science.study_file import study_from_document

INPUT = json.loads((Path(__file__).parents[1] / "data" / "worked_example.json").read_text())["input"]


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document = copy.deepcopy(INPUT)
    change(document)
    return document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.clear(), "the study has no 'annotators'"),
        (lambda d: d.pop("namings"), "the study has no 'namings'"),
        (lambda d: d.update(annotators="A1"), "'annotators' must be a list, not a text"),
        (lambda d: d.update(annotators=["A1", None]), "'annotators' has null where a name is expected"),
        (lambda d: d["annotators"].append("A1"), "annotator 'A1' is listed twice"),
        (lambda d: d["annotators"].append("any"), "no annotator can be called 'any'"),
        (lambda d: d.update(categories=[]), "'categories' must be an object with named parts, not a list"),
        (lambda d: d["categories"]["p"].pop("images"), "category 'p' has no 'images'"),
        (lambda d: d["categories"]["p"]["images"].append("p1"), "image 'p1' is listed twice"),
        (
            lambda d: d["categories"]["p"]["activations"].update(e1=["p1"]),
            r"activation 'e1' is \['p1'\], not \[image, X-feature\]",
        ),
        (
            lambda d: d["categories"]["p"]["activations"].update(e1=["nowhere", "x0"]),
            "activation 'e1' lies on image 'nowhere'",
        ),
        (lambda d: d["namings"].update(A9={}), "'namings' has 'A9', who is not among the annotators"),
        (lambda d: d["namings"]["A1"].update(z={}), "the study has no such category; it has 'p', 'q'"),
        (lambda d: d["categories"].update({"\n": d["categories"].pop("p")}), r"it has '\\n', 'q'"),
        (lambda d: d["namings"]["A1"]["p"].pop("clusters"), "annotator 'A1', category 'p' has no 'clusters'"),
        (
            lambda d: d["namings"]["A1"]["p"]["clusters"].update(Wing=["zz"]),
            "'zz' in concept 'Wing' is not one of the category's",
        ),
        (
            lambda d: d["namings"]["A1"]["p"]["clusters"].update(Wing=["e1"]),
            "'e1' is in two concepts, 'Eye' and 'Wing'",
        ),
        (
            lambda d: d["namings"]["A1"]["p"].update(clusters=[{"name": 7, "activations": []}]),
            "the name of a concept is 7, not a text",
        ),
        (lambda d: d["namings"]["A1"]["p"].update(discarded=["zz"]), "discarded activation 'zz' is not one"),
        (
            lambda d: d["namings"]["A1"]["p"].update(discarded=["e1"]),
            "'e1' is discarded and in concept 'Eye'",
        ),
        (lambda d: d.update(min_cluster_images=0), "'min_cluster_images' is 0; it must be a whole number"),
        (lambda d: d.update(min_cluster_images="3"), "'min_cluster_images' is '3'"),
        (lambda d: d["categories"]["p"].update(predicted={}), "'predicted' has no image 'p1'"),
        (lambda d: d["categories"]["p"].update(inside={"zz": 1}), "'inside' has activation 'zz'"),
        (lambda d: d["categories"]["p"].update(inside={"e1": float("nan")}), "'e1' has nan, not a share"),
        (lambda d: d["categories"]["p"].update(inside={"e1": 2**1000}), "'e1' has 1071.*, not a share"),
        (
            lambda d: d["categories"]["p"].update(inside={"e1": 10**5000}),
            "the study, 'categories', 'p', 'inside', 'e1' has a whole number beyond",
        ),
        (
            lambda d: d["namings"]["A1"]["p"]["clusters"].update({"eye\ud800": []}),
            r"the study, 'namings', 'A1', 'p', 'clusters' has the text 'eye\\ud800' with half of a character",
        ),
        (lambda d: d["annotators"].append("\udfff"), r"the study, 'annotators' has the text '\\udfff'"),
        (lambda d: d.update(overrulings=[{"labels": ["a", "b"], "outcome": "yes"}]), "has the outcome 'yes'"),
        (lambda d: d.update(overrulings=[{"labels": ["a"], "outcome": "none"}]), "not two labels"),
        (lambda d: d.update(synonyms=["beak"]), "a group of 'synonyms' must be a list, not a text"),
    ],
)
def test_a_mistake_is_named(change: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        study_from_document(changed(change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("document", [None, [], "study", 3])
def test_a_document_of_another_form_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="the study must be an object"):
        study_from_document(document)


def test_what_means_nothing_here_is_told_and_the_whole_example_is_read() -> None:
    assert study_from_document(changed(lambda d: d.update(title="birds", _="a remark"))).unread == ("title",)
    assert list(study_from_document({"about": "...", "input": INPUT}).study.categories) == ["p", "q"]


def test_concepts_may_be_a_list_so_that_two_bear_one_name() -> None:
    clusters = [{"name": "Eye", "activations": ["e1"]}, {"name": "Eye", "activations": ["e2"]}]
    file = study_from_document(changed(lambda d: d["namings"]["A1"]["p"].update(clusters=clusters)))
    assert file.study.namings["p"]["A1"].concept_names == ("Eye", "Eye")


def test_predictions_are_compared_with_the_category_or_with_given_labels() -> None:
    images = INPUT["categories"]["q"]["images"]
    predicted = dict.fromkeys(images, "q") | {"q3": "p"}
    file = study_from_document(changed(lambda d: d["categories"]["q"].update(predicted=predicted)))
    assert file.correct["q"].tolist() == [True, True, False]
    labelled = changed(lambda d: d["categories"]["q"].update(predicted=predicted, labels={"q3": "p"}))
    assert study_from_document(labelled).correct["q"].all()


def test_places_that_are_not_told_are_not_known() -> None:
    file = study_from_document(changed(lambda d: d["categories"]["q"].update(inside={"b1": 0.5})))
    assert file.inside["q"][0] == 0.5
    assert np.isnan(file.inside["q"][1:]).all()
    assert "p" not in file.inside


def test_words_of_a_study() -> None:
    words = study_from_document(
        changed(
            lambda d: (
                d.pop("label_judgements"),
                d.update(
                    synonyms=[["beak", "nose"]],
                    vague_words=["stuff"],
                    overrulings=[
                        {"labels": ["eye", "head"], "outcome": "subset", "by": "ann", "when": "2025-02-01"}
                    ],
                ),
            )
        )
    ).vocabulary
    assert words.judge("Nose", "beak").outcome is Outcome.EXACT
    assert words.judge("stuff", "eye").outcome is Outcome.AMBIGUOUS
    assert words.judge("Head", "Eye").reason == "judged by hand (ann 2025-02-01)"
    assert not words.closed


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["A1", "p", "e1", "p1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def mutations(draw: st.DrawFn) -> Any:
    """The worked example with one to three parts removed, replaced, renamed, or put in twice."""
    document = copy.deepcopy(INPUT)
    for _ in range(draw(st.integers(1, 3))):
        part: Any = document
        while True:
            keys = list(part) if isinstance(part, dict) else list(range(len(part)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(part[key], dict | list) and draw(st.integers(0, 4)):
                part = part[key]
                continue
            change = draw(st.sampled_from(["remove", "replace", "rename", "again"]))
            if change == "replace":
                part[key] = draw(VALUES)
            elif change == "remove":
                del part[key]
            elif isinstance(part, list):
                part.append(part[key])
            elif change == "rename":
                part[draw(st.text(max_size=3))] = part.pop(key)
            break
    return document


@settings(max_examples=400)
@given(document=mutations())
def test_any_document_is_analysed_or_refused_in_a_line(document: Any) -> None:
    told, found = "", None
    try:
        found = analyse(study_from_document(document), Options(shuffles=2))
    except ValueError as error:
        told = str(error)
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    assert (found is None) is bool(told)
    assert "\n" not in told
    told.encode()
