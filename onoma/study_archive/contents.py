"""What an archive says of a study, as messages; read whole and checked before any of it is sent anywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message

from onoma.study_archive import zips
from onoma.study_archive.zips import Archive, RefusedStudyArchive, object_entry
from onoma.v1 import attribution_pb2, inference_pb2, naming_pb2

AnyMessage = TypeVar("AnyMessage", bound=Message)


@dataclass(frozen=True, eq=False)
class Contents:
    """Everything of a study but its objects and namings.

    Attributes:
        annotators: display names and roles alone, in the order they were invited.
        xnn_set: None for a study whose maps were imported.
        classes: of the data set.
        images: the explained ones, by class and path.
        namings: entries with one annotator's namings each.
    """

    study: naming_pb2.Study
    annotators: Sequence[naming_pb2.Annotator]
    vocabulary: naming_pb2.Vocabulary
    model: inference_pb2.Model
    xnn_set: inference_pb2.XnnSet | None
    dataset: str
    classes: Sequence[str]
    images: Sequence[inference_pb2.Image]
    maps: attribution_pb2.StudyMaps
    namings: Sequence[str] = ()

    @property
    def object_keys(self) -> list[str]:
        """Of every object that the study needs, each once."""
        weights = [xnn.weights_key for xnn in self.xnn_set.xnns] if self.xnn_set else []
        pictures = [image.image_id for image in self.images]
        return list(dict.fromkeys([self.model.model_hash, *weights, *pictures, *self.maps.shard_keys]))


def plain(message: Message) -> dict[str, Any]:  # values of JSON
    """A message as JSON holds it, with the protos' field names."""
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def as_json(content: Contents) -> dict[str, bytes]:
    """The entries that hold the contents."""
    entries: dict[str, Any] = {
        zips.STUDY: {
            "study": plain(content.study),
            "annotators": [plain(one) for one in content.annotators],
            "vocabulary": plain(content.vocabulary),
        },
        zips.MODEL: plain(content.model),
        zips.DATASET: {
            "name": content.dataset,
            "classes": list(content.classes),
            "images": [plain(image) for image in content.images],
        },
        zips.MAPS: plain(content.maps),
    }
    if content.xnn_set:
        entries[zips.XNNS] = plain(content.xnn_set)
    return {name: json.dumps(value, ensure_ascii=False).encode() for name, value in entries.items()}


def read(archive: Archive) -> Contents:
    """The contents of an archive whose entries are checked.

    Raises:
        RefusedStudyArchive: an entry does not hold what it should, or an object is missing.
    """
    study = _json(archive, zips.STUDY)
    dataset = _json(archive, zips.DATASET)
    try:
        found = Contents(
            study=ParseDict(study["study"], naming_pb2.Study()),
            annotators=[ParseDict(one, naming_pb2.Annotator()) for one in study["annotators"]],
            vocabulary=ParseDict(study["vocabulary"], naming_pb2.Vocabulary()),
            model=_message(archive, zips.MODEL, inference_pb2.Model()),
            xnn_set=_message(archive, zips.XNNS, inference_pb2.XnnSet())
            if zips.XNNS in archive.hashes
            else None,
            dataset=str(dataset["name"]),
            classes=[str(name) for name in dataset["classes"]],
            images=[ParseDict(image, inference_pb2.Image()) for image in dataset["images"]],
            maps=_message(archive, zips.MAPS, attribution_pb2.StudyMaps()),
            namings=sorted(name for name in archive.hashes if name.startswith("namings/")),
        )
    except (ParseError, KeyError, TypeError) as error:
        raise RefusedStudyArchive(
            f"{zips.STUDY} or {zips.DATASET} lacks something: {_line(error)}"
        ) from error
    if bool(found.study.xnn_set) != (found.xnn_set is not None):
        raise RefusedStudyArchive(f"{zips.STUDY} and {zips.XNNS} do not agree whether the study has xNNs")
    for key in found.object_keys:
        if object_entry(key) not in archive.hashes:
            raise RefusedStudyArchive(f"the archive has no {object_entry(key)[:80]}, which the study needs")
    return found


def _message(archive: Archive, entry: str, message: AnyMessage) -> AnyMessage:
    try:
        return ParseDict(_json(archive, entry), message)
    except ParseError as error:
        raise RefusedStudyArchive(f"{entry} does not hold what it should: {_line(error)}") from error


def _json(archive: Archive, entry: str) -> Any:
    try:
        return json.loads(archive.read(entry))
    except (ValueError, RecursionError) as error:
        raise RefusedStudyArchive(f"{entry} is no JSON: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
