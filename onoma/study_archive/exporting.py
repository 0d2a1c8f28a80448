"""Writes a study, with all that it stands on, into one archive."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from onoma.client import Client
from onoma.study_archive import zips
from onoma.study_archive.contents import Contents, as_json, plain
from onoma.study_archive.zips import NewArchive, creating, object_entry
from onoma.v1 import attribution_pb2, inference_pb2, naming_pb2

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Exported:
    """What an archive holds.

    Attributes:
        naming_count: of annotators with at least one act.
    """

    study: naming_pb2.Study
    path: Path
    size_bytes: int
    image_count: int
    activation_count: int
    annotator_count: int
    naming_count: int


def export_study(client: Client, study_id: str, path: Path, progress: Progress | None = None) -> Exported:
    """Writes the archive, whole or not at all.

    Namings are read one annotator after another, each as it stands at that moment; close the study first where they
    have to be of one moment.

    Args:
        study_id: id of the study, or its name where only one has it.
        progress: called with the entries done and in all.
    Raises:
        FailedPrecondition: the study has no maps yet, or not those that its model and xNNs give now.
        ValueError: its xNNs were measured on another data set, or its data set has lost an image.
    """
    study = client.get_study(study_id)
    people = list(client.list_annotators(study.study_id))
    content = _contents(client, study, people)
    namers = [person for person in people if person.role != naming_pb2.ROLE_VIEWER]
    entries = as_json(content)
    total = len(entries) + len(content.object_keys) + len(namers)
    done = count(1)

    def advance() -> None:
        if progress:
            progress(next(done), total)

    namings: list[tuple[str, list[str]]] = []
    with creating(path) as archive:
        for name, data in entries.items():
            archive.write(name, [data])
            advance()
        for key in content.object_keys:
            archive.write(object_entry(key), client.get_object(key))
            advance()
        for person in namers:
            categories = _write_namings(client, archive, study, person, len(namings) + 1)
            if categories:
                namings.append((person.annotator_id, categories))
            advance()
        archive.write(zips.ACTS, _acts(client, study, namings))
    return Exported(
        study=study,
        path=path,
        size_bytes=path.stat().st_size,
        image_count=len(content.images),
        activation_count=len(content.maps.activations.activation_id),
        annotator_count=len(people),
        naming_count=len(namings),
    )


def _contents(client: Client, study: naming_pb2.Study, people: list[naming_pb2.Annotator]) -> Contents:
    maps = client.get_study_maps(study.study_id)
    xnn_set = client.get_xnn_set(study.xnn_set) if study.xnn_set else None
    if xnn_set and xnn_set.dataset != study.dataset:
        raise ValueError(
            f"study '{study.name}' shows data set '{study.dataset}', and its xNNs '{xnn_set.name}' were trained on "
            f"'{xnn_set.dataset}'; an archive holds one data set: make a study of '{xnn_set.dataset}' to export it"
        )
    return Contents(
        study=study,
        annotators=[naming_pb2.Annotator(display_name=one.display_name, role=one.role) for one in people],
        vocabulary=client.get_vocabulary(study.study_id),
        model=client.get_model(study.model),
        xnn_set=xnn_set,
        dataset=study.dataset,
        classes=client.get_dataset(study.dataset).classes,
        images=list(_images(client, study, maps)),
        maps=maps,
    )


def _images(
    client: Client, study: naming_pb2.Study, maps: attribution_pb2.StudyMaps
) -> Iterator[inference_pb2.Image]:
    """The explained images, under every path that they have in their class."""
    explained = set(zip(maps.images.category, maps.images.image_id, strict=True))
    found = set()
    for category in study.categories:
        for image in client.list_images(study.dataset, part=study.part, class_name=category):
            if (category, image.image_id) in explained:
                found.add((category, image.image_id))
                yield image
    if lost := sorted(explained - found):
        raise ValueError(
            f"data set '{study.dataset}' has lost {len(lost)} of the images of study '{study.name}' (the first: "
            f"{lost[0][1]}, category '{lost[0][0]}'); import it as it was, then export again"
        )


def _write_namings(
    client: Client, archive: NewArchive, study: naming_pb2.Study, person: naming_pb2.Annotator, number: int
) -> list[str]:
    """Writes one annotator's namings; returns the categories that they acted in."""
    document = client.export_namings(study.study_id, [person.annotator_id])
    categories = list(json.loads(document)["namings"].get(person.annotator_id, {}))
    if categories:
        archive.write(f"namings/{number:04}.json", [document.encode()])
    return categories


def _acts(client: Client, study: naming_pb2.Study, namings: list[tuple[str, list[str]]]) -> Iterator[bytes]:
    """The log of acts, a line each."""
    for annotator_id, categories in namings:
        for category in categories:
            for act in client.list_acts(study.study_id, annotator_id, category):
                line = {"annotator_id": annotator_id, "category": category, **plain(act)}
                yield json.dumps(line, ensure_ascii=False).encode() + b"\n"
