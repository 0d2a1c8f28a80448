"""Annotators and the links that let them in: of a link's token only the hash is kept."""

import hashlib
import secrets
import time
import uuid

from sqlalchemy import Engine
from sqlmodel import Session, col, func, select

from onoma.v1 import naming_pb2 as pb
from services.naming import namings, studies
from services.naming.names import checked_id, checked_name, shown
from services.naming.tables import CLOSED, Annotator, Placement, Study
from services.naming.transactions import transact
from services.runtime.database import session
from services.runtime.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)

MAX_ANNOTATORS = 500  # of a study
LINK_LIFE_S = 30 * 24 * 3600
_TOKEN_BYTES = 24


def invite(engine: Engine, study_id: str, display_name: str, request_id: str) -> pb.InviteAnnotatorResponse:
    """A new annotator and their link's token; the same annotator and a new token for a request seen before.

    Raises:
        AlreadyExists: the study has an annotator of that name.
        FailedPrecondition: the study is closed.
        InvalidArgument: the name cannot be, or the request id came with another one.
    """
    name = checked_name(display_name, "display name")
    if request_id:
        checked_id(request_id, "request id")

    def work(opened: Session) -> pb.InviteAnnotatorResponse:
        study = studies.get(opened, study_id, lock="write")
        if study.state == CLOSED:
            raise FailedPrecondition(f"study {shown(study.name)} is closed: naming has ended", "STUDY_CLOSED")
        row = _invited(opened, study, request_id)
        if row is None:
            row = add(opened, study, name, request_id)
        elif row.display_name != name:
            raise InvalidArgument(
                f"request id {shown(request_id)} was used to invite {shown(row.display_name)}; send a new one",
                "REQUEST_ID_REUSED",
            )
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        row.token_hash, row.token_expiry, row.revoked = _hash(token), time.time() + LINK_LIFE_S, False
        opened.flush()
        return pb.InviteAnnotatorResponse(annotator=_message(opened, row), token=token)

    return transact(engine, work)


def add(opened: Session, study: Study, name: str, request_id: str = "") -> Annotator:
    """A new annotator, with no link yet.

    Raises:
        AlreadyExists: the study has one of that name.
        ResourceExhausted: it has 500.
    """
    if named(opened, study, name) is not None:
        raise AlreadyExists(
            f"study {shown(study.name)} has an annotator {shown(name)} already; choose another name"
        )
    count = opened.exec(
        select(func.count()).select_from(Annotator).where(Annotator.study_id == study.study_id)
    ).one()
    if count >= MAX_ANNOTATORS:
        raise ResourceExhausted(
            f"study {shown(study.name)} has {MAX_ANNOTATORS} annotators, the most it takes"
        )
    row = Annotator(
        study_id=study.study_id,
        annotator_id=uuid.uuid4().hex,
        place=count,
        display_name=name,
        request_id=request_id or None,
    )
    opened.add(row)
    opened.flush()
    return row


def named(opened: Session, study: Study, name: str) -> Annotator | None:
    """The annotator of that display name."""
    query = select(Annotator).where(Annotator.study_id == study.study_id, Annotator.display_name == name)
    return opened.exec(query).first()


def accept(opened: Session, token: str) -> pb.AcceptInvitationResponse:
    """The study and the annotator that a token was made for.

    Raises:
        NotFound: the token is unknown, expired or revoked; which of them is not told.
    """
    row = opened.exec(select(Annotator).where(Annotator.token_hash == _hash(token))).first()
    if row is None or row.revoked or row.token_expiry < time.time():
        raise NotFound("this link does not let anyone in; ask whoever sent it for a new one", "BAD_LINK")
    study = studies.message(studies.get(opened, row.study_id))
    return pb.AcceptInvitationResponse(study=study, annotator=_message(opened, row))


def revoke(engine: Engine, study_id: str, annotator_id: str) -> None:
    """Makes an annotator's token worthless; again changes nothing."""
    with session(engine) as opened:
        study = studies.get(opened, study_id)
        namings.check_annotator(opened, study, annotator_id).revoked = True


def listed(opened: Session, study_id: str) -> list[pb.Annotator]:
    """The annotators of a study with their progress, in the order they were invited."""
    study = studies.get(opened, study_id)
    rows = opened.exec(
        select(Annotator).where(Annotator.study_id == study.study_id).order_by(col(Annotator.place))
    )
    progress = _progress(opened, study.study_id)
    return [_annotator(row, *progress.get(row.annotator_id, (0, 0))) for row in rows]


def _invited(opened: Session, study: Study, request_id: str) -> Annotator | None:
    if not request_id:
        return None
    query = select(Annotator).where(Annotator.study_id == study.study_id, Annotator.request_id == request_id)
    return opened.exec(query).first()


def _message(opened: Session, row: Annotator) -> pb.Annotator:
    progress = _progress(opened, row.study_id, row.annotator_id)
    return _annotator(row, *progress.get(row.annotator_id, (0, 0)))


def _annotator(row: Annotator, named_count: int, discarded_count: int) -> pb.Annotator:
    return pb.Annotator(
        annotator_id=row.annotator_id,
        display_name=row.display_name,
        named_count=named_count,
        discarded_count=discarded_count,
    )


def _progress(opened: Session, study_id: str, annotator_id: str = "") -> dict[str, tuple[int, int]]:
    """Activations in a concept and discarded, by annotator."""
    query = select(Placement.annotator_id, func.count(col(Placement.concept_id)), func.count()).where(
        Placement.study_id == study_id
    )
    if annotator_id:
        query = query.where(Placement.annotator_id == annotator_id)
    rows = opened.exec(query.group_by(Placement.annotator_id))
    return {id_: (in_concepts, placed - in_concepts) for id_, in_concepts, placed in rows}


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
