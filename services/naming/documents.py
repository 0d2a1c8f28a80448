"""Documents of namings (docs/namings-format.md): JSON and CSV read into one form, and what is written of each.

`python -m services.naming.documents` writes onoma/namings.schema.json, the JSON Schema of the form; a test fails when
it is out of date.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import onoma
from onoma.table_cells import as_it_was, guarded
from services.naming.names import shown
from services.runtime.errors import InvalidArgument

VERSION = 1
SCHEMA_FILE = Path(onoma.__file__).with_name("namings.schema.json")
COLUMNS = ("annotator", "category", "concept_id", "concept", "activation_id", "image_id", "discard_reason")
_NEEDED = {"annotator", "category", "activation_id"}
_PIECE = 1_000_000  # characters
_PILE = "the discard pile"

_Text = Annotated[str, Field(strict=True)]
# By annotator, category, whether it has an id, and id or name.
_Concepts = dict[tuple[str, str, bool, str], "Concept"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Concept(_Part):
    """A visual concept."""

    id: _Text = Field(
        "",
        description="Its id in the study it comes from; in an import, that of a concept to add to, if any.",
    )
    name: _Text = Field(description="In the annotator's words, at most 200 characters; may be empty.")
    activations: list[_Text] = Field(description="Ids of its activations, in the order they came in.")


class Naming(_Part):
    """One annotator's naming of one category. What is in neither list is in the pool."""

    concepts: list[Concept] = Field(description="In the order they were made.")
    discarded: list[_Text] = Field(default_factory=list, description="Ids of all discarded activations.")
    discard_reasons: dict[str, _Text] = Field(
        default_factory=dict,
        description="noise, background, too_few_alike or unclear, by activation id; where the annotator said why.",
    )


class Order(_Part):
    """The order in which an annotator was first shown the activations of each category."""

    kind: Literal["random", "image"] = Field(description="Each by itself, or image by image.")
    seed: _Text = Field(description="What the order is made of.")


class Document(_Part):
    """Namings of a study."""

    format: Literal["onoma-namings"]
    version: Literal[1]
    study: _Text = Field("", description="Id of the study that the namings come from.")
    annotators: dict[str, _Text] = Field(default_factory=dict, description="Display names, by annotator id.")
    orders: dict[str, Order] = Field(default_factory=dict, description="Orders shown, by annotator id.")
    namings: dict[str, dict[str, Naming]] = Field(
        description="By annotator id and category; those without an act are left out."
    )


def read_json(text: str) -> Document:
    """The document that a JSON text holds.

    Raises:
        InvalidArgument: it is none, or contradicts itself; says where.
    """
    try:
        document = Document.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:200] or "document"
        raise InvalidArgument(
            f"not a document of namings (onoma-namings, version {VERSION}; see docs/namings-format.md): "
            f"{where}: {first['msg']}"
        ) from error
    json.loads(text, object_pairs_hook=_check_keys)  # of keys that come twice the last one has counted
    _check_places(document)
    return document


def read_csv(text: str) -> Document:
    """The document that a table holds: annotators stand under their display names.

    Raises:
        InvalidArgument: a column is missing or unknown, a row says nothing that can be taken in, or the table
            contradicts itself; says which and where.
    """
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    document = Document(format="onoma-namings", version=VERSION, namings={})
    concepts: _Concepts = {}
    try:
        _check_columns(rows.fieldnames or ())
        for row in rows:
            if None in row or None in row.values():
                raise InvalidArgument(
                    f"line {rows.line_num} of the table has more or fewer cells than its first"
                )
            _take_row(
                document, concepts, {name: as_it_was(cell) for name, cell in row.items()}, rows.line_num
            )
    except csv.Error as error:
        raise InvalidArgument(
            f"what follows line {rows.line_num} of the table is not CSV: {error}"
        ) from error
    _check_places(document)
    return document


def _check_columns(names: Sequence[str]) -> None:
    known = f"its columns are {', '.join(COLUMNS)}"
    if missing := _NEEDED - set(names):
        raise InvalidArgument(f"the table has no column {shown(min(missing))}; {known}")
    for name, count in Counter(names).items():
        if name not in COLUMNS:
            raise InvalidArgument(f"the table has a column {shown(name)}, which says nothing here; {known}")
        if count > 1:
            raise InvalidArgument(f"the table has the column {name!r} twice; leave one out")


