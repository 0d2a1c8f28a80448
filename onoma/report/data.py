"""What a report is made of: plain values, gathered by whoever calls `write_report`.

Undefined numbers (0/0) are None; the page prints them as an en dash with the reason.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from onoma.faithfulness import ClassRow
from onoma.report.analysed import AnalysedCategory, Json
from onoma.science.analysis_options import CONFIDENCE


@dataclass(frozen=True)
class CoverageRow:
    """Coverage of one category: the fields of Coverage in analytics.proto.

    Attributes:
        annotator: display name; empty for 'any annotator'.
        activation: share of the activations that are named.
        partial: share of the images of which some activation is named.
        complete: share of the images of which every activation is named.
        complete_by_one_annotator: for 'any annotator' only.
        activation_count: significant activations.
        image_count: images with at least one.
        left_out_count: images without any.
        concept_count: concepts kept.
        removed_concepts: names of those that touch too few images.
    """

    category: str
    annotator: str
    activation: float | None
    partial: float | None
    complete: float | None
    complete_by_one_annotator: float | None
    activation_count: int
    image_count: int
    left_out_count: int
    concept_count: int
    removed_concepts: tuple[str, ...] = ()


@dataclass(frozen=True)
class SummaryRow:
    """One distinct explanation, and the images that have it."""

    names: tuple[str, ...]
    image_count: int
    share: float
    image_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamingSummary:
    """The distinct explanations of a category under one annotator's naming, in both readings.

    Attributes:
        named_only: Table 4's reading, most frequent first.
        with_other: section 3.3's reading, most frequent first.
        image_count: images with at least one significant activation.
        left_out_count: images without any.
    """

    category: str
    annotator: str
    named_only: tuple[SummaryRow, ...]
    with_other: tuple[SummaryRow, ...]
    image_count: int
    left_out_count: int


def summaries_of(category: str, found: Json) -> Iterator[NamingSummary]:
    """Explanations by annotator out of the analysis' "expected" of a category."""
    of = found["n"]["images"]
    both = (found["explanation_summary_table4_style"], found["explanation_summary_section33_style"])
    for annotator in both[0]:
        named_only, with_other = (tuple(_summary_rows(reading[annotator], of)) for reading in both)
        left_out = found["n"]["images_left_out"]
        yield NamingSummary(category, annotator, named_only, with_other, of, left_out)


def _summary_rows(explanations: Iterable[Json], of: int) -> Iterator[SummaryRow]:
    for one in explanations:
        yield SummaryRow(tuple(one["labels"]), one["images"], one["images"] / of, tuple(one["examples"]))


@dataclass(frozen=True, eq=False)
class MapSample:
    """One activation's map with the picture it lies on.

    Attributes:
        activation_id: the activation.
        image_name: path or id of the image, for people.
        picture: uint8 (h, w, 3) RGB or (h, w, 1) grey, as the network saw it.
        map: (rows, columns) probability mass over the whole picture.
        share: share of the image's positive evidence, in (0, 1].
        x_feature: index of the X-feature within its class, from 0.
        names: what annotators called it, as (annotator, name).
    """

    activation_id: str
    image_name: str
    picture: npt.NDArray[np.uint8]
    map: npt.NDArray[np.floating]
    share: float
    x_feature: int
    names: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class CategoryMaps:
    """Maps of one category.

    Attributes:
        image_count: explained images.
        x_feature_counts: significant activations of each X-feature, by index; all of them, not the sample.
        samples: some of the maps; shown by X-feature in the order given.
        scores: (n, 2) the network's and the xNN's score of each explained image; may be empty.
    """

    category: str
    image_count: int
    x_feature_counts: tuple[int, ...]
    samples: tuple[MapSample, ...]
    scores: npt.NDArray[np.floating] = field(default_factory=lambda: np.zeros((0, 2)))


@dataclass(frozen=True, eq=False)
class Suspect:
    """An image that is predicted rightly with an unusual explanation.

    Attributes:
        category: its own.
        image_id: the image.
        usual: mean over annotators of the share of the category's images with the same explanation.
        image_count: images of the category that this is a share of.
        explanations: by annotator.
        picture: uint8 (h, w, 3) RGB or (h, w, 1) grey, as the network saw it.
        map: (rows, columns) the maps of its significant activations together, by their shares of the evidence.
    """

    category: str
    image_id: str
    usual: float
    image_count: int
    explanations: tuple[tuple[str, tuple[str, ...]], ...]
    picture: npt.NDArray[np.uint8]
    map: npt.NDArray[np.floating]


