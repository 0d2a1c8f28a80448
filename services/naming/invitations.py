"""Annotators and the links that let them in: of a link's token only the hash is kept."""

import hashlib
import secrets
import time
import uuid
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from sqlalchemy import Engine
from sqlmodel import Session, col, func, select

from onoma.enum_names import values_of
from onoma.science.study_file import ALL_TOGETHER
from onoma.v1 import naming_pb2 as pb
from services.naming import namings, studies
from services.naming.names import checked_id, checked_name, shown
from services.naming.tables import ANNOTATOR, CLOSED, VIEWER, Annotator, Placement, Study
from services.naming.transactions import transact
from services.runtime.access import Guest
from services.runtime.database import session
from services.runtime.enums import name_of
from services.runtime.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)

MAX_ANNOTATORS = 500  # of a study
LINK_DAYS, MAX_LINK_DAYS = 30, 365
_DAY_S = 24 * 3600
_TOKEN_BYTES = 24
_ROLES = values_of(pb.Role)


def invite(engine: Engine, request: pb.InviteAnnotatorRequest) -> pb.InviteAnnotatorResponse:
    """A new annotator and their link's token; the same annotator and a new token for a request seen before.

    Raises:
        AlreadyExists: the study has an annotator of that name.
        FailedPrecondition: the study is closed.
        InvalidArgument: the name, the role or the days cannot be, or the request id came with another name or role.
    """
    name, request_id = checked_name(request.display_name, "display name"), request.request_id
    role, life_s = name_of(pb.Role, request.role, "role", unsaid=ANNOTATOR), _link_life_s(request.link_days)
    if request_id:
        checked_id(request_id, "request id")

    def work(opened: Session) -> pb.InviteAnnotatorResponse:
        study = studies.get(opened, request.study_id, lock="write")
        if study.state == CLOSED and role == ANNOTATOR:
            raise FailedPrecondition(
                f"study {shown(study.name)} is closed: naming has ended; invite a viewer, or make a new study",
                "STUDY_CLOSED",
            )
        row = _invited(opened, study, request_id)
        if row is None:
            row = add(opened, study, name, role, request_id)
        elif (row.display_name, row.role) != (name, role):
            raise InvalidArgument(
                f"request id {shown(request_id)} was used to invite {shown(row.display_name)}; send a new one",
                "REQUEST_ID_REUSED",
            )
        token = _new_link(row, life_s)
        opened.flush()
        return pb.InviteAnnotatorResponse(annotator=_message(opened, row), token=token)

    return transact(engine, work)


def renew(engine: Engine, study_id: str, annotator_id: str, link_days: int) -> pb.RenewInvitationResponse:
    """A new token for an annotator; the old one stops working.

    Raises:
        NotFound: no such study, or annotator of it.
        InvalidArgument: the days cannot be.
    """
    life_s = _link_life_s(link_days)
    with session(engine) as opened:
        study = studies.get(opened, study_id, lock="read")
        row = namings.check_annotator(opened, study, annotator_id)
        token = _new_link(row, life_s)
        return pb.RenewInvitationResponse(annotator=_message(opened, row), token=token)