def _take_row(document: Document, concepts: _Concepts, row: dict[str, str], line: int) -> None:
    annotator, category, activation = row["annotator"], row["category"], row["activation_id"]
    concept_id, name, reason = (row.get(column, "") for column in ("concept_id", "concept", "discard_reason"))
    naming = document.namings.setdefault(annotator, {}).setdefault(category, Naming(concepts=[]))
    if (concept_id or name) and reason:
        raise InvalidArgument(
            f"line {line} of the table has a concept and a discard_reason; an activation is in a concept or discarded"
        )
    if concept_id or name:
        key = (annotator, category, bool(concept_id), concept_id or name)
        if key not in concepts:
            concepts[key] = Concept(id=concept_id, name=name, activations=[])
            naming.concepts.append(concepts[key])
        if concepts[key].name != name:
            raise InvalidArgument(
                f"line {line} of the table names concept {shown(concept_id)} {shown(name)}, and a line before it "
                f"{shown(concepts[key].name)}; give it one name in all its rows"
            )
        if activation:
            concepts[key].activations.append(activation)
    elif reason and activation:
        naming.discarded.append(activation)
        naming.discard_reasons[activation] = reason
    else:
        raise InvalidArgument(
            f"line {line} of the table names neither a concept nor an activation with a discard_reason; leave it out"
        )


def _check_keys(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) < len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise InvalidArgument(
            f"the document has the key {shown(twice)} twice in one object; put the two together"
        )


def _check_places(document: Document) -> None:
    for annotator, by_category in document.namings.items():
        for category, naming in by_category.items():
            _check_naming(naming, f"the naming of category {shown(category)} by {shown(annotator)}")


def _check_naming(naming: Naming, what: str) -> None:
    places: dict[str, str] = {}
    for activation, place in _mentions(naming):
        if activation in places:
            raise InvalidArgument(
                f"{what} has activation {shown(activation)} twice, in {places[activation]} and in {place}; "
                "leave one out"
            )
        places[activation] = place
    for activation in naming.discard_reasons:
        if places.get(activation) != _PILE:
            raise InvalidArgument(
                f"{what} has a discard reason for activation {shown(activation)}, which it does not discard; "
                "leave it out, or discard the activation"
            )


def _mentions(naming: Naming) -> Iterator[tuple[str, str]]:
    """Each activation and the place it is given."""
    for number, concept in enumerate(naming.concepts, start=1):
        place = f"concept {number} ({shown(concept.name)})"
        yield from ((activation, place) for activation in concept.activations)
    yield from ((activation, _PILE) for activation in naming.discarded)


def write_json(
    head: dict[str, Any], namings: Iterable[tuple[str, Iterable[tuple[str, dict[str, Any]]]]]
) -> Iterator[str]:
    """A document as JSON, naming by naming.

    Args:
        head: all of it but `namings`.
        namings: (annotator id, (category, naming)).
    """
    yield f'{_json(head)[:-1]}, "namings": {{'
    for place, (annotator_id, by_category) in enumerate(namings):
        yield f"{', ' if place else ''}{_json(annotator_id)}: {{"
        for index, (category, naming) in enumerate(by_category):
            yield f"{', ' if index else ''}{_json(category)}: {_json(naming)}"
        yield "}"
    yield "}}"


def write_csv(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A table, row by row, in which no spreadsheet finds a formula."""
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    quoting = csv.writer(written, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (COLUMNS, *rows):
        # Python before 3.13 leaves a carriage return bare unless it ends lines, and it would end one when read.
        writer = quoting if any("\r" in cell for cell in row) else table
        writer.writerow(map(guarded, row))
        yield written.getvalue()
        written.seek(0)
        written.truncate()


def pieces(texts: Iterable[str]) -> Iterator[str]:
    """The same text in pieces of at most a million characters, and not many more of them than needed."""
    waiting: list[str] = []
    length = 0
    for text in texts:
        for start in range(0, len(text), _PIECE):
            part = text[start : start + _PIECE]
            if length + len(part) > _PIECE:
                yield "".join(waiting)
                waiting, length = [], 0
            waiting.append(part)
            length += len(part)
    yield "".join(waiting)


def schema() -> dict[str, Any]:
    """JSON Schema of documents, in a draft that most readers know."""
    made = Document.model_json_schema(ref_template="#/definitions/{model}")
    definitions = made.pop("$defs")
    return {"$schema": "http://json-schema.org/draft-07/schema#", **made, "definitions": definitions}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    SCHEMA_FILE.write_text(json.dumps(schema(), indent=1) + "\n", encoding="utf-8")
