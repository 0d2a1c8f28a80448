"""A study's report: gathers over the client what `write_report` shows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from PIL import Image

from onoma.client import AnalysisOptions, Client
from onoma.client.analysis import AS_BY_DEFAULT
from onoma.client.columns import map_arrays
from onoma.enum_names import MODES, PARTS, names_of
from onoma.faithfulness import class_row, optional
from onoma.report.analysed import AnalysedCategory, analysed_category
from onoma.report.data import (
    CategoryMaps,
    CoverageRow,
    ImportedMaps,
    MapSample,
    NamingSummary,
    Provenance,
    ReportData,
    Suspect,
    summaries_of,
)
from onoma.report.page import SUMMARY_ROWS_SHOWN, THUMB_PX
from onoma.report.write import write_report
from onoma.science.analysis_options import CONFIDENCE
from onoma.v1 import analytics_pb2, attribution_pb2, inference_pb2, naming_pb2, types_pb2

MAPS_PER_X_FEATURE = 6
MAX_PICTURES = 60  # of a category
SUSPECTS_OF_A_CATEGORY = 6
MAX_SUSPECTS = 60  # shown in all
PICTURE_PX = 224  # the shorter side of pictures in hand: none is shown larger
MAX_X_FEATURES = 24  # shown of a category; imported maps may be of thousands of units
STAGES = ("read maps", "analyse", "draw")
"""What a report takes: categories, pairs of namings, files."""


def write_study_report(
    client: Client,
    study: naming_pb2.Study,
    out: Path,
    progress: Callable[[str, int, int], None] = lambda _stage, _done, _total: None,
    options: AnalysisOptions = AS_BY_DEFAULT,
) -> Path:
    """Gathers a study's numbers and maps and writes its report.

    Args:
        out: the folder, made where it is missing.
        progress: called with the stage (STAGES), how much of it is done, and how much there is.
        options: of the analysis.
    Returns:
        The page, OUT/index.html.
    Raises:
        OnomaError: a service refuses or fails.
        OSError: the folder cannot be written to.
    """
    read_maps, analyse, draw = (partial(progress, stage) for stage in STAGES)
    data = gather(client, study, read_maps, analyse, options)
    written = write_report(data, out, lambda _name, done, of: draw(done, of))
    return written[0]


def gather(
    client: Client,
    study: naming_pb2.Study,
    on_maps: Callable[[int, int], None],
    on_analysis: Callable[[int, int], None],
    options: AnalysisOptions,
) -> ReportData:
    """Everything a report of the study shows.

    Args:
        on_maps: progress of reading maps, in categories.
        on_analysis: progress of the analysis, in pairs of namings.
    """
    model = client.get_model(study.model)
    made_by = client.get_map_provenance(study.study_id)
    # Maps made elsewhere are of no xNN, whatever set the study was made with.
    xnn_set = inference_pb2.XnnSet() if made_by.archive_hash else client.get_xnn_set(study.xnn_set)
    people = {
        one.annotator_id: one.display_name
        for one in client.list_annotators(study.study_id)
        if one.role == naming_pb2.ROLE_ANNOTATOR
    }
    maps: list[CategoryMaps] = []
    for category in study.categories:
        maps.append(_category_maps(client, study, category, xnn_set.settings.x_feature_count))
        on_maps(len(maps), len(study.categories))
    analysed: list[AnalysedCategory] = []
    summaries: list[NamingSummary] = []
    if people:
        for category, part in client.analyse_categories(
            study.study_id, options=options, progress=on_analysis
        ):
            analysed.append(analysed_category(category, part))
            summaries += summaries_of(category, part["expected"])
    if not any(one.found["n"]["annotators"] for one in analysed):
        analysed = []
    suspects, suspect_count = _suspects(client, study, analysed)
    return ReportData(
        study=study.name,
        model=study.model,
        dataset=study.dataset,
        part=PARTS[study.part],
        xnn_set=xnn_set.name,
        annotators=tuple(people.values()),
        classes=tuple(class_row(x) for x in xnn_set.xnns),
        argmax_agreement=optional(xnn_set, "argmax_agreement"),
        dnn_accuracy=optional(xnn_set, "dnn_accuracy"),
        xnn_accuracy=optional(xnn_set, "xnn_accuracy"),
        test_image_count=xnn_set.test_image_count,
        xnn_significant_share=xnn_set.settings.significant_share,
        coverage=tuple(_coverage_row(row, people) for row in client.get_coverage(study.study_id)),
        summaries=tuple(summaries),
        maps=tuple(_named(client, study, maps, people)),
        provenance=_provenance(study, made_by, model, xnn_set),
        analysed=tuple(analysed),
        confidence=CONFIDENCE if options.confidence is None else options.confidence,
        suspects=tuple(suspects),
        suspect_count=suspect_count,
        pictures=_pictures(client, study, summaries),
        created=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )


def _category_maps(
    client: Client, study: naming_pb2.Study, category: str, x_feature_count: int
) -> CategoryMaps:
    activations = client.list_activations(study.study_id, category)
    images = client.list_explained_images(study.study_id, category)
    chosen = _strongest(activations)
    arrays = _maps(client, study, [activations.activation_id[i] for i in chosen])
    shown = {activations.image_id[i] for i in chosen}
    pictures = {image_id: _model_input(client, study.model, image_id) for image_id in sorted(shown)}
    samples = [
        MapSample(
            activation_id=activations.activation_id[i],
            image_name=activations.image_id[i][:12],
            picture=pictures[activations.image_id[i]],
            map=array,
            share=activations.share[i],
            x_feature=activations.x_feature[i],
        )
        for i, array in zip(chosen, arrays, strict=True)
    ]
    scores = [np.array(images.dnn_score), np.array(images.xnn_score)]
    counts = np.bincount(np.array(activations.x_feature, dtype=np.int64), minlength=x_feature_count)
    return CategoryMaps(
        category=category,
        image_count=len(images.image_id),
        x_feature_counts=tuple(int(count) for count in counts),
        samples=tuple(samples),
        scores=np.stack(scores, axis=1) if all(map(len, scores)) else np.zeros((0, 2)),
    )


def _maps(
    client: Client, study: naming_pb2.Study, activation_ids: Sequence[str]
) -> list[npt.NDArray[np.float32]]:
    """The maps of activations, in their order."""
    if not activation_ids:
        return []
    return [array for batch in client.get_maps(study.study_id, activation_ids) for array in map_arrays(batch)]


def _strongest(activations: types_pb2.ActivationColumns) -> list[int]:
    """Indices of the activations with the largest contributions, a few of each of the strongest X-features."""
    order = sorted(range(len(activations.activation_id)), key=lambda i: -activations.contribution[i])
    taken: dict[int, list[int]] = {}
    for i in order:
        of_feature = taken.setdefault(activations.x_feature[i], [])
        if len(of_feature) < MAPS_PER_X_FEATURE:
            of_feature.append(i)
    totals = np.bincount(np.array(activations.x_feature, dtype=np.int64), np.array(activations.contribution))
    strongest = sorted(taken, key=lambda feature: -totals[feature])[:MAX_X_FEATURES]
    return [i for feature in sorted(strongest) for i in taken[feature]]


def _model_input(
    client: Client, model: str, image_id: str, shorter_side_px: int = PICTURE_PX
) -> npt.NDArray[np.uint8]:
    response = client.get_image(image_id, view=inference_pb2.IMAGE_VIEW_MODEL_INPUT, model=model)
    with Image.open(io.BytesIO(response.content)) as picture:
        most = shorter_side_px * max(picture.size) / min(picture.size)
        picture.thumbnail((most, most))
        return np.atleast_3d(np.asarray(picture))


def _named(
    client: Client, study: naming_pb2.Study, maps: Iterable[CategoryMaps], people: Mapping[str, str]
) -> Iterator[CategoryMaps]:
    """The maps with what annotators called those that are shown, one annotator's namings in hand at a time."""
    maps = list(maps)
    names: dict[str, list[tuple[str, str]]] = {
        sample.activation_id: [] for of_category in maps for sample in of_category.samples
    }
    for annotator_id, display_name in people.items():
        document = json.loads(client.export_namings(study.study_id, [annotator_id]))["namings"]
        for naming in document.get(annotator_id, {}).values():
            for concept in naming["concepts"]:
                for activation_id in names.keys() & concept["activations"]:
                    names[activation_id].append((display_name, concept["name"]))
    for of_category in maps:
        samples = (replace(one, names=tuple(names[one.activation_id])) for one in of_category.samples)
        yield replace(of_category, samples=tuple(samples))


