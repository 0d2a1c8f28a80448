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
    concepts: list[dict[str, Any]] = field(default_factory=list)
    left: list[dict[str, str]] = field(default_factory=list)
    placed: list[dict[str, Any]] = field(default_factory=list)

    def add(self, key: NamingKey, edits: Edits) -> None:
        """Adds what edits leave behind."""
        for concept_id, (_, concept) in edits.concepts.items():
            columns = {"name": concept.name, "place": concept.place, "standing": concept.standing}
            self.concepts.append(key.columns() | {"concept_id": concept_id} | columns)
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
        """Writes all of it, what others refer to first."""
        if not self.acts:
            return
        connection = opened.connection()
        rows = dict(zip(_TABLES, (self.acts, self.namings, self.concepts, self.placed), strict=True))
        if connection.dialect.name == "postgresql":
            logged = [row | {"command": b64encode(row["command"]).decode()} for row in self.acts]
            rows = rows | {_ACT: logged}
            given = {table.name: of_table for table, of_table in rows.items()}
            connection.execute(_at_once(), given | {"left": self.left})
            return
        for table, of_table in rows.items():
            if of_table:
                connection.execute(_row_by_row(table), of_table)
        if self.left:
            connection.execute(_DELETE_LEFT, self.left)


_TABLES: tuple[Any, ...] = tuple(
    model.__table__ for model in (tables.Act, tables.Naming, tables.Concept, tables.Placement)
)
_ACT, *_, _PLACEMENT = _TABLES
_LEFT = ("of_study", "of_annotator", "of_id")  # keys of placements


def _delete_placements(keys: Any) -> Any:
    """Those of given keys, by the names in `_LEFT`."""
    of = zip(_PLACEMENT.primary_key, _LEFT, strict=True)
    return delete(_PLACEMENT).where(*(column == keys[name] for column, name in of))


_DELETE_LEFT = _delete_placements({name: bindparam(name) for name in _LEFT})


@cache
def _at_once() -> Executable:
    """For PostgreSQL all in one statement, the rows of a table as JSON: one text, kept prepared, for any number."""
    *first, last = (_put_given(table) for table in _TABLES)
    key = zip(_LEFT, _PLACEMENT.primary_key, strict=True)
    left = _given("left", [Column(name, column.type) for name, column in key])
    steps = [*first, _delete_placements(left.c)]
    return last.add_cte(*(one.cte(f"step_{number}") for number, one in enumerate(steps)))


def _given(name: str, columns: Iterable[Any]) -> Any:
    """A table of rows that are given as JSON, with bytes in base 64."""
    typed = (Column(one.name, Text() if isinstance(one.type, LargeBinary) else one.type) for one in columns)
    rows = func.json_to_recordset(bindparam(name, type_=JSON()))
    return rows.table_valued(*typed, name=f"{name}_given").render_derived(with_types=True)


def _put_given(table: Any) -> Any:
    given = _given(table.name, table.columns)
    values = (
        func.decode(given.c[one.name], "base64") if isinstance(one.type, LargeBinary) else given.c[one.name]
        for one in table.columns
    )
    put = postgresql.insert(table).from_select(table.columns.keys(), select(*values))
    return _or_replace(put, table)


@cache
def _row_by_row(table: Any) -> Executable:
    put = _or_replace(sqlite.insert(table), table)
    return put.returning(table.c.study_id)  # so that many go in one statement


def _or_replace(put: Any, table: Any) -> Any:
    """Rows as they are now, in the place of what is there; of the log nothing is ever replaced."""
    if table is _ACT:
        return put
    new = {column.name: put.excluded[column.name] for column in table.columns if not column.primary_key}
    return put.on_conflict_do_update(index_elements=table.primary_key.columns, set_=new)


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
