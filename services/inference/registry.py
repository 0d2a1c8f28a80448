"""Rows that people find by name, and lists of them by page."""

import re
from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import Engine
from sqlmodel import Session, select

from services.inference import tables
from services.runtime.errors import Aborted, InvalidArgument, NotFound
from services.runtime.paging import checked_page_size, cut, read_token

_NAME = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9._-]{1,64}")
WHAT = {tables.Dataset: "data set", tables.Model: "model", tables.XnnSet: "set of xNNs"}
_COMMANDS = {tables.Dataset: "dataset", tables.Model: "model", tables.XnnSet: "xnn"}
# How they come, and what tells one from another of the same name.
_CONTENT = {
    tables.Dataset: ("imported", ("content_hash",)),
    tables.Model: ("registered", ("model_hash", "classes", "preprocessing", "attachment_layer")),
}

Named = TypeVar("Named", tables.Dataset, tables.Model, tables.XnnSet)


def check_name(name: str, what: str) -> str:
    """`name` itself.

    Raises:
        InvalidArgument: it is not 1 to 64 letters, digits, '.', '_' and '-'.
    """
    if not _NAME.fullmatch(name):
        shown = ascii(name if len(name) <= 80 else name[:80] + "...")
        raise InvalidArgument(f"{what} name {shown}: use 1 to 64 letters, digits, '.', '_' and '-'")
    return name


def find(engine: Engine, table: type[Named], name: str) -> Named:
    """The row of that name.

    Raises:
        NotFound: there is none.
    """
    check_name(name, WHAT[table])
    with Session(engine) as session:
        row = session.get(table, name)
    if row is None:
        raise not_found(table, name)
    return row


def check_there(opened: Session, *rows: tables.Dataset | tables.Model) -> None:
    """Returns where all of them are as they were read, and stay so until the transaction ends.

    Raises:
        NotFound: one was deleted.
        Aborted: another one has its name now.
    """
    for row in rows:
        found = opened.get(type(row), row.name, with_for_update={"read": True})
        if found is None:
            raise not_found(type(row), row.name)
        how, fields = _CONTENT[type(row)]
        if any(getattr(found, field) != getattr(row, field) for field in fields):
            raise Aborted(
                f"{WHAT[type(row)]} {row.name!r} was {how} anew in the meantime, as another one: start this again"
            )


def not_found(table: type[Named], name: str) -> NotFound:
    """What is said of a name that nothing has."""
    return NotFound(
        f"no {WHAT[table]} is named {name!r}; onoma {_COMMANDS[table]} list shows those there are"
    )


def page(engine: Engine, table: type[Named], page_size: int, token: str) -> tuple[Sequence[Named], str]:
    """Rows by name, and the token of the next page; empty on the last."""
    size = checked_page_size(page_size, default=100, largest=1000)
    query = select(table).order_by(table.name).limit(size + 1)
    if token:
        query = query.where(table.name > read_token(token, str)[0])
    with Session(engine) as session:
        rows = session.exec(query).all()
    return cut(rows, size, lambda row: (row.name,))
