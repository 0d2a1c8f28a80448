"""Rows to protobuf messages and back."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from onoma.enum_names import INTERPOLATION_VALUES, MODE_VALUES, MODES, PART_VALUES, PARTS
from onoma.v1 import inference_pb2, types_pb2
from services.inference import formats, tables
from services.inference.layout import Item
from services.runtime.errors import InvalidArgument

_OUTCOME_VALUES = {
    tables.SKIPPED: inference_pb2.IMPORT_OUTCOME_SKIPPED,
    tables.CONVERTED: inference_pb2.IMPORT_OUTCOME_CONVERTED,
}
_FORMATS = {
    inference_pb2.DATASET_FORMAT_UNSPECIFIED: "",
    inference_pb2.DATASET_FORMAT_IMAGE_FOLDER: formats.IMAGE_FOLDER,
    inference_pb2.DATASET_FORMAT_CUB_200_2011: formats.CUB_200_2011,
    inference_pb2.DATASET_FORMAT_IDX: formats.IDX,
}
_VIEWS = {
    inference_pb2.IMAGE_VIEW_UNSPECIFIED: "original",
    inference_pb2.IMAGE_VIEW_ORIGINAL: "original",
    inference_pb2.IMAGE_VIEW_MODEL_INPUT: "model input",
}
_PRECISIONS = {
    inference_pb2.PRECISION_FLOAT32: "float32",
    inference_pb2.PRECISION_BF16: "bf16",
    inference_pb2.PRECISION_TF32: "tf32",
}
_PRECISION_VALUES = {name: value for value, name in _PRECISIONS.items()}
_PAIRS = {
    inference_pb2.PULL_AWAY_PAIRS_FEATURES: "features",
    inference_pb2.PULL_AWAY_PAIRS_IMAGES: "images",
}
_PAIRS_VALUES = {name: value for value, name in _PAIRS.items()}


def part(value: int) -> str:
    """The part as tables name it; "" when not said."""
    return _known({types_pb2.DATASET_PART_UNSPECIFIED: "", **PARTS}, value, "part")


def dataset_format(value: int) -> str:
    """The format as `formats` names it; "" to find it out."""
    return _known(_FORMATS, value, "format")


def is_model_input(view: int) -> bool:
    """Whether a picture is wanted as the network sees it."""
    return _known(_VIEWS, view, "view") == "model input"


def mode(value: int) -> str:
    """ "strict", "local", or "" when not said."""
    return _known({types_pb2.EXCITATION_MODE_UNSPECIFIED: "", **MODES}, value, "mode")


def xnn_settings(message: inference_pb2.XnnSettings) -> dict[str, Any]:
    """The settings that were said; those left out are the trainer's defaults."""
    said = {field.name: value for field, value in message.ListFields()}
    if "precision" in said:
        said["precision"] = _known(_PRECISIONS, said["precision"], "precision")
    if "pull_away_pairs" in said:
        said["pull_away_pairs"] = _known(_PAIRS, said["pull_away_pairs"], "pull_away_pairs")
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


def _known(names: dict[Any, str], value: int, field: str) -> str:
    if value not in names:
        raise InvalidArgument(f"{field} {value} is unknown to this server")
    return names[value]
