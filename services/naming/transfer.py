"""Namings of a study as one JSON document, out and in, and as CSV, out.

    {"format": "onoma-namings", "version": 1, "study": STUDY_ID,
     "annotators": {ANNOTATOR_ID: DISPLAY_NAME},
     "namings": {ANNOTATOR_ID: {CATEGORY: {
         "concepts": [{"id": ..., "name": ..., "activations": [...]}],
         "discarded": [ACTIVATION_ID, ...],
         "discard_reasons": {ACTIVATION_ID: "noise"}}}}}

`discarded` lists all that is discarded; `discard_reasons` says why, where the annotator did. Only namings
with an act are in it.
"""

import csv
import hashlib
import io
import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from onoma.v1 import naming_pb2 as pb
from services.naming import acts, invitations, ledger, namings, studies
from services.naming.names import checked_id, checked_name, shown
from services.naming.namings import NamingKey
from services.naming.tables import ANNOTATOR, Annotator, Naming, NamingImport, Study, StudyActivation
from services.naming.transactions import transact
from services.runtime.errors import InvalidArgument

_COLUMNS = ("annotator", "category", "concept_id", "concept", "activation_id", "image_id", "discard_reason")
_REASON_PREFIX = "DISCARD_REASON_"


class _Concept(BaseModel):
    name: str
    activations: list[str]


class _Naming(BaseModel):
    concepts: list[_Concept]
    discarded: list[str] = Field(default_factory=list)
    discard_reasons: dict[str, str] = Field(default_factory=dict)


class _Document(BaseModel):
    format: Literal["onoma-namings"]
    version: Literal[1]
    annotators: dict[str, str] = Field(default_factory=dict)
    namings: dict[str, dict[str, _Naming]]


def export_namings(opened: Session, request: pb.ExportNamingsRequest) -> pb.ExportNamingsResponse:
    """The document: of the annotators named, or of all.

    Raises:
        NotFound: no such study, or annotator of it.
        InvalidArgument: the format is none.
    """
    study = studies.get(opened, request.study_id)
    wanted = [namings.check_annotator(opened, study, id_) for id_ in request.annotator_ids]
    if not request.annotator_ids:
        everyone = select(Annotator).where(Annotator.study_id == study.study_id, Annotator.role == ANNOTATOR)
        wanted = list(opened.exec(everyone.order_by(col(Annotator.place))))
    if request.format == pb.NAMINGS_FORMAT_CSV:
        return pb.ExportNamingsResponse(csv=_as_csv(opened, study, wanted))
    if request.format not in pb.NamingsFormat.values():
        raise InvalidArgument(f"format {request.format} is none of {', '.join(pb.NamingsFormat.keys())}")
    document = {
        "format": "onoma-namings",
        "version": 1,
        "study": study.study_id,
        "annotators": {row.annotator_id: row.display_name for row in wanted},
        "namings": {row.annotator_id: _namings_of(opened, study, row.annotator_id) for row in wanted},
    }
    return pb.ExportNamingsResponse(json=json.dumps(document, ensure_ascii=False))


def import_namings(engine: Engine, study_id: str, document_json: str, request_id: str) -> tuple[int, int]:
    """Takes a document in as acts, all of it or nothing; a request seen before changes nothing.

    Annotators are found by display name, or added without a link (the id stands for a missing name). New
    concepts get new ids; activations are taken from wherever they are.

    Returns:
        Annotators added or found, and concepts made.
    Raises:
        InvalidArgument: the document is not one, does not fit the study, or the request id came with another.
        FailedPrecondition: the study takes no acts.
    """
    document = _parsed(document_json)
    request_id = checked_id(request_id, "request id") if request_id else uuid.uuid4().hex
    request_hash = hashlib.sha256(document_json.encode()).hexdigest()

    def work(opened: Session) -> tuple[int, int]:
        study = studies.get(opened, study_id, lock="write")
        known = opened.get(NamingImport, (study_id, request_id))
        if known is not None and known.request_hash != request_hash:
            raise InvalidArgument(
                f"request id {shown(request_id)} was used to import another document; send a new one",
                "REQUEST_ID_REUSED",
            )
        if known is not None:
            return known.annotator_count, known.concept_count
        studies.check_open(study)
        concept_count = 0
        for writer, by_category in document.namings.items():
            annotator = _found_or_added(opened, study, document.annotators.get(writer, writer))
            for category, naming in by_category.items():
                key = NamingKey(study_id, annotator.annotator_id, category)
                namings.check_key(opened, key)
                ledger.record_all(opened, study, key, list(_commands(naming)))
                concept_count += len(naming.concepts)
        opened.add(
            NamingImport(
                study_id=study_id,
                request_id=request_id,
                request_hash=request_hash,
                annotator_count=len(document.namings),
                concept_count=concept_count,
            )
        )
        return len(document.namings), concept_count

    return transact(engine, work)


