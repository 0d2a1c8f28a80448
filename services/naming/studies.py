"""Studies: made, found, opened, closed."""

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, col, select, tuple_

from onoma.enum_names import PART_VALUES, values_of
from onoma.v1 import naming_pb2 as pb
from onoma.v1 import types_pb2
from services.naming.names import as_kept, checked_id, checked_name, shown
from services.naming.tables import CLOSED, DRAFT, OPEN, Study
from services.naming.transactions import transact
from services.runtime import paging
from services.runtime.database import session
from services.runtime.enums import name_of
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound

_STATES = values_of(pb.StudyState)


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
        raise NotFound(f"no study has the id {shown(study_id)}; onoma study list shows those there are")
    return row


def find(opened: Session, id_or_name: str) -> Study:
    """The study of that id, or of that name, as it was given or as it is kept, where only one has it.

    Raises:
        NotFound: there is none.
        FailedPrecondition: several have the name.
    """
    if "\0" not in id_or_name:
        row = opened.get(Study, id_or_name)
        if row is not None:
            return row
        has_name = col(Study.name).in_({id_or_name, as_kept(id_or_name)})
        rows = opened.exec(select(Study).where(has_name).order_by(Study.create_time)).all()
        if len(rows) == 1:
            return rows[0]
        if rows:
            ids = ", ".join(row.study_id for row in rows)
            raise FailedPrecondition(
                f"{len(rows)} studies are named {shown(id_or_name)}; say which by its id: {ids}",
                "AMBIGUOUS_NAME",
            )
    raise NotFound(
        f"no study has the id or the name {shown(id_or_name)}; onoma study list shows those there are"
    )


def page(opened: Session, page_size: int, page_token: str) -> tuple[Sequence[Study], str]:
    """Studies, latest first, and the token of the next page; empty on the last."""
    size = paging.checked_page_size(page_size, default=100, largest=1000)
    order = tuple_(col(Study.create_time), col(Study.study_id))
    query = select(Study).order_by(col(Study.create_time).desc(), col(Study.study_id).desc()).limit(size + 1)
    if page_token:
        query = query.where(order < tuple_(*paging.read_token(page_token, float, str)))
    return paging.cut(opened.exec(query).all(), size, lambda study: (study.create_time, study.study_id))


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


def create(engine: Engine, columns: dict[str, Any], request_id: str, request_hash: str) -> pb.Study:
    """A new study in draft; the one there is where the request came before."""

    def work(opened: Session) -> pb.Study:
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
        return message(row)

    return transact(engine, work)


def rename_study(engine: Engine, study_id: str, name: str) -> pb.Study:
    """Gives a study another name.

    Raises:
        InvalidArgument: it is no name.
    """
    name = checked_name(name, "study name")
    with session(engine) as opened:
        row = get(opened, study_id, lock="write")
        row.name = name
        return message(row)


def open_study(engine: Engine, study_id: str) -> pb.Study:
    """Lets annotators in; nothing happens to a study that is open.

    Raises:
        FailedPrecondition: it has no activations yet, or was closed.
    """
    with session(engine) as opened:
        row = get(opened, study_id, lock="write")
        if row.state == CLOSED:
            raise FailedPrecondition(
                f"study {shown(row.name)} is closed and cannot be opened again: make a new one",
                "STUDY_CLOSED",
            )
        if row.activation_count == 0:
            raise FailedPrecondition(
                f"study {shown(row.name)} has no activations to name: compute or import its maps first "
                "(onoma maps compute STUDY, or onoma maps import)",
                "NO_MAPS",
            )
        row.state = OPEN
        return message(row)


def close_study(engine: Engine, study_id: str) -> pb.Study:
    """Ends naming; nothing happens to a study that is closed.

    Raises:
        FailedPrecondition: it was never open.
    """
    with session(engine) as opened:
        row = get(opened, study_id, lock="write")
        if row.state == DRAFT:
            raise FailedPrecondition(
                f"study {shown(row.name)} is not open yet, so there is nothing to close: open it first "
                "(onoma study open STUDY)",
                "STUDY_NOT_OPEN",
            )
        row.state = CLOSED
        return message(row)


def check_open(study: Study) -> None:
    """Raises FailedPrecondition unless the study takes acts."""
    if study.state == OPEN:
        return
    if study.state == DRAFT:
        raise FailedPrecondition(
            f"study {shown(study.name)} is not open yet: its owner opens it (onoma study open STUDY)",
            "STUDY_NOT_OPEN",
        )
    raise FailedPrecondition(
        f"study {shown(study.name)} is closed: naming has ended; its owner makes a new one for more",
        "STUDY_CLOSED",
    )


def message(row: Study) -> pb.Study:
    """The row as a message."""
    study = pb.Study(
        study_id=row.study_id,
        name=row.name,
        model=row.model,
        dataset=row.dataset,
        part=PART_VALUES[row.part],
        xnn_set=row.xnn_set,
        categories=row.categories,
        settings=pb.StudySettings(**row.settings),
        state=_STATES[row.state],
        activation_count=row.activation_count,
    )
    study.create_time.FromDatetime(datetime.fromtimestamp(row.create_time, UTC))
    return study


def checked_request(request: pb.CreateStudyRequest) -> dict[str, Any]:
    """Columns of the study that is asked for, with the defaults filled in.

    Raises:
        InvalidArgument: something in it cannot be, whatever inference holds.
    """
    if request.request_id:
        checked_id(request.request_id, "request id")
    part = name_of(types_pb2.DatasetPart, request.part, "part", unsaid="test")
    if not request.categories:
        raise InvalidArgument("a study needs at least one category; name the classes whose images are shown")
    twice = sorted(name for name, count in Counter(request.categories).items() if count > 1)
    if twice:
        raise InvalidArgument(f"category {shown(twice[0])} is named twice; name it once")
    return {
        "name": checked_name(request.name, "study name"),
        "model": request.model,
        "dataset": request.dataset,
        "part": part,
        "xnn_set": request.xnn_set,
        "categories": list(request.categories),
        "settings": _checked_settings(request.settings),
    }


def _checked_settings(settings: pb.StudySettings) -> dict[str, Any]:
    share = settings.significant_share if settings.HasField("significant_share") else 0.9
    images = settings.min_concept_images if settings.HasField("min_concept_images") else 3
    if not 0 < share <= 1:
        raise InvalidArgument(
            f"significant_share {share}: use a share over 0 and at most 1 (0.9 is the paper's)"
        )
    if images < 1:
        raise InvalidArgument(f"min_concept_images {images}: use 1 or more (3 is the paper's)")
    if settings.max_images_per_category < 0:
        raise InvalidArgument(
            f"max_images_per_category {settings.max_images_per_category}: use 1 or more, or 0 for all"
        )
    name_of(pb.PoolOrder, settings.pool_order, "pool_order")
    blind = settings.blind if settings.HasField("blind") else True
    return {
        "max_images_per_category": settings.max_images_per_category,
        "seed": settings.seed,
        "significant_share": share,
        "min_concept_images": images,
        "blind": blind,
        "pool_order": settings.pool_order or pb.POOL_ORDER_RANDOM,
        "suggestions": settings.suggestions if settings.HasField("suggestions") else not blind,
        "contrastive": settings.contrastive if settings.HasField("contrastive") else True,
    }