@dataclass(frozen=True)
class ImportedMaps:
    """What an archive says of its maps.

    Attributes:
        archive_hash: SHA-256 of the archive.
        model: the network that they explain, in the archive's words.
        model_hash: SHA-256 of its .pt2 file; empty where the archive does not say.
        parameters: of the method, name and value.
        already_significant: the archive held significant activations alone.
    """

    archive_hash: str
    model: str
    model_hash: str
    parameters: tuple[tuple[str, str], ...]
    already_significant: bool


@dataclass(frozen=True)
class Provenance:
    """What the numbers came from, so that they can be had again.

    Attributes:
        method: what drew the maps.
        model_hash: SHA-256 of the .pt2 file of the study's network.
        attachment_layer: empty for imported maps.
        map_layer: of imported maps, as their archive says.
        map_height: rows of a map.
        map_width: columns of a map.
        mode: Excitation Backprop's mode, "strict" or "local"; empty for imported maps.
        contrastive: whether maps are contrastive; None for imported maps.
        strict_leak: mean share of mass that strict mode loses, in [0, 1].
        onnx_error: largest |difference| between ONNX and torch scores.
        dataset_hash: content hash of the data set.
        significant_share: share of the positive evidence that significant X-features hold.
        min_concept_images: concepts with fewer distinct images are removed.
        onoma_version: that computed or imported the maps.
        xnn_settings: name and value of each, as used.
        imported: where the maps came from when they were not computed here.
    """

    method: str
    model_hash: str
    attachment_layer: str
    map_layer: str
    map_height: int
    map_width: int
    mode: str
    contrastive: bool | None
    strict_leak: float
    onnx_error: float
    dataset_hash: str
    significant_share: float
    min_concept_images: int
    onoma_version: str
    xnn_settings: tuple[tuple[str, str], ...] = ()
    imported: ImportedMaps | None = None


@dataclass(frozen=True)
class ReportData:
    """Everything one report shows.

    Attributes:
        study: name of the study.
        part: "test" or "train".
        xnn_set: empty where the maps were imported.
        annotators: display names, in the order they were invited; empty before the first.
        classes: Table 1, in the model's order; empty where the maps were imported.
        argmax_agreement: share of test images where DNN and xNNs choose the same class.
        dnn_accuracy: over all test images.
        xnn_accuracy: of the xNNs' arg-max over all test images.
        test_image_count: what the last three rest on.
        xnn_significant_share: of the positive evidence, that Table 1's significant activations hold; the maps' may be
            another.
        coverage: by category, then annotator, then 'any'.
        summaries: by category, then annotator.
        maps: by category.
        created: when, as it is to be printed.
        analysed: the analysis by category; empty where nobody has a naming.
        confidence: of the analysis's intervals.
        suspects: perhaps right for the wrong reason, by category, the least usual first.
        suspect_count: how many there are; some are shown.
        pictures: uint8 (h, w, 3) RGB or (h, w, 1) grey, as the network saw them, of some images, by id.
    """

    study: str
    model: str
    dataset: str
    part: str
    xnn_set: str
    annotators: tuple[str, ...]
    classes: tuple[ClassRow, ...]
    argmax_agreement: float | None
    dnn_accuracy: float | None
    xnn_accuracy: float | None
    test_image_count: int
    xnn_significant_share: float
    coverage: tuple[CoverageRow, ...]
    summaries: tuple[NamingSummary, ...]
    maps: tuple[CategoryMaps, ...]
    provenance: Provenance
    created: str
    analysed: tuple[AnalysedCategory, ...] = ()
    confidence: float = CONFIDENCE
    suspects: tuple[Suspect, ...] = ()
    suspect_count: int = 0
    pictures: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)

    @property
    def is_named(self) -> bool:
        """Whether anybody has named anything that counts."""
        return any(row.activation for row in self.coverage)
