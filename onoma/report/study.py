"""A study's report: gathers over the client what `write_report` shows."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from onoma.client import Client
from onoma.client.columns import map_arrays
from onoma.report.data import (
    CategoryMaps,
    ClassRow,
    Comparison,
    CoverageRow,
    ImportedMaps,
    MapSample,
    NamingSummary,
    Provenance,
    ReportData,
    SummaryRow,
)
from onoma.report.page import SUMMARY_ROWS_SHOWN, SUSPECTS_SHOWN
from onoma.report.write import write_report
from onoma.v1 import analytics_pb2, attribution_pb2, inference_pb2, naming_pb2, types_pb2

MAPS_PER_X_FEATURE = 6
PICTURES_PER_ROW = 6  # of a summary
MAX_PICTURES = 60  # of a category
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
    total = 3 * category_count  # gathered, analysed, written

    def written_so_far(_name: str, done: int, steps: int) -> None:
        progress(category_count * 2 + category_count * done // steps, total)

    data = gather(client, study, lambda done: progress(done, total))
    written = write_report(data, out, written_so_far)
    return written[0]


def gather(client: Client, study: naming_pb2.Study, progress: Callable[[int], None]) -> ReportData:
    """Everything a report of the study shows.

    Args:
        progress: called with the number of categories gathered, and on to twice that as they are analysed.
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
    document = json.loads(client.export_namings(study.study_id))["namings"]
    names = _names(document, people)
    summaries: list[NamingSummary] = []
    maps: list[CategoryMaps] = []
    for done, category in enumerate(study.categories, start=1):
        maps.append(_category_maps(client, study, category, xnn_set.settings.x_feature_count, names))
        summaries += [_summary(client, study, category, *person) for person in people.items()]
        progress(done)
    analysis = (
        client.analyse_study(
            study.study_id,
            progress=lambda done, total: progress(
                len(study.categories) + len(study.categories) * done // max(total, 1)
            ),
        )
        if any(document.values())
        else {}
    )
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
        analysis=analysis,
        comparisons=tuple(_comparisons(document, people, analysis)) if analysis else (),
        pictures=_pictures(client, study, summaries, analysis),
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


def _names(document: dict[str, Any], people: dict[str, str]) -> dict[str, tuple[tuple[str, str], ...]]:
    """What annotators called each activation, as (annotator, name).

    Args:
        document: the study's namings as they are exported, by annotator and category.
    """
    names: dict[str, tuple[tuple[str, str], ...]] = {}
    for annotator_id, categories in document.items():
        for naming in categories.values():
            for concept in naming["concepts"]:
                for activation_id in concept["activations"]:
                    called = (people.get(annotator_id, annotator_id), concept["name"])
                    names[activation_id] = (*names.get(activation_id, ()), called)
    return names


def _comparisons(
    document: dict[str, Any], people: dict[str, str], analysis: dict[str, Any]
) -> Iterator[Comparison]:
    """Of each category the pair of annotators who named the most activations in common."""
    ids = {name: annotator_id for annotator_id, name in people.items()}
    for category, found in analysis["expected"].items():
        pairs = [pair for pair in found["pairs"].values() if pair["common"]]
        if not pairs:
            continue
        pair = max(pairs, key=lambda pair: int(pair["common"]))
        left, right = pair["annotators"]
        kept = found["clusters_kept"]
        of_left, of_right = (
            {
                activation_id: concept["name"]
                for concept in document[ids[person]][category]["concepts"]
                for activation_id in concept["activations"]
                if concept["name"] in kept[person]
            }
            for person in (left, right)
        )
        shared = Counter((name, of_right[id_]) for id_, name in of_left.items() if id_ in of_right)
        overlaps = tuple((one, other, weight) for (one, other), weight in sorted(shared.items()))
        yield Comparison(category, left, right, overlaps, pair)


def _pictures(
    client: Client, study: naming_pb2.Study, summaries: Iterable[NamingSummary], analysis: dict[str, Any]
) -> dict[str, npt.NDArray[np.uint8]]:
    """Pictures of the images that the page shows: some of each explanation, and the suspects."""
    wanted: dict[str, set[str]] = {}
    for category, found in analysis.get("expected", {}).items():
        suspects = found["right_for_the_wrong_reason"] or []
        wanted[category] = {one["image"] for one in suspects[:SUSPECTS_SHOWN]}
    for summary in summaries:
        of_category = wanted.setdefault(summary.category, set())
        for row in summary.named_only[:SUMMARY_ROWS_SHOWN]:
            if len(of_category) < MAX_PICTURES:
                of_category.update(row.image_ids)
    ids = sorted({image_id for of_category in wanted.values() for image_id in of_category})
    return {image_id: _model_input(client, study.model, image_id) for image_id in ids}


def _summary(
    client: Client, study: naming_pb2.Study, category: str, annotator_id: str, display_name: str
) -> NamingSummary:
    def read(reading: analytics_pb2.SummaryReading) -> analytics_pb2.GetSummaryResponse:
        return client.get_summary(study.study_id, annotator_id, category, reading)

    def rows(response: analytics_pb2.GetSummaryResponse) -> tuple[SummaryRow, ...]:
        return tuple(
            SummaryRow(
                tuple(row.names), row.image_count, row.share, tuple(sorted(row.image_ids)[:PICTURES_PER_ROW])
            )
            for row in response.rows
        )

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