def _suspects(
    client: Client, study: naming_pb2.Study, analysed: Iterable[AnalysedCategory]
) -> tuple[list[Suspect], int]:
    """The least usual suspects with what the network saw and where it looked, and how many there are in all."""
    found = [one for one in analysed if one.found["right_for_the_wrong_reason"]]
    shown = [
        (one, suspect)
        for one in found
        for suspect in one.found["right_for_the_wrong_reason"][:SUSPECTS_OF_A_CATEGORY]
    ]
    least_usual = sorted(shown, key=lambda pair: pair[1]["usual"])[:MAX_SUSPECTS]
    kept = {(one.category, suspect["image"]) for one, suspect in least_usual}
    activations: dict[str, types_pb2.ActivationColumns] = {}
    suspects = []
    for one, suspect in shown:
        if (one.category, suspect["image"]) not in kept:
            continue
        if one.category not in activations:
            activations = {one.category: client.list_activations(study.study_id, one.category)}
        suspects.append(
            Suspect(
                category=one.category,
                image_id=suspect["image"],
                usual=suspect["usual"],
                image_count=one.found["n"]["images"],
                explanations=tuple((who, tuple(names)) for who, names in suspect["explanations"].items()),
                picture=_model_input(client, study.model, suspect["image"]),
                map=_together(client, study, activations[one.category], suspect["image"]),
            )
        )
    return suspects, sum(one.found["right_for_the_wrong_reason_n"] for one in found)


