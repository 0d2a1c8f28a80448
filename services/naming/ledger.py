"""The log of acts and the state it folds into: acts of many namings are taken in one transaction."""

import time
import uuid
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, func, insert, tuple_
from sqlalchemy.sql import bindparam
from sqlmodel import Session, col, select

from onoma.v1 import naming_pb2 as pb
from services.naming import acts, namings, studies
from services.naming.act_rows import Changes, as_json, from_json
from services.naming.acts import Edits
from services.naming.names import checked_id, shown
from services.naming.namings import UNTOUCHED, Held, NamingKey
from services.naming.tables import (
    ANNOTATOR,
    Act,
    Annotator,
    Concept,
    Naming,
    Study,
    StudyActivation,
)
from services.naming.transactions import transact
from services.runtime import paging
from services.runtime.errors import Aborted, InvalidArgument, NotFound, ServiceError, Unavailable

# Activations of categories, kept because each act needs them. Their keys name all that they depend on.
_activations: dict[tuple[str, str, int], frozenset[str]] = {}
_MAX_CATEGORIES = 256
_MAX_PAGE_BYTES = 8 * 1024 * 1024  # of the commands on one page of the log

# Statements of each batch, built once.
_BY_NAMING = (col(Naming.study_id), col(Naming.annotator_id), col(Naming.category))
_NAMINGS = (
    select(*_BY_NAMING, Naming.revision)
    .where(tuple_(*_BY_NAMING).in_(bindparam("keys", expanding=True)))
    .order_by(*_BY_NAMING)
    .with_for_update()
)
_STUDIES = (
    select(Study)
    .where(col(Study.study_id).in_(bindparam("ids", expanding=True)))
    .order_by(Study.study_id)
    .with_for_update(read=True, skip_locked=True)
)
_BY_REQUEST = (col(Act.study_id), col(Act.annotator_id), col(Act.request_id))
_REQUESTS = select(*_BY_REQUEST, Act.category, Act.revision, Act.command).where(
    tuple_(*_BY_REQUEST).in_(bindparam("requests", expanding=True))
)
_BY_CONCEPT = (col(Concept.study_id), col(Concept.annotator_id), col(Concept.concept_id))
_CONCEPTS = select(*_BY_CONCEPT).where(tuple_(*_BY_CONCEPT).in_(bindparam("chosen", expanding=True)))
_OF_ACT = (col(Act.study_id), col(Act.annotator_id), col(Act.category))
_LATEST = (
    select(*_OF_ACT, func.max(Act.revision))
    .where(tuple_(*_OF_ACT, col(Act.depth)).in_(bindparam("depths", expanding=True)))
    .group_by(*_OF_ACT)
)
_EDITS = select(*_OF_ACT, Act.edits).where(tuple_(*_OF_ACT, col(Act.revision)).in_(_LATEST))


class StudyBusy(Unavailable):
    """Somebody else keeps the study, for an import say; on PostgreSQL, for SQLite's writers wait for each other."""


@dataclass(frozen=True)
class Asked:
    """An act that somebody wants done."""

    key: NamingKey
    request_id: str
    base_revision: int
    command: pb.Command


@dataclass(frozen=True)
class Done:
    """What came of an act.

    Attributes:
        held: the naming as it stands.
        shown_in: its category's activations in the order that the annotator sees them.
        before: the naming before the act; None where that had been taken before.
    """

    held: Held
    shown_in: Sequence[str]
    before: Held | None = None