def _namings_of(opened: Session, study: Study, annotator_id: str) -> dict[str, Any]:
    started = select(Naming.category).where(
        Naming.study_id == study.study_id, Naming.annotator_id == annotator_id
    )
    categories = set(opened.exec(started))
    return {
        category: _as_json(namings.read(opened, study, NamingKey(study.study_id, annotator_id, category)))
        for category in study.categories
        if category in categories
    }


def _as_json(naming: pb.Naming) -> dict[str, Any]:
    return {
        "concepts": [
            {"id": concept.concept_id, "name": concept.name, "activations": list(concept.activation_ids)}
            for concept in naming.concepts
        ],
        "discarded": [id_ for discard in naming.discards for id_ in discard.activation_ids],
        "discard_reasons": {
            id_: _reason_name(discard.reason)
            for discard in naming.discards
            if discard.reason
            for id_ in discard.activation_ids
        },
    }


def _as_csv(opened: Session, study: Study, annotators: Sequence[Annotator]) -> str:
    query = select(StudyActivation.activation_id, StudyActivation.image_id)
    images = dict(iter(opened.exec(query.where(StudyActivation.study_id == study.study_id))))
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(_COLUMNS)
    for annotator in annotators:
        for category, naming in _namings_of(opened, study, annotator.annotator_id).items():
            rows = [
                (concept["id"], concept["name"], id_, images[id_], "")
                for concept in naming["concepts"]
                for id_ in concept["activations"]
            ]
            reasons = naming["discard_reasons"]
            rows += [
                ("", "", id_, images[id_], reasons.get(id_, "unspecified")) for id_ in naming["discarded"]
            ]
            for row in rows:
                table.writerow(map(_cell, (annotator.display_name, category, *row)))
    return written.getvalue()


def _cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _parsed(document_json: str) -> _Document:
    try:
        return _Document.model_validate_json(document_json, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:200] or "document"
        raise InvalidArgument(
            f"not a document of namings (onoma-namings, version 1): {where}: {first['msg']}"
        ) from error


def _found_or_added(opened: Session, study: Study, display_name: str) -> Annotator:
    name = checked_name(display_name, "display name")
    return invitations.named(opened, study, name) or invitations.add(opened, study, name)


def _commands(naming: _Naming) -> Iterator[pb.Command]:
    for concept in naming.concepts:
        concept_id = str(uuid.uuid4())
        yield pb.Command(create=pb.CreateConcept(concept_id=concept_id, name=concept.name))
        for ids in _batches(concept.activations):
            yield pb.Command(assign=pb.AssignActivations(concept_id=concept_id, activation_ids=ids))
    by_reason: dict[int, list[str]] = {}
    for id_ in naming.discarded:
        by_reason.setdefault(_reason(naming.discard_reasons.get(id_, "unspecified")), []).append(id_)
    for reason, discarded in by_reason.items():
        for ids in _batches(discarded):
            yield pb.Command(discard=pb.DiscardActivations(activation_ids=ids, reason=reason))


def _reason(name: str) -> int:
    value = pb.DiscardReason.DESCRIPTOR.values_by_name.get(_REASON_PREFIX + name.upper())
    if value is None:
        known = ", ".join(_reason_name(value) for value in pb.DiscardReason.values())
        raise InvalidArgument(f"discard reason {shown(name)} is none of {known}")
    return int(value.number)


def _reason_name(reason: int) -> str:
    return pb.DiscardReason.Name(reason).removeprefix(_REASON_PREFIX).lower()


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), acts.MAX_ACTIVATIONS):
        yield ids[start : start + acts.MAX_ACTIVATIONS]