def _together(
    client: Client, study: naming_pb2.Study, activations: types_pb2.ActivationColumns, image_id: str
) -> npt.NDArray[np.float32]:
    """The maps of an image's significant activations as one, by their shares of the evidence."""
    of_image = [i for i, image in enumerate(activations.image_id) if image == image_id]
    arrays = _maps(client, study, [activations.activation_id[i] for i in of_image])
    shares = np.array([activations.share[i] for i in of_image], dtype=np.float32)
    together: npt.NDArray[np.float32] = np.tensordot(shares, np.stack(arrays), axes=1)
    return together


def _pictures(
    client: Client, study: naming_pb2.Study, summaries: Iterable[NamingSummary]
) -> dict[str, npt.NDArray[np.uint8]]:
    """Pictures of the images that the page shows beside explanations."""
    wanted: dict[str, set[str]] = {}
    for summary in summaries:
        of_category = wanted.setdefault(summary.category, set())
        for row in summary.named_only[:SUMMARY_ROWS_SHOWN]:
            if len(of_category) < MAX_PICTURES:
                of_category.update(row.image_ids)
    ids = sorted({image_id for of_category in wanted.values() for image_id in of_category})
    return {image_id: _model_input(client, study.model, image_id, THUMB_PX) for image_id in ids}


def _coverage_row(row: analytics_pb2.Coverage, people: dict[str, str]) -> CoverageRow:
    return CoverageRow(
        category=row.category,
        annotator=people.get(row.annotator_id, row.annotator_id),
        activation=optional(row, "activation"),
        partial=optional(row, "partial"),
        complete=optional(row, "complete"),
        complete_by_one_annotator=optional(row, "complete_by_one_annotator"),
        activation_count=row.activation_count,
        image_count=row.image_count,
        left_out_count=row.left_out_count,
        concept_count=row.concept_count,
        removed_concepts=tuple(row.removed_concepts),
    )


def _provenance(
    study: naming_pb2.Study,
    made_by: attribution_pb2.MapProvenance,
    model: inference_pb2.Model,
    xnn_set: inference_pb2.XnnSet,
) -> Provenance:
    settings = [
        (field.name, _in_words(field.enum_type, value) if field.enum_type else value)
        for field, value in xnn_set.settings.ListFields()
    ]
    return Provenance(
        method=made_by.method,
        model_hash=model.model_hash,
        attachment_layer=made_by.attachment_layer,
        map_layer=made_by.map_layer,
        map_height=made_by.map_height,
        map_width=made_by.map_width,
        mode=MODES.get(made_by.mode, ""),
        contrastive=made_by.contrastive if made_by.HasField("contrastive") else None,
        strict_leak=model.strict_leak,
        onnx_error=model.onnx_error,
        dataset_hash=made_by.dataset_hash,
        significant_share=made_by.significant_share,
        min_concept_images=study.settings.min_concept_images,
        onoma_version=made_by.onoma_version,
        xnn_settings=_texts(settings),
        imported=_imported(made_by) if made_by.archive_hash else None,
    )


def _in_words(kind: EnumDescriptor, value: int) -> str:
    """An enum's value without its kind: PULL_AWAY_PAIRS_FEATURES is "features"."""
    return names_of(EnumTypeWrapper(kind)).get(value, str(value)).replace("_", " ")


def _imported(made_by: attribution_pb2.MapProvenance) -> ImportedMaps:
    return ImportedMaps(
        archive_hash=made_by.archive_hash,
        model=made_by.model,
        model_hash=made_by.model_hash,
        parameters=_texts(json.loads(made_by.parameters_json).items()),
        already_significant=made_by.already_significant,
    )


def _texts(values: Iterable[tuple[str, object]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"{value:g}" if isinstance(value, float) else str(value)) for name, value in values)