def act_all(
    engine: Engine, asked: Sequence[Asked], kept: MutableMapping[NamingKey, Held]
) -> list[Done | ServiceError]:
    """Takes acts of different namings into the log and the state in one transaction; each is done or refused by itself.

    One whose request id is there already changes nothing. The request id stands for the category and the command: a
    client that had no answer may send them again, against whatever revision it sees by then, also when the study has
    been closed since.

    Args:
        asked: at most one act of each naming.
        kept: namings as they were last known, to spare reading them; those that changed are put in.
    Returns:
        What came of each act, in their order; of one that was refused the error:
        Aborted: the naming has gone on since `base_revision`; carries the naming as it stands.
        FailedPrecondition: the study takes no acts, or there is nothing to undo or redo.
        InvalidArgument, NotFound, AlreadyExists, ResourceExhausted: the command cannot be; see `acts.apply`.
        StudyBusy: the study is being changed; the acts of other studies do not wait for that.
    Raises:
        IntegrityError: one of several acts has a request id that was used for another act, or makes a concept with an
            id that another act is making in another category; none is done.
    """

    def work(opened: Session) -> list[Done | ServiceError]:
        batch = _Batch(opened, asked, kept)
        answers = [batch.answer(one) for one in asked]
        batch.changes.write(opened)
        return answers

    answers = transact(engine, work)
    kept.update(
        {one.key: done.held for one, done in zip(asked, answers, strict=True) if isinstance(done, Done)}
    )
    return answers


def record_all(opened: Session, study: Study, key: NamingKey, commands: Sequence[pb.Command]) -> None:
    """Takes commands on one naming, one after another, into a transaction that is under way."""
    locked(opened, [key])
    held = namings.load(opened, key)
    for command in commands:
        asked = Asked(key, uuid.uuid4().hex, held.state.revision, command)
        needs = _Needs(opened, {key: held}, [asked])
        changes = Changes()
        held = _taken(opened, study, held, asked, needs, changes)
        changes.write(opened)


def locked(opened: Session, keys: Sequence[NamingKey]) -> dict[NamingKey, int]:
    """Revisions of namings, made where they are missing, and kept from other acts until the transaction ends.

    Those of people who are no annotators of the study are left out.
    """
    rows = opened.connection().execute(_NAMINGS, {"keys": [key.row() for key in keys]})
    revisions = {NamingKey(*key): revision for *key, revision in rows}
    missing = _of_annotators(opened, [key for key in keys if key not in revisions])
    if missing:
        zeros = {"revision": 0, "undo_count": 0, "redo_count": 0}
        # In one order, so that two replicas cannot wait for each other.
        opened.execute(
            insert(Naming.__table__), [key.columns() | zeros for key in sorted(missing, key=NamingKey.row)]
        )
    return revisions | dict.fromkeys(missing, 0)


def _of_annotators(opened: Session, keys: Sequence[NamingKey]) -> list[NamingKey]:
    if not keys:
        return []
    columns = (col(Annotator.study_id), col(Annotator.annotator_id))
    asked = {(key.study_id, key.annotator_id) for key in keys}
    query = select(*columns).where(tuple_(*columns).in_(asked), Annotator.role == ANNOTATOR)
    known = set(map(tuple, opened.connection().execute(query)))
    return [key for key in keys if (key.study_id, key.annotator_id) in known]


def page(opened: Session, key: NamingKey, page_size: int, page_token: str) -> tuple[list[pb.LoggedAct], str]:
    """Acts of the log, oldest first, and the token of the next page; empty on the last.

    A page has fewer acts than asked for where they are large: a message has to hold it, and so has memory.
    """
    size = paging.checked_page_size(page_size, default=1_000, largest=10_000)
    after = paging.read_token(page_token, int)[0] if page_token else 0
    query = select(Act.revision, Act.request_id, Act.command, Act.time).where(
        *_of_naming(key), Act.revision > after
    )
    logged: list[pb.LoggedAct] = []
    size_bytes = 0
    few_at_once = {"yield_per": 20}
    with opened.exec(
        query.order_by(col(Act.revision)).limit(size + 1), execution_options=few_at_once
    ) as rows:
        for revision, request_id, command, seconds in rows:
            size_bytes += len(command)
            if logged and (len(logged) == size or size_bytes > _MAX_PAGE_BYTES):
                return logged, paging.make_token(logged[-1].revision)
            entry = pb.LoggedAct(
                revision=revision, request_id=request_id, command=pb.Command.FromString(command)
            )
            entry.time.FromDatetime(datetime.fromtimestamp(seconds, UTC))
            logged.append(entry)
    return logged, ""


