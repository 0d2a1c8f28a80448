"""worked_example.json: every expected value that one naming at a time gives."""

import json
from pathlib import Path
from typing import Any

import pytest

from onoma.science.coverage import Coverage, coverage, coverage_by_any, named_by_exactly
from onoma.science.purity import purity
from onoma.science.study_data import Ratio, Study
from onoma.science.study_file import study_from_document
from onoma.science.summary import Reading, summary

DOCUMENT = json.loads((Path(__file__).parents[1] / "data" / "worked_example.json").read_text())
CATEGORIES = list(DOCUMENT["expected"])
ANNOTATORS = DOCUMENT["input"]["annotators"]


@pytest.fixture(scope="module")
def study() -> Study:
    return study_from_document(DOCUMENT["input"]).study


def expected(category: str, *keys: str) -> Any:
    value = DOCUMENT["expected"][category]
    for key in keys:
        value = value[key]
    return value


def assert_ratio(ratio: Ratio | None, wanted: dict[str, Any] | None) -> None:
    assert ratio is not None
    if wanted is None:
        assert ratio.value is None
    else:
        assert ratio.value == pytest.approx(wanted["value"], abs=1e-6)


def assert_coverage(got: Coverage, wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        assert_ratio(getattr(got, key), value)


@pytest.mark.parametrize("category", CATEGORIES)
def test_cleaning_keeps_and_removes_what_it_should(study: Study, category: str) -> None:
    for naming in study.cleaned(category):
        assert sorted(naming.concept_names) == expected(category, "clusters_kept", naming.annotator)
        removed = sorted(concept.name for concept in naming.removed)
        assert removed == expected(category, "clusters_removed", naming.annotator)


@pytest.mark.parametrize("category", CATEGORIES)
def test_coverage(study: Study, category: str) -> None:
    activations = study.categories[category]
    namings = study.cleaned(category)
    for naming in namings:
        wanted = expected(category, "coverage", naming.annotator)
        assert_coverage(coverage(activations, naming), wanted)
    assert_coverage(coverage_by_any(activations, namings), expected(category, "coverage", "any"))


@pytest.mark.parametrize("category", CATEGORIES)
def test_named_by_exactly_n(study: Study, category: str) -> None:
    ratios = named_by_exactly(study.categories[category], study.cleaned(category))
    wanted = expected(category, "named_by_exactly_n")
    assert len(ratios) == len(wanted) == len(ANNOTATORS) + 1
    for n, ratio in enumerate(ratios):
        assert_ratio(ratio, wanted[str(n)])


@pytest.mark.parametrize("category", CATEGORIES)
def test_purity(study: Study, category: str) -> None:
    for naming in study.cleaned(category):
        got = purity(study.categories[category], naming)
        wanted = expected(category, "purity", naming.annotator)
        assert_ratio(got.cx, wanted["CX"])
        assert_ratio(got.xc, wanted["XC"])


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize(
    ("reading", "key"),
    [
        (Reading.NAMED_ONLY, "explanation_summary_table4_style"),
        (Reading.WITH_OTHER, "explanation_summary_section33_style"),
    ],
)
def test_summaries(study: Study, category: str, reading: Reading, key: str) -> None:
    for naming in study.cleaned(category):
        got = summary(study.categories[category], naming, reading)
        rows = [
            {
                "labels": list(row.names),
                "images": len(row.image_ids),
                "percent": pytest.approx(100 * got.share(row), abs=1e-4),
            }
            for row in got.rows
        ]
        assert rows == expected(category, key, naming.annotator)


def test_images_without_significant_activations_are_left_out_and_counted(study: Study) -> None:
    assert study.categories["p"].left_out_count == 1
    assert study.categories["q"].left_out_count == 0