def add(opened: Session, study: Study, name: str, role: str = ANNOTATOR, request_id: str = "") -> Annotator:
    """A new annotator or viewer, with no link yet.

    Raises:
        InvalidArgument: statistics would take the name for all annotators together.
        AlreadyExists: the study has one of that name.
        ResourceExhausted: it has 500.
    """
    if name == ALL_TOGETHER:
        raise InvalidArgument(
            f"no annotator can be called '{ALL_TOGETHER}': it stands for all of them together"
        )
    if named(opened, study, name) is not None:
        raise AlreadyExists(
            f"study {shown(study.name)} has an annotator {shown(name)} already; choose another name, or renew "
            "their link (onoma study renew)"
        )
    count, last_place = opened.exec(
        select(func.count(), func.max(Annotator.place)).where(Annotator.study_id == study.study_id)
    ).one()
    if count >= MAX_ANNOTATORS:
        raise ResourceExhausted(
            f"study {shown(study.name)} has {MAX_ANNOTATORS} annotators and viewers, the most it takes; make another "
            "study for more",
            "TOO_MANY_ANNOTATORS",
        )
    row = Annotator(
        study_id=study.study_id,
        annotator_id=uuid.uuid4().hex,
        place=last_place + 1 if count else 0,
        display_name=name,
        role=role,
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
    found = _holders(opened, [_hash(token)])
    if not found:
        raise NotFound("this link does not let anyone in; ask whoever sent it for a new one", "BAD_LINK")
    [(row, study)] = found
    return pb.AcceptInvitationResponse(
        study=studies.message(study), annotator=_message(opened, row), sees_others=_sees_others(row, study)
    )


def guests_of(opened: Session, tokens: Collection[str]) -> dict[str, Guest]:
    """Who holds each token, and what they may see; those that let nobody in are left out."""
    by_hash = {_hash(token): token for token in tokens}
    return {
        by_hash[row.token_hash]: Guest(
            row.study_id,
            row.annotator_id,
            acts=row.role == ANNOTATOR,
            sees_others=_sees_others(row, study),
        )
        for row, study in _holders(opened, by_hash)
    }


def revoke(engine: Engine, study_id: str, annotator_id: str) -> None:
    """Makes an annotator's token worthless; again changes nothing."""
    with session(engine) as opened:
        study = studies.get(opened, study_id, lock="read")
        namings.check_annotator(opened, study, annotator_id).revoked = True


def listed(opened: Session, study_id: str) -> list[pb.Annotator]:
    """The annotators and viewers of a study with their progress, in the order they were invited."""
    study = studies.get(opened, study_id)
    rows = opened.exec(
        select(Annotator).where(Annotator.study_id == study.study_id).order_by(col(Annotator.place))
    )
    progress = _progress(opened, study.study_id)
    return [_annotator(row, *progress.get(row.annotator_id, (0, 0))) for row in rows]


def _holders(opened: Session, token_hashes: Iterable[str]) -> list[tuple[Annotator, Study]]:
    """Whose tokens they are, as far as they let somebody in, in one statement: this is asked all the time."""
    query = select(Annotator, Study).join(Study).where(col(Annotator.token_hash).in_(token_hashes))
    return [found for found in opened.exec(query) if _link_state(found[0]) == pb.LINK_STATE_GOOD]


def _sees_others(row: Annotator, study: Study) -> bool:
    """Whether someone may read what others named: viewers, and annotators once a blind study is closed."""
    return row.role == VIEWER or study.state == CLOSED or not study.settings["blind"]


def _link_life_s(days: int) -> float:
    if not 0 <= days <= MAX_LINK_DAYS:
        raise InvalidArgument(f"link_days {days}: use 1 to {MAX_LINK_DAYS}, or 0 for {LINK_DAYS}")
    return float((days or LINK_DAYS) * _DAY_S)


def _new_link(row: Annotator, life_s: float) -> str:
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    row.token_hash, row.token_expiry, row.revoked = _hash(token), time.time() + life_s, False
    return token


def _link_state(row: Annotator) -> pb.LinkState:
    if row.token_hash is None:
        return pb.LINK_STATE_NONE
    if row.revoked:
        return pb.LINK_STATE_REVOKED
    return pb.LINK_STATE_GOOD if row.token_expiry >= time.time() else pb.LINK_STATE_EXPIRED


def _invited(opened: Session, study: Study, request_id: str) -> Annotator | None:
    if not request_id:
        return None
    query = select(Annotator).where(Annotator.study_id == study.study_id, Annotator.request_id == request_id)
    return opened.exec(query).first()


def _message(opened: Session, row: Annotator) -> pb.Annotator:
    progress = _progress(opened, row.study_id, row.annotator_id)
    return _annotator(row, *progress.get(row.annotator_id, (0, 0)))


def _annotator(row: Annotator, named_count: int, discarded_count: int) -> pb.Annotator:
    annotator = pb.Annotator(
        annotator_id=row.annotator_id,
        display_name=row.display_name,
        named_count=named_count,
        discarded_count=discarded_count,
        role=_ROLES[row.role],
        link_state=_link_state(row),
    )
    if row.token_hash is not None:
        annotator.link_expiry.FromDatetime(datetime.fromtimestamp(row.token_expiry, UTC))
    return annotator


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
