from dataclasses import replace

import numpy as np
import pytest

from onoma.report import (
    CategoryMaps,
    ClassRow,
    CoverageRow,
    ImportedMaps,
    MapSample,
    NamingSummary,
    Provenance,
    ReportData,
    SummaryRow,
    Suspect,
)
from onoma.science.study_file import study_from_document
from tests.report.analyses import EXAMPLE, with_analysis

PROVENANCE = Provenance(
    method="Excitation Backprop",
    model_hash="ab" * 32,
    attachment_layer="relu_8",
    map_layer="conv2d_5",
    map_height=14,
    map_width=14,
    mode="strict",
    contrastive=True,
    strict_leak=0.001,
    onnx_error=2e-6,
    dataset_hash="cd" * 32,
    significant_share=0.9,
    min_concept_images=3,
    onoma_version="0.1.0",
)


def a_sample(x_feature: int, names: tuple[tuple[str, str], ...] = ()) -> MapSample:
    values = np.zeros((14, 14), dtype=np.float32)
    values[3, 3 + x_feature] = 1
    picture = np.full((28, 28, 1), 90, dtype=np.uint8)
    return MapSample(f"shirt/{x_feature}", "test/shirt/0001.png", picture, values, 0.62, x_feature, names)


@pytest.fixture
def named() -> ReportData:
    """Two categories, one of them without images; one annotator who named the other."""
    row = SummaryRow(("<b>sleeve</b>", "=collar"), 3, 0.75)
    rest = SummaryRow(("unlabeled",), 1, 0.25)
    other = SummaryRow(("other",), 1, 0.25)
    return ReportData(
        study="first look",
        model="vgg-small",
        dataset="fashion",
        part="test",
        xnn_set="fashion-xnn",
        annotators=("Ann",),
        classes=(
            ClassRow("T-shirt/top", 4, 7, 1.75, 0.91, 0.9, 0.05, -4.0, 12.0, 2, 1, True),
            ClassRow("hat & cap", 0, 0, None, None, None, 0.04, 3.0, 3.0, 1, 5, False),
        ),
        argmax_agreement=None,
        dnn_accuracy=0.91,
        xnn_accuracy=None,
        test_image_count=4,
        xnn_significant_share=0.9,
        coverage=(
            CoverageRow("T-shirt/top", "Ann", 6 / 7, 1.0, 0.75, None, 7, 4, 1, 2, ("noise",)),
            CoverageRow("T-shirt/top", "", 6 / 7, 1.0, 0.75, 0.75, 7, 4, 1, 0),
            CoverageRow("hat & cap", "Ann", None, None, None, None, 0, 0, 0, 0),
            CoverageRow("hat & cap", "", None, None, None, None, 0, 0, 0, 0),
        ),
        summaries=(
            NamingSummary("T-shirt/top", "Ann", (row, rest), (row, other), 4, 1),
            NamingSummary("hat & cap", "Ann", (), (), 0, 0),
        ),
        maps=(
            CategoryMaps(
                "T-shirt/top",
                5,
                (5, 0, 2),
                (a_sample(0, (("Ann", "<b>sleeve</b>"),)), a_sample(2)),
                np.array([[1.0, 1.1], [7.0, 6.9]]),
            ),
            CategoryMaps("hat & cap", 0, (), ()),
        ),
        provenance=PROVENANCE,
        created="23 November 2026",
    )


@pytest.fixture
def imported(named: ReportData) -> ReportData:
    """The same over maps that were made elsewhere."""
    provenance = replace(
        PROVENANCE,
        method="Grad-CAM",
        attachment_layer="",
        map_layer="features.29",
        mode="",
        contrastive=None,
        imported=ImportedMaps("ef" * 32, "vgg16 of torchvision", "", (("target", "logit"),), False),
    )
    maps = tuple(replace(one, scores=np.zeros((0, 2))) for one in named.maps)
    return replace(named, classes=(), xnn_set="", maps=maps, provenance=provenance)


@pytest.fixture
def unnamed(named: ReportData) -> ReportData:
    """The same before anybody was invited."""
    nobody = tuple(
        replace(row, activation=None, partial=None, complete=None, complete_by_one_annotator=None)
        for row in named.coverage
        if not row.annotator
    )
    return replace(named, annotators=(), coverage=nobody, summaries=())


@pytest.fixture
def analysed(named: ReportData) -> ReportData:
    """Three annotators of two categories: the worked example."""
    told = (("A1", ("Eye", "<i>Wing</i>")), ("A2", ("other",)))
    picture, values = np.full((8, 8, 1), 90, dtype=np.uint8), np.eye(14, dtype=np.float32)
    return replace(
        with_analysis(named, study_from_document(EXAMPLE["input"])),
        suspects=(Suspect("p", "p1", 0.25, 6, told, picture, values),),
        suspect_count=4,
        pictures={"p1": picture},
    )
