"""The rows that acts leave behind, and the statements that write them."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import JSON, Column, Executable, LargeBinary, Text, delete, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import bindparam
from sqlmodel import Session, select

from services.naming import tables
from services.naming.acts import Concept, Edits, Place
from services.naming.namings import NamingKey


@dataclass(frozen=True)
class Changes:
    """Rows to be written, of any number of acts of different namings."""

    acts: list[dict[str, Any]] = field(default_factory=list)
    namings: list[dict[str, Any]] = field(default_factory=list)
    made: list[dict[str, Any]] = field(default_factory=list)
    concepts: list[dict[str, Any]] = field(default_factory=list)
    left: list[dict[str, str]] = field(default_factory=list)
    placed: list[dict[str, Any]] = field(default_factory=list)

    def add(self, key: NamingKey, edits: Edits, made: str) -> None:
        """Adds what edits leave behind.

        Args:
            made: id of the concept that the act makes; empty for none. It must not be another's by then: the same id
                may have been chosen in two categories at once.
        """
        for concept_id, (_, concept) in edits.concepts.items():
            columns = {"name": concept.name, "place": concept.place, "standing": concept.standing}
            rows = self.made if concept_id == made else self.concepts
            rows.append(key.columns() | {"concept_id": concept_id} | columns)
        for id_, (_, place) in edits.placements.items():
            if place is None:
                self.left.append({"of_study": key.study_id, "of_annotator": key.annotator_id, "of_id": id_})
            else:
                columns = {
                    "concept_id": place.concept_id,
                    "reason": place.reason,
                    "position": place.position,
                }
                self.placed.append(key.columns() | {"activation_id": id_} | columns)

    def write(self, opened: Session) -> None:
        """Writes all of it, what others refer to first.

        Raises:
            IntegrityError: a request id or the id of a concept that an act makes is taken.
        """
        if not self.acts:
            return
        connection = opened.connection()
        if connection.dialect.name == "postgresql":
            logged = [row | {"command": b64encode(row["command"]).decode()} for row in self.acts]
            given = {put.rows: getattr(self, put.rows) for put in _PUTS} | {"acts": logged, "left": self.left}
            connection.execute(_at_once(), given)
            return
        for put in _PUTS:
            if rows := getattr(self, put.rows):
                connection.execute(_row_by_row(put), rows)
        if self.left:
            connection.execute(_DELETE_LEFT, self.left)


@dataclass(frozen=True)
class _Put:
    """Which rows go into which table, and whether they take the place of those that have their keys."""

    rows: str
    table: Any
    replaces: bool


_PUTS = (
    _Put("acts", tables.Act.__table__, replaces=False),
    _Put("namings", tables.Naming.__table__, replaces=True),
    _Put("made", tables.Concept.__table__, replaces=False),
    _Put("concepts", tables.Concept.__table__, replaces=True),
    _Put("placed", tables.Placement.__table__, replaces=True),
)
_PLACEMENT: Any = tables.Placement.__table__
_LEFT = ("of_study", "of_annotator", "of_id")  # keys of placements


def _delete_placements(keys: Any) -> Any:
    """Those of given keys, by the names in `_LEFT`."""
    of = zip(_PLACEMENT.primary_key, _LEFT, strict=True)
    return delete(_PLACEMENT).where(*(column == keys[name] for column, name in of))


_DELETE_LEFT = _delete_placements({name: bindparam(name) for name in _LEFT})


@cache
def _at_once() -> Executable:
    """For PostgreSQL all in one statement, the rows of a table as JSON: one text, kept prepared, for any number."""
    *first, last = map(_put_given, _PUTS)
    key = zip(_LEFT, _PLACEMENT.primary_key, strict=True)
    left = _given("left", [Column(name, column.type) for name, column in key])
    steps = [*first, _delete_placements(left.c)]
    return last.add_cte(*(one.cte(f"step_{number}") for number, one in enumerate(steps)))


def _given(name: str, columns: Iterable[Any]) -> Any:
    """A table of rows that are given as JSON, with bytes in base 64."""
    typed = (Column(one.name, Text() if isinstance(one.type, LargeBinary) else one.type) for one in columns)
    rows = func.json_to_recordset(bindparam(name, type_=JSON()))
    return rows.table_valued(*typed, name=f"{name}_given").render_derived(with_types=True)


def _put_given(put: _Put) -> Any:
    columns = put.table.columns
    given = _given(put.rows, columns)
    values = (
        func.decode(given.c[one.name], "base64") if isinstance(one.type, LargeBinary) else given.c[one.name]
        for one in columns
    )
    return _statement(put, postgresql.insert(put.table).from_select(columns.keys(), select(*values)))


@cache
def _row_by_row(put: _Put) -> Executable:
    statement = _statement(put, sqlite.insert(put.table))
    return statement.returning(put.table.c.study_id)  # so that many go in one statement


def _statement(put: _Put, insert: Any) -> Any:
    if not put.replaces:
        return insert
    table = put.table
    new = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=table.primary_key.columns, set_=new)


def as_json(edits: Edits) -> dict[str, Any]:
    """Edits as the row of their act holds them."""
    return {
        "concepts": {id_: [astuple(side) for side in sides] for id_, sides in edits.concepts.items()},
        "placements": {
            id_: [side and (side.concept_id, side.reason, side.position) for side in sides]
            for id_, sides in edits.placements.items()
        },
    }


def from_json(written: dict[str, Any]) -> Edits:
    """The edits of an act's row."""
    return Edits(
        {id_: (Concept(*before), Concept(*after)) for id_, (before, after) in written["concepts"].items()},
        {
            id_: (before and Place(*before), after and Place(*after))
            for id_, (before, after) in written["placements"].items()
        },
    )