class _Batch:
    """What acts of one transaction need, read and locked together, and what they change."""

    def __init__(self, opened: Session, asked: Sequence[Asked], kept: Mapping[NamingKey, Held]) -> None:
        self.changes = Changes()
        self._opened = opened
        self._studies = self._locked_studies(asked)
        known = [
            one.key
            for one in asked
            if (study := self._studies.get(one.key.study_id))
            and "\0" not in one.key.annotator_id
            and one.key.category in study.categories
        ]
        revisions = locked(opened, known) if known else {}
        fits = [one for one in asked if one.key in revisions]
        # Only now, under the lock: the same request may be under way. A request that comes again is against a revision
        # that has passed. Where it is not, its id was used for something else: it cannot be inserted among others, and
        # is taken alone (Writer).
        again = [one for one in fits if len(asked) == 1 or one.base_revision != revisions[one.key]]
        self._logged = self._acts_of(again) if again else {}
        self._held = {
            key: held
            if (held := kept.get(key, UNTOUCHED)).state.revision == revision
            else namings.load(opened, key)
            for key, revision in revisions.items()
        }
        self._needs = _Needs(opened, self._held, fits)

    def answer(self, asked: Asked) -> Done | ServiceError:
        """What comes of an act."""
        try:
            return self._done(asked)
        except ServiceError as error:
            return error

    def _done(self, asked: Asked) -> Done:
        key = asked.key
        checked_id(asked.request_id, "request id")
        if key not in self._held:
            namings.check_key(self._opened, key)
            raise StudyBusy("the study is being changed (an import, say); try again")
        study, held = self._studies[key.study_id], self._held[key]
        revision = held.state.revision
        shown_in = namings.order(self._opened, study, key)
        if logged := self._logged.get((key.study_id, key.annotator_id, asked.request_id)):
            _check_same(asked, *logged)
            return Done(held, shown_in)
        studies.check_open(study)
        if not 0 <= asked.base_revision <= revision:
            raise InvalidArgument(
                f"base_revision {asked.base_revision} does not exist: the naming is at revision {revision}; "
                "read it anew (GetNaming)",
                "UNKNOWN_REVISION",
            )
        if asked.base_revision < revision:
            raise Aborted(
                f"the naming is at revision {revision}, the act was made against {asked.base_revision}; "
                "look at the present naming and act again",
                present=namings.message(key, held, shown_in),
                reason="STALE_REVISION",
            )
        return Done(_taken(self._opened, study, held, asked, self._needs, self.changes), shown_in, held)

    def _locked_studies(self, asked: Sequence[Asked]) -> dict[str, Study]:
        """The studies, kept in their state until the transaction ends; without those that somebody else keeps."""
        ids = {one.key.study_id for one in asked if "\0" not in one.key.study_id}
        return {study.study_id: study for study in self._opened.exec(_STUDIES, params={"ids": ids})}

    def _acts_of(self, asked: Sequence[Asked]) -> dict[tuple[str, str, str], tuple[str, int, bytes]]:
        """Category, revision and command of those requests that are in the log."""
        requests = [
            (one.key.study_id, one.key.annotator_id, one.request_id)
            for one in asked
            if "\0" not in one.request_id
        ]
        rows = self._opened.connection().execute(_REQUESTS, {"requests": requests})
        return {
            (study_id, annotator_id, request_id): (category, revision, command)
            for study_id, annotator_id, request_id, category, revision, command in rows
        }


class _Needs:
    """What the commands of some acts refer to beyond their namings, read in one statement each.

    Attributes:
        edits: of the act that an undo takes back, or a redo brings back, by naming.
        used: those of the ids chosen for new concepts that are taken: (study, annotator, concept).
    """

    def __init__(self, opened: Session, held: Mapping[NamingKey, Held], asked: Sequence[Asked]) -> None:
        depths = [
            (*one.key.row(), depth) for one in asked if (depth := _depth(held[one.key], one.command)) > 0
        ]
        chosen = [
            (one.key.study_id, one.key.annotator_id, id_)
            for one in asked
            if one.command.WhichOneof("command")
            and "\0" not in (id_ := acts.new_concept(one.command))
            and id_
        ]
        self.edits = _edits_at(opened, depths) if depths else {}
        taken = opened.connection().execute(_CONCEPTS, {"chosen": chosen}) if chosen else ()
        self.used = set(map(tuple, taken))


