"""Rows to protobuf messages and back."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from onoma.enum_names import INTERPOLATION_VALUES, MODE_VALUES, PART_VALUES, values_of
from onoma.v1 import inference_pb2, types_pb2
from services.inference import formats, tables
from services.inference.layout import Item
from services.runtime.enums import name_of

_OUTCOME_VALUES = values_of(inference_pb2.ImportOutcome)
_PRECISION_VALUES = values_of(inference_pb2.Precision)
_PAIRS_VALUES = values_of(inference_pb2.PullAwayPairs)
_FORMATS = {
    "": "",
    "image_folder": formats.IMAGE_FOLDER,
    "cub_200_2011": formats.CUB_200_2011,
    "idx": formats.IDX,
}


def part(value: int) -> str:
    """The part as tables name it; "" when not said."""
    return name_of(types_pb2.DatasetPart, value, "part")


def dataset_format(value: int) -> str:
    """The format as `formats` names it; "" to find it out."""
    return _FORMATS[name_of(inference_pb2.DatasetFormat, value, "format")]


def is_model_input(view: int) -> bool:
    """Whether a picture is wanted as the network sees it."""
    return name_of(inference_pb2.ImageView, view, "view") == "model_input"


def mode(value: int) -> str:
    """ "strict", "local", or "" when not said."""
    return name_of(types_pb2.ExcitationMode, value, "mode")


def xnn_settings(message: inference_pb2.XnnSettings) -> dict[str, Any]:
    """The settings that were said; those left out are the trainer's defaults."""
    said = {field.name: value for field, value in message.ListFields()}
    if "precision" in said:
        said["precision"] = name_of(inference_pb2.Precision, said["precision"], "precision")
    if "pull_away_pairs" in said:
        said["pull_away_pairs"] = name_of(
            inference_pb2.PullAwayPairs, said["pull_away_pairs"], "pull_away_pairs"
        )
    return said


def dataset(row: tables.Dataset) -> inference_pb2.Dataset:
    return inference_pb2.Dataset(
        name=row.name,
        classes=row.classes,
        train_counts=row.train_counts,
        test_counts=row.test_counts,
        skipped_count=row.skipped_count,
        converted_count=row.converted_count,
        content_hash=row.content_hash,
    )


def image(row: Row[Any], classes: Sequence[str]) -> inference_pb2.Image:
    return inference_pb2.Image(
        image_id=row.image_id,
        path=row.path,
        class_name=classes[row.class_index],
        part=PART_VALUES[row.part],
        height=row.height,
        width=row.width,
        bounding_box=row.bounding_box or (),
        part_points=[inference_pb2.PartPoint(name=name, x=x, y=y) for name, x, y in row.part_points or ()],
    )


def item(message: inference_pb2.UploadDatasetRequest) -> Item:
    """An image of an upload as imports know it."""
    return Item(
        path=message.path,
        class_name=message.class_name,
        part=part(message.part),
        source=message.path,
        bounding_box=tuple(message.bounding_box) or None,
        part_points=tuple((point.name, point.x, point.y) for point in message.part_points) or None,
    )


def issue(row: tables.ImportIssue) -> inference_pb2.ImportIssue:
    return inference_pb2.ImportIssue(path=row.path, outcome=_OUTCOME_VALUES[row.outcome], reason=row.reason)


def model(row: tables.Model) -> inference_pb2.Model:
    fields = row.model_dump(exclude={"preprocessing", "mode"})
    prepared = {
        **row.preprocessing,
        "interpolation": INTERPOLATION_VALUES[row.preprocessing.get("interpolation", "bilinear")],
    }
    return inference_pb2.Model(
        **fields, preprocessing=types_pb2.Preprocessing(**prepared), mode=MODE_VALUES[row.mode]
    )


def xnn_set(row: tables.XnnSet, xnns: Sequence[tables.Xnn]) -> inference_pb2.XnnSet:
    return inference_pb2.XnnSet(
        name=row.name,
        model=row.model,
        dataset=row.dataset,
        settings=inference_pb2.XnnSettings(
            **row.settings
            | {
                "precision": _PRECISION_VALUES[row.settings.get("precision", "float32")],
                "pull_away_pairs": _PAIRS_VALUES[row.settings.get("pull_away_pairs", "features")],
            }
        ),
        xnns=[
            inference_pb2.Xnn(class_name=xnn.class_name, weights_key=xnn.weights_key, **xnn.metrics)
            for xnn in xnns
        ],
        **row.summary,
    )


def figures(message: inference_pb2.Xnn) -> dict[str, Any]:
    """The columns `metrics` of an xNN: what was measured and is not 0."""
    return _plain(message, "class_name", "weights_key")


def summary(message: inference_pb2.XnnSet) -> dict[str, Any]:
    """The column `summary` of a set of xNNs."""
    return _plain(message, "name", "model", "dataset", "settings", "xnns")


def _plain(message: inference_pb2.Xnn | inference_pb2.XnnSet, *but: str) -> dict[str, Any]:
    said = {field.name: value for field, value in message.ListFields() if field.name not in but}
    if "mean_contributions" in said:
        said["mean_contributions"] = list(said["mean_contributions"])
    return said
