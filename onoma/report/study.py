"""A study's report: gathers over the client what `write_report` shows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from onoma.client import Client
from onoma.client.columns import map_arrays
from onoma.report.data import (
    CategoryMaps,
    ClassRow,
    CoverageRow,
    ImportedMaps,
    MapSample,
    NamingSummary,
    Provenance,
    ReportData,
    SummaryRow,
)
from onoma.report.write import write_report
from onoma.v1 import analytics_pb2, attribution_pb2, inference_pb2, naming_pb2, types_pb2

MAPS_PER_X_FEATURE = 6
MAX_X_FEATURES = 24  # shown of a category; imported maps may be of thousands of units
_MODES = {types_pb2.EXCITATION_MODE_STRICT: "strict", types_pb2.EXCITATION_MODE_LOCAL: "local"}


def write_study_report(
    client: Client,
    study: naming_pb2.Study,
    out: Path,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:
    """Gathers a study's numbers and maps and writes its report.

    Args:
        out: the folder, made where it is missing.
        progress: called with steps done and steps in all.
    Returns:
        The page, OUT/index.html.
    Raises:
        OnomaError: a service refuses or fails.
        OSError: the folder cannot be written to.
    """
    category_count = len(study.categories)
    data = gather(client, study, lambda done: progress(done, 2 * category_count))
    written = write_report(
        data,
        out,
        lambda _name, done, total: progress(category_count * (total + done) // total, 2 * category_count),
    )
    return written[0]


def gather(client: Client, study: naming_pb2.Study, progress: Callable[[int], None]) -> ReportData:
    """Everything a report of the study shows.

    Args:
        progress: called with the number of categories gathered.
    """
    model = client.get_model(study.model)
    made_by = client.get_map_provenance(study.study_id)
    # Maps made elsewhere are of no xNN, whatever set the study was made with.
    xnn_set = inference_pb2.XnnSet() if made_by.archive_hash else client.get_xnn_set(study.xnn_set)
    people = {a.annotator_id: a.display_name for a in client.list_annotators(study.study_id)}
    names = _names(client, study, people)
    summaries: list[NamingSummary] = []
    maps: list[CategoryMaps] = []
    for done, category in enumerate(study.categories, start=1):
        maps.append(_category_maps(client, study, category, xnn_set.settings.x_feature_count, names))
        summaries += [_summary(client, study, category, *person) for person in people.items()]
        progress(done)
    return ReportData(
        study=study.name,
        model=study.model,
        dataset=study.dataset,
        part="train" if study.part == types_pb2.DATASET_PART_TRAIN else "test",
        xnn_set=xnn_set.name,
        annotators=tuple(people.values()),
        classes=tuple(class_row(x) for x in xnn_set.xnns),
        argmax_agreement=_optional(xnn_set, "argmax_agreement"),
        dnn_accuracy=_optional(xnn_set, "dnn_accuracy"),
        xnn_accuracy=_optional(xnn_set, "xnn_accuracy"),
        test_image_count=xnn_set.test_image_count,
        coverage=tuple(_coverage_row(row, people) for row in client.get_coverage(study.study_id)),
        summaries=tuple(summaries),
        maps=tuple(maps),
        provenance=_provenance(study, made_by, model, xnn_set),
        created=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )


def _category_maps(
    client: Client,
    study: naming_pb2.Study,
    category: str,
    x_feature_count: int,
    names: dict[str, tuple[tuple[str, str], ...]],
) -> CategoryMaps:
    activations = client.list_activations(study.study_id, category)
    images = client.list_explained_images(study.study_id, category)
    chosen = _strongest(activations)
    ids = [activations.activation_id[i] for i in chosen]
    arrays = (
        [array for batch in client.get_maps(study.study_id, ids) for array in map_arrays(batch)]
        if ids
        else []
    )
    samples = [
        MapSample(
            image_name=activations.image_id[i][:12],
            picture=_model_input(client, study.model, activations.image_id[i]),
            map=array,
            share=activations.share[i],
            x_feature=activations.x_feature[i],
            names=names.get(activations.activation_id[i], ()),
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


def _model_input(client: Client, model: str, image_id: str) -> npt.NDArray[np.uint8]:
    response = client.get_image(image_id, view=inference_pb2.IMAGE_VIEW_MODEL_INPUT, model=model)
    with Image.open(io.BytesIO(response.content)) as picture:
        return np.atleast_3d(np.asarray(picture))


def _names(
    client: Client, study: naming_pb2.Study, people: dict[str, str]
) -> dict[str, tuple[tuple[str, str], ...]]:
    """What annotators called each activation, as (annotator, name)."""
    names: dict[str, tuple[tuple[str, str], ...]] = {}
    document = json.loads(client.export_namings(study.study_id))
    for annotator_id, categories in document["namings"].items():
        for naming in categories.values():
            for concept in naming["concepts"]:
                for activation_id in concept["activations"]:
                    called = (people.get(annotator_id, annotator_id), concept["name"])
                    names[activation_id] = (*names.get(activation_id, ()), called)
    return names


def _summary(
    client: Client, study: naming_pb2.Study, category: str, annotator_id: str, display_name: str
) -> NamingSummary:
    def read(reading: analytics_pb2.SummaryReading) -> analytics_pb2.GetSummaryResponse:
        return client.get_summary(study.study_id, annotator_id, category, reading)

    def rows(response: analytics_pb2.GetSummaryResponse) -> tuple[SummaryRow, ...]:
        return tuple(SummaryRow(tuple(row.names), row.image_count, row.share) for row in response.rows)

    named_only = read(analytics_pb2.SUMMARY_READING_NAMED_ONLY)
    return NamingSummary(
        category=category,
        annotator=display_name,
        named_only=rows(named_only),
        with_other=rows(read(analytics_pb2.SUMMARY_READING_WITH_OTHER)),
        image_count=named_only.image_count,
        left_out_count=named_only.left_out_count,
    )


def class_row(xnn: inference_pb2.Xnn) -> ClassRow:
    """One class's row of Table 1."""
    return ClassRow(
        class_name=xnn.class_name,
        image_count=xnn.image_count,
        significant_count=xnn.significant_count,
        significant_mean=_optional(xnn, "significant_mean"),
        dnn_accuracy=_optional(xnn, "dnn_accuracy"),
        xnn_accuracy=_optional(xnn, "xnn_accuracy"),
        rmse=xnn.rmse,
        score_min=xnn.score_min,
        score_max=xnn.score_max,
        mattering_count=xnn.mattering_count,
        first_mattering_count=xnn.first_mattering_count,
        restart_count=xnn.restart_count,
        accepted=xnn.accepted,
        mean_abs_correlation=_optional(xnn, "mean_abs_correlation"),
    )


def _coverage_row(row: analytics_pb2.Coverage, people: dict[str, str]) -> CoverageRow:
    return CoverageRow(
        category=row.category,
        annotator=people.get(row.annotator_id, row.annotator_id),
        activation=_optional(row, "activation"),
        partial=_optional(row, "partial"),
        complete=_optional(row, "complete"),
        complete_by_one_annotator=_optional(row, "complete_by_one_annotator"),
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
    settings = [(field.name, value) for field, value in xnn_set.settings.ListFields()]
    return Provenance(
        method=made_by.method,
        model_hash=model.model_hash,
        attachment_layer=made_by.attachment_layer,
        map_layer=made_by.map_layer,
        map_height=made_by.map_height,
        map_width=made_by.map_width,
        mode=_MODES.get(made_by.mode, ""),
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


def _optional(
    message: inference_pb2.Xnn | inference_pb2.XnnSet | analytics_pb2.Coverage, field: str
) -> float | None:
    return getattr(message, field) if message.HasField(field) else None