def _depth(held: Held, command: pb.Command) -> int:
    """Where in the stack the act lies that an undo or a redo concerns; 0 where there is none."""
    match command.WhichOneof("command"):
        case "undo":
            return held.undo_count
        case "redo":
            return held.undo_count + 1 if held.redo_count else 0
    return 0


def _check_same(asked: Asked, category: str, revision: int, command: bytes) -> None:
    if category != asked.key.category or command != _serialised(asked.command):
        raise InvalidArgument(
            f"request id {shown(asked.request_id)} was used for the act that made revision {revision} of category "
            f"{shown(category)}, with other content; send a new request id",
            "REQUEST_ID_REUSED",
        )


def _taken(opened: Session, study: Study, held: Held, asked: Asked, needs: _Needs, changes: Changes) -> Held:
    """The naming after an act; what it changes is added to `changes`."""
    key, command = asked.key, asked.command
    kind = acts.kind_of(command)
    state = held.state
    if key in needs.edits:
        stack = (needs.edits[key],)
        state = replace(state, done=stack) if kind == "undo" else replace(state, undone=stack)
    _check_activations(opened, study, key, acts.named_activations(command))
    chosen = acts.new_concept(command)
    if (key.study_id, key.annotator_id, chosen) in needs.used:
        raise acts.already_used(chosen)
    after, edits = acts.apply(state, command)
    depth = 0
    undo_count, redo_count = held.undo_count + 1, 0
    if kind == "undo":
        undo_count, redo_count = held.undo_count - 1, held.redo_count + 1
    elif kind == "redo":
        redo_count = held.redo_count - 1
    else:
        depth = undo_count
    changes.acts.append(
        key.columns()
        | {
            "revision": after.revision,
            "request_id": asked.request_id,
            "command": _serialised(command),
            "edits": as_json(edits) if depth else {},
            "depth": depth,
            "time": time.time(),
        }
    )
    changes.namings.append(
        key.columns() | {"revision": after.revision, "undo_count": undo_count, "redo_count": redo_count}
    )
    changes.add(key, edits, chosen)
    # Those that ended are in the tables, where `_Needs` finds their ids; an undo's edits hold what it brings back.
    standing = {id_: concept for id_, concept in after.concepts.items() if concept.standing}
    return Held(replace(after, concepts=standing, done=(), undone=()), undo_count, redo_count)


def _check_activations(opened: Session, study: Study, key: NamingKey, activation_ids: Sequence[str]) -> None:
    of_category = (key.study_id, key.category, study.activation_revision)
    known = _activations.get(of_category)
    if known is None:
        query = select(StudyActivation.activation_id).where(
            StudyActivation.study_id == key.study_id, StudyActivation.category == key.category
        )
        if len(_activations) >= _MAX_CATEGORIES:
            _activations.clear()
        known = _activations[of_category] = frozenset(opened.exec(query))
    unknown = [id_ for id_ in activation_ids if id_ not in known]
    if unknown:
        more = f" (nor {len(unknown) - 1} others that the act names)" if len(unknown) > 1 else ""
        raise NotFound(f"category {shown(key.category)} has no activation {shown(unknown[0])}{more}")


def _edits_at(opened: Session, depths: Sequence[tuple[str, str, str, int]]) -> dict[NamingKey, Edits]:
    """Edits of the latest act at a depth of each naming: (study, annotator, category, depth)."""
    rows = opened.connection().execute(_EDITS, {"depths": depths})
    return {NamingKey(*key): from_json(written) for *key, written in rows}


def _of_naming(key: NamingKey) -> tuple[Any, ...]:
    return (
        Act.study_id == key.study_id,
        Act.annotator_id == key.annotator_id,
        Act.category == key.category,
    )


def _serialised(command: pb.Command) -> bytes:
    return bytes(command.SerializeToString(deterministic=True))
