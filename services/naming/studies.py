"""Studies: made, found, opened, closed."""

import time
import uuid
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, col, func, select, tuple_

from services.naming import paging
from services.naming.names import shown
from services.naming.tables import CLOSED, DRAFT, OPEN, Study
from services.runtime.database import session
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound


def get(opened: Session, study_id: str, lock: str = "") -> Study:
    """The study of that id.

    Args:
        lock: on PostgreSQL, keeps the row until the transaction ends: "read" from changes, "write" for one.
    Raises:
        NotFound: there is none.
    """
    locked: Any = {"": False, "read": {"read": True}, "write": True}[lock]
    row = None if "\0" in study_id else opened.get(Study, study_id, with_for_update=locked)
    if row is None:
        raise NotFound(f"no study has the id {shown(study_id)}")
    return row


def find(opened: Session, id_or_name: str) -> Study:
    """The study of that id, or of that name where only one has it.

    Raises:
        NotFound: there is none.
        FailedPrecondition: several have the name.
    """
    if "\0" not in id_or_name:
        row = opened.get(Study, id_or_name)
        if row is not None:
            return row
        rows = opened.exec(select(Study).where(Study.name == id_or_name).order_by(Study.create_time)).all()
        if len(rows) == 1:
            return rows[0]
        if rows:
            ids = ", ".join(row.study_id for row in rows)
            raise FailedPrecondition(
                f"{len(rows)} studies are named {shown(id_or_name)}; say which by its id: {ids}",
                "AMBIGUOUS_NAME",
            )
    raise NotFound(f"no study has the id or the name {shown(id_or_name)}")


def page(opened: Session, page_size: int, page_token: str) -> tuple[list[Study], str]:
    """Studies, latest first, and the token of the next page; empty on the last."""
    size = paging.checked_page_size(page_size, default=100, largest=1000)
    order = tuple_(col(Study.create_time), col(Study.study_id))
    query = select(Study).order_by(col(Study.create_time).desc(), col(Study.study_id).desc()).limit(size + 1)
    if page_token:
        query = query.where(order < tuple_(*paging.read_token(page_token, float, str)))
    rows = list(opened.exec(query))
    last = rows[size - 1] if len(rows) > size else None
    return rows[:size], paging.make_token(last.create_time, last.study_id) if last else ""


def made_by(opened: Session, request_id: str, request_hash: str) -> Study | None:
    """The study that a request made when it came before.

    Raises:
        InvalidArgument: it had other content then.
    """
    if not request_id:
        return None
    row = opened.exec(select(Study).where(Study.request_id == request_id)).first()
    if row is not None and row.request_hash != request_hash:
        raise InvalidArgument(
            f"request id {shown(request_id)} was used for study {shown(row.name)} with other content; "
            "send a new request id",
            "REQUEST_ID_REUSED",
        )
    return row


def create(engine: Engine, columns: dict[str, Any], request_id: str, request_hash: str) -> Study:
    """A new study in draft; the one there is where the request came before."""
    with session(engine) as opened:
        # One request that comes twice at once: the second waits here, and then finds the first's study.
        if opened.get_bind().dialect.name == "postgresql":
            opened.exec(select(func.pg_advisory_xact_lock(func.hashtext(request_id))))
        row = made_by(opened, request_id, request_hash)
        if row is None:
            row = Study(
                study_id=uuid.uuid4().hex,
                state=DRAFT,
                create_time=time.time(),
                request_id=request_id or None,
                request_hash=request_hash,
                **columns,
            )
            opened.add(row)
        opened.flush()
        opened.expunge(row)
    return row


def open_study(engine: Engine, study_id: str) -> Study:
    """Lets annotators in; nothing happens to a study that is open.

    Raises:
        FailedPrecondition: it has no activations yet, or was closed.
    """
    with session(engine) as opened:
        row = get(opened, study_id, lock="write")
        if row.state == CLOSED:
            raise FailedPrecondition(
                f"study {shown(row.name)} is closed and cannot be opened again: make a new one"
            )
        if row.activation_count == 0:
            raise FailedPrecondition(
                f"study {shown(row.name)} has no activations to name: compute its maps first "
                "(onoma maps compute STUDY)",
                "NO_MAPS",
            )
        row.state = OPEN
        opened.flush()
        opened.expunge(row)
    return row


def close_study(engine: Engine, study_id: str) -> Study:
    """Ends naming; nothing happens to a study that is closed.

    Raises:
        FailedPrecondition: it was never open.
    """
    with session(engine) as opened:
        row = get(opened, study_id, lock="write")
        if row.state == DRAFT:
            raise FailedPrecondition(f"study {shown(row.name)} is not open yet, so there is nothing to close")
        row.state = CLOSED
        opened.flush()
        opened.expunge(row)
    return row
