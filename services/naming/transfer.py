"""Namings of a study out of it and into it, as documents.py has them."""

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from onoma.enum_names import names_of, values_of
from onoma.v1 import naming_pb2 as pb
from services.naming import acts, documents, invitations, ledger, namings, studies
from services.naming.names import checked_id, checked_name, shown
from services.naming.namings import NamingKey
from services.naming.tables import ANNOTATOR, Annotator, Naming, NamingImport, Study, StudyActivation
from services.naming.transactions import transact
from services.runtime.enums import name_of
from services.runtime.errors import FailedPrecondition, InvalidArgument, ResourceExhausted

MAX_IMPORT_BYTES = 256 * 1024 * 1024
_REASONS = {"unspecified": pb.DISCARD_REASON_UNSPECIFIED, **values_of(pb.DiscardReason)}
_REASON_NAMES = names_of(pb.DiscardReason)
_READ = {
    "json": documents.read_json,
    "csv": documents.read_csv,
}


def export_namings(opened: Session, request: pb.ExportNamingsRequest) -> Iterator[str]:
    """The document in pieces: of the annotators named, or of all.

    Raises:
        NotFound: no such study, or annotator of it.
        InvalidArgument: the format is none.
    """
    is_csv = _format(request.format) == "csv"
    study = studies.get(opened, request.study_id)
    wanted = [namings.check_annotator(opened, study, id_) for id_ in dict.fromkeys(request.annotator_ids)]
    if not request.annotator_ids:
        everyone = select(Annotator).where(Annotator.study_id == study.study_id, Annotator.role == ANNOTATOR)
        wanted = list(opened.exec(everyone.order_by(col(Annotator.place))))
    if is_csv:
        return documents.pieces(documents.write_csv(_rows(opened, study, wanted)))
    kind = "image" if namings.is_by_image(study) else "random"
    head = {
        "format": "onoma-namings",
        "version": documents.VERSION,
        "study": study.study_id,
        "annotators": {row.annotator_id: row.display_name for row in wanted},
        "orders": {
            row.annotator_id: {"kind": kind, "seed": namings.order_seed(study, row.annotator_id)}
            for row in wanted
        },
    }
    by_annotator = ((row.annotator_id, _namings_of(opened, study, row.annotator_id)) for row in wanted)
    return documents.pieces(documents.write_json(head, by_annotator))


def received(messages: Iterator[pb.ImportNamingsRequest]) -> pb.ImportNamingsRequest:
    """The messages of one import as one.

    Raises:
        InvalidArgument: the stream was cut off.
        ResourceExhausted: the document has over 256 MiB.
    """
    whole = pb.ImportNamingsRequest()
    texts: list[str] = []
    size_bytes = 0
    for place, message in enumerate(messages):
        size_bytes += message.ByteSize()
        if size_bytes > MAX_IMPORT_BYTES:
            raise ResourceExhausted(
                f"the document has over {MAX_IMPORT_BYTES // 1024**2} MiB, the most an import takes; send its "
                "annotators in several documents",
                "TOO_LARGE",
            )
        texts.append(message.text)
        message.ClearField("text")
        if place == 0:
            whole.CopyFrom(message)
        whole.last = message.last
    if not whole.last:
        raise InvalidArgument("the import was cut off: no message says that it is the last; send it again")
    whole.text = "".join(texts)
    return whole


def import_namings(engine: Engine, request: pb.ImportNamingsRequest) -> tuple[list[NamingKey], int, int]:
    """Takes a document in as acts, all of it or nothing; a request seen before changes nothing.

    Annotators are found by display name, or added without a link (the id stands for a missing name). Concepts are
    found as `_found` says, or made with new ids; activations are taken from wherever they are.

    Returns:
        Namings that changed, annotators added or found, and concepts made.
    Raises:
        InvalidArgument: the document is not one, does not fit the study, or the request id came with another.
        FailedPrecondition: the study takes no acts, or an annotator was deleted since the request was first done.
    """
    document = _READ[_format(request.format)](request.text)
    study_id, request_id = request.study_id, request.request_id
    request_id = checked_id(request_id, "request id") if request_id else uuid.uuid4().hex
    request_hash = hashlib.sha256(request.text.encode()).hexdigest()

    def work(opened: Session) -> tuple[list[NamingKey], int, int]:
        study = studies.get(opened, study_id, lock="write")
        known = opened.get(NamingImport, (study_id, request_id))
        if known is not None and known.request_hash != request_hash:
            raise InvalidArgument(
                f"request id {shown(request_id)} was used to import another document; send a new one",
                "REQUEST_ID_REUSED",
            )
        if known is not None:
            _check_there(opened, study, document)
            return [], known.annotator_count, known.concept_count
        studies.check_open(study)
        changed: dict[NamingKey, str] = {}
        concept_count = 0
        for writer, by_category in document.namings.items():
            annotator = _found_or_added(opened, study, _name_of(document, writer))
            for category, naming in by_category.items():
                key = NamingKey(study_id, annotator.annotator_id, category)
                namings.check_key(opened, key)
                if key in changed:
                    raise InvalidArgument(
                        f"{shown(changed[key])} and {shown(writer)} are one annotator here and both name category "
                        f"{shown(category)}; put the two namings together"
                    )
                state = namings.load(opened, key).state
                commands = list(_commands(naming, state))
                concept_count += sum(command.HasField("create") for command in commands)
                if not commands and state.revision == 0:
                    commands = _commands_without_trace()
                ledger.record_all(opened, study, key, commands)
                changed[key] = writer
        opened.add(
            NamingImport(
                study_id=study_id,
                request_id=request_id,
                request_hash=request_hash,
                annotator_count=len(document.namings),
                concept_count=concept_count,
            )
        )
        return list(changed), len(document.namings), concept_count

    return transact(engine, work)


def _format(value: int) -> str:
    return name_of(pb.NamingsFormat, value, "format", unsaid="json")


def _namings_of(opened: Session, study: Study, annotator_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Category and naming, one after another, since all at once take a large study's memory."""
    started = select(Naming.category).where(
        Naming.study_id == study.study_id, Naming.annotator_id == annotator_id, Naming.revision > 0
    )
    categories = set(opened.exec(started))
    for category in study.categories:
        if category in categories:
            key = NamingKey(study.study_id, annotator_id, category)
            yield category, _as_json(namings.message(key, namings.load(opened, key), ()))


def _as_json(naming: pb.Naming) -> dict[str, Any]:
    return {
        "concepts": [
            {"id": concept.concept_id, "name": concept.name, "activations": list(concept.activation_ids)}
            for concept in naming.concepts
        ],
        "discarded": [id_ for discard in naming.discards for id_ in discard.activation_ids],
        "discard_reasons": {
            id_: _REASON_NAMES[discard.reason]
            for discard in naming.discards
            if discard.reason
            for id_ in discard.activation_ids
        },
    }


def _rows(opened: Session, study: Study, annotators: Sequence[Annotator]) -> Iterator[tuple[str, ...]]:
    """Rows of the table: each activation of a concept or the pile, and each concept that has none."""
    query = select(StudyActivation.activation_id, StudyActivation.image_id)
    images = dict(iter(opened.exec(query.where(StudyActivation.study_id == study.study_id))))
    for annotator_id, display_name in [(row.annotator_id, row.display_name) for row in annotators]:
        for category, naming in _namings_of(opened, study, annotator_id):
            for concept in naming["concepts"]:
                for id_ in concept["activations"] or [""]:
                    named = (concept["id"], concept["name"], id_, images.get(id_, ""))
                    yield (display_name, category, *named, "")
            for id_ in naming["discarded"]:
                reason = naming["discard_reasons"].get(id_, "unspecified")
                yield (display_name, category, "", "", id_, images[id_], reason)


def _name_of(document: documents.Document, writer: str) -> str:
    return checked_name(document.annotators.get(writer, writer), "display name")


def _check_there(opened: Session, study: Study, document: documents.Document) -> None:
    for name in (_name_of(document, writer) for writer in document.namings):
        if invitations.named(opened, study, name) is None:
            raise FailedPrecondition(
                f"this was imported before, and annotator {shown(name)} was deleted since; to import it again send "
                "another request id",
                "ANNOTATOR_DELETED",
            )


def _found_or_added(opened: Session, study: Study, name: str) -> Annotator:
    return invitations.named(opened, study, name) or invitations.add(opened, study, name)


def _commands(naming: documents.Naming, state: acts.State) -> Iterator[pb.Command]:
    """What brings a document's naming into the annotator's present one; nothing for what is so already."""
    names = [checked_name(concept.name, "concept name", may_be_empty=True) for concept in naming.concepts]
    found = _found([concept.id for concept in naming.concepts], names, state)
    lists = {id_: (place.concept_id, place.reason) for id_, place in state.placements.items()}

    def batches(ids: Sequence[str], concept_id: str | None, reason: int) -> Iterator[Sequence[str]]:
        moved = [id_ for id_ in ids if lists.get(id_) != (concept_id, reason)]
        lists.update(dict.fromkeys(moved, (concept_id, reason)))
        for start in range(0, len(moved), acts.MAX_ACTIVATIONS):
            yield moved[start : start + acts.MAX_ACTIVATIONS]

    for place, (concept, name) in enumerate(zip(naming.concepts, names, strict=True)):
        concept_id = found.get(place) or str(uuid.uuid4())
        if place not in found:
            yield pb.Command(create=pb.CreateConcept(concept_id=concept_id, name=name))
        elif name not in ("", state.concepts[concept_id].name):
            yield pb.Command(rename=pb.RenameConcept(concept_id=concept_id, name=name))
        for ids in batches(concept.activations, concept_id, 0):
            yield pb.Command(assign=pb.AssignActivations(concept_id=concept_id, activation_ids=ids))
    by_reason: dict[int, list[str]] = {}
    for id_ in naming.discarded:
        by_reason.setdefault(_reason(naming.discard_reasons.get(id_, "unspecified")), []).append(id_)
    for reason, discarded in by_reason.items():
        for ids in batches(discarded, None, reason):
            yield pb.Command(discard=pb.DiscardActivations(activation_ids=ids, reason=reason))


def _commands_without_trace() -> list[pb.Command]:
    """What makes an empty naming one that counts, as that of somebody who took everything back."""
    return [
        pb.Command(create=pb.CreateConcept(concept_id=str(uuid.uuid4()))),
        pb.Command(undo=pb.UndoAct()),
    ]


def _found(ids: Sequence[str], names: Sequence[str], state: acts.State) -> dict[int, str]:
    """Ids of the standing concepts that those of a document are, by place in it.

    One is that of the same id, else the first of exactly the same name, empty names left out; each is found once.
    """
    standing = ((one.place, id_, one.name) for id_, one in state.concepts.items() if one.standing)
    left = {id_: name for _, id_, name in sorted(standing)}
    found = {}
    for place, id_ in enumerate(ids):
        if left.pop(id_, None) is not None:
            found[place] = id_
    for place, name in enumerate(names):
        same = [id_ for id_, of in left.items() if name and of == name and place not in found]
        if same:
            found[place] = same[0]
            del left[same[0]]
    return found


def _reason(name: str) -> int:
    if name.lower() not in _REASONS:
        raise InvalidArgument(f"discard reason {shown(name)} is none of {', '.join(_REASONS)}")
    return _REASONS[name.lower()]
