"""The log and the state it folds into, over random acts."""

import contextlib
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from random import Random
from unittest import mock

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, col, select

from onoma.client.namings import after
from onoma.v1 import naming_pb2 as pb
from services.naming import act_rows, acts, changes, ledger, namings
from services.naming.ledger import Asked
from services.naming.namings import UNTOUCHED, Held, NamingKey
from services.naming.tables import Act, Annotator, Concept, Naming, Placement, Study, StudyActivation
from services.naming.writer import Writer
from services.runtime.database import open_database, session
from services.runtime.errors import Aborted, ServiceError
from tests.services.naming.conftest import ACTIVATIONS, create

IDS = ACTIVATIONS["boat"][:6]
KINDS = [
    *("create", "assign", "split", "merge", "undo", "redo") * 2,
    *("rename", "unassign", "discard", "delete", "assign"),
]


@dataclass(frozen=True)
class Intent:
    """An act to be: it is made to fit the naming that it meets, most of the time."""

    kind: str
    first: int
    second: int
    ids: list[str]
    name: str
    behind: int  # how far its revision is behind; -1 is from the future
    fate: str  # "" or what happens to it the first time: "killed" before its commit, or its "reply lost" after it

    def command(self, concepts):
        """The command, over concepts that stand as {id: activations}."""
        standing = list(concepts) or ["none"]
        concept, other = (standing[number % len(standing)] for number in (self.first, self.second))
        new = f"c{self.first}"
        ids = self.ids or [IDS[self.first % len(IDS)]]
        match self.kind:
            case "create":
                return pb.Command(
                    create=pb.CreateConcept(concept_id=new, name=self.name, activation_ids=self.ids)
                )
            case "rename":
                return pb.Command(rename=pb.RenameConcept(concept_id=concept, name=self.name))
            case "assign":
                return pb.Command(assign=pb.AssignActivations(concept_id=concept, activation_ids=ids))
            case "unassign":
                return pb.Command(unassign=pb.UnassignActivations(activation_ids=ids))
            case "discard":
                return pb.Command(discard=pb.DiscardActivations(activation_ids=ids, reason=self.second % 5))
            case "merge":
                return pb.Command(merge=pb.MergeConcepts(source_concept_id=concept, target_concept_id=other))
            case "split":
                part = concepts.get(concept, ids)[: 1 + self.second % 3]
                split = pb.SplitConcept(
                    concept_id=concept, new_concept_id=new, name=self.name, activation_ids=part
                )
                return pb.Command(split=split)
            case "delete":
                return pb.Command(delete=pb.DeleteConcept(concept_id=concept))
            case "undo":
                return pb.Command(undo=pb.UndoAct())
        return pb.Command(redo=pb.RedoAct())


def some_messages(seed, count):
    """Intents, well mixed; None stands for the request before, sent again."""
    random = Random(seed)

    def message():
        if random.random() < 0.15:
            return None
        return Intent(
            kind=random.choice(KINDS),
            first=random.randrange(50),
            second=random.randrange(50),
            ids=random.sample(IDS, random.randrange(5)),
            name=random.choice(["", "bow", "e\u0301toile"]),
            behind=random.choice([0] * 8 + [1, -1]),
            fate=random.choice([""] * 6 + ["killed", "reply lost"]),
        )

    return [message() for _ in range(count)]


# Seeds rather than lists: drawn one by one, most acts would meet an empty naming and be refused.
sent = st.builds(some_messages, seed=st.integers(0, 2**32), count=st.integers(10, 40))


@pytest.fixture
def engine(clean_database):
    engine = open_database(clean_database, "naming")
    yield engine
    engine.dispose()


def new_naming(engine):
    """A key of an open study's untouched naming."""
    study_id = uuid.uuid4().hex
    with session(engine) as opened:
        opened.add(
            Study(
                study_id=study_id,
                name="s",
                model="m",
                dataset="d",
                part="test",
                xnn_set="x",
                categories=["boat"],
                settings={"seed": 0},
                state="open",
                create_time=0,
                request_hash="",
            )
        )
        opened.flush()
        opened.add(
            Annotator(study_id=study_id, annotator_id="ada", place=0, display_name="Ada", role="annotator")
        )
        opened.add_all(
            StudyActivation(study_id=study_id, activation_id=id_, category="boat", image_id="i")
            for id_ in IDS
        )
    return NamingKey(study_id, "ada", "boat")


def act(engine, key, request_id, base_revision, command):
    take_alone(engine, Asked(key, request_id, base_revision, command))


def take_alone(engine, asked):
    """Takes one act by itself, with no memory of its naming; raises what refuses it."""
    [answer] = ledger.act_all(engine, [asked], {})
    if isinstance(answer, ServiceError):
        raise answer
    return answer


class Killed(Exception):
    """The process ended."""


@contextlib.contextmanager
def killed_before_the_commit():
    """What writes an act dies when all of it is written and nothing committed."""
    write = act_rows.Changes.write

    def dying(*arguments):
        write(*arguments)
        raise Killed

    with mock.patch.object(act_rows.Changes, "write", dying), contextlib.suppress(Killed):
        yield


def send_all(engine, key, messages, take=None):
    """Sends acts, each of which is taken once or refused; returns the revision after them.

    Args:
        take: takes one as `Asked`, in place of the ledger.
    """
    take = take or (lambda asked: take_alone(engine, asked))
    revision, last = 0, Asked(key, "first", 0, pb.Command(create=pb.CreateConcept(concept_id="first")))
    for message in messages:
        if message is not None:
            command = message.command({c.concept_id: list(c.activation_ids) for c in visible(engine, key)[0]})
            last = Asked(key, uuid.uuid4().hex, revision - message.behind, command)
        if message is not None and message.fate == "killed":
            before = state_bytes(key, *tables_of(engine, key))
            with killed_before_the_commit(), contextlib.suppress(ServiceError):
                take(last)
            assert state_bytes(key, *tables_of(engine, key)) == before
        for _ in range(2 if message is not None and message.fate == "reply lost" else 1):
            with contextlib.suppress(ServiceError):
                check_changes(key, take(last))
        with Session(engine) as opened:
            now = namings.revision(opened, key)
        assert now in (revision, revision + (message is not None or revision == 0))
        revision = now
    return revision


def check_changes(key, done):
    """What is told of an act leads to the naming after it, from before it and from before the first act, too."""
    present = namings.message(key, done.held, done.shown_in)
    for before in (UNTOUCHED, done.before or UNTOUCHED):
        told = changes.change(before, done.held, done.shown_in)
        assert after(namings.message(key, before, done.shown_in), told) == present


def state_bytes(key, counts, concepts, placements):
    """All that there is of a naming, as bytes: its message, and the concepts that ended."""
    state = acts.State(counts[0], concepts, placements)
    message = namings.message(key, Held(state, *counts[1:]), IDS).SerializeToString(deterministic=True)
    parts = [{id_: astuple(part) for id_, part in some.items()} for some in (concepts, placements)]
    return message + json.dumps(parts, sort_keys=True).encode()


def replayed(engine, key):
    """The state that the log alone gives."""
    with Session(engine) as opened:
        logged, token = ledger.page(opened, key, 0, "")
    assert token == ""
    state = acts.State()
    for entry in logged:
        state, _ = acts.apply(state, entry.command)
        assert state.revision == entry.revision
    return state


def tables_of(engine, key):
    """What the tables hold of a naming, in the form of `acts.State`."""
    with Session(engine) as opened:
        naming = opened.get(Naming, key.row())
        concepts = opened.exec(select(Concept).where(Concept.study_id == key.study_id)).all()
        placements = opened.exec(select(Placement).where(Placement.study_id == key.study_id)).all()
    counts = (naming.revision, naming.undo_count, naming.redo_count) if naming else (0, 0, 0)
    return (
        counts,
        {row.concept_id: acts.Concept(row.name, row.place, row.standing) for row in concepts},
        {row.activation_id: acts.Place(row.concept_id, row.reason, row.position) for row in placements},
    )


def visible(engine, key):
    """All of a naming but its revision and its counts."""
    with Session(engine) as opened:
        naming = namings.read(opened, opened.get(Study, key.study_id), key)
    return naming.concepts, naming.discards, naming.pool


quick = settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(params=["the ledger", "the writer"])
def take(request, engine):
    """Takes acts one by one: without a memory of the naming, and with one that outlives what is killed."""
    if request.param == "the ledger":
        yield lambda asked: take_alone(engine, asked)
        return
    started = Writer(engine)
    yield started.act
    started.close()


@quick
@given(messages=sent)
def test_replaying_the_log_gives_the_tables_byte_for_byte(engine, take, messages):
    key = new_naming(engine)
    revision = send_all(engine, key, messages, take)
    state = replayed(engine, key)
    assert state.revision == revision
    counts = (state.revision, len(state.done), len(state.undone))
    from_the_log = state_bytes(key, counts, state.concepts, state.placements)
    assert from_the_log == state_bytes(key, *tables_of(engine, key))


def test_random_acts_are_taken_refused_killed_and_sent_again(engine):
    key = new_naming(engine)
    messages = [message for seed in range(5) for message in some_messages(seed, 40)]
    assert {message.fate if message else "again" for message in messages} == {
        "",
        "killed",
        "reply lost",
        "again",
    }
    revision = send_all(engine, key, messages)
    assert len(messages) / 4 < revision < len(messages)


@quick
@given(messages=sent)
def test_undoing_all_and_redoing_all_comes_back_to_the_same(engine, messages):
    """And in each state on the way an activation is in one place only."""
    key = new_naming(engine)
    untouched = visible(engine, key)
    revision = send_all(engine, key, messages)
    (_, undo_count, _), *_ = tables_of(engine, key)
    states = []
    for step in range(undo_count):
        states.append(visible(engine, key))
        act(engine, key, uuid.uuid4().hex, revision + step, pb.Command(undo=pb.UndoAct()))
    assert visible(engine, key) == untouched
    for concepts, discards, pool in [untouched, *states]:
        placed = [id_ for pile in (*concepts, *discards) for id_ in pile.activation_ids]
        assert sorted([*placed, *pool]) == IDS
    for step, state in enumerate(reversed(states)):
        command = pb.Command(redo=pb.RedoAct())
        act(engine, key, uuid.uuid4().hex, revision + undo_count + step, command)
        assert visible(engine, key) == state


@given(messages=sent)
def test_an_acts_inverse_takes_it_back(messages):
    state = acts.State()
    for message in filter(None, messages):
        standing = {
            id_: acts.members(state, id_) for id_, concept in state.concepts.items() if concept.standing
        }
        try:
            after, edits = acts.apply(state, message.command(standing))
        except ServiceError:
            continue
        inverse = edits.inverse()
        taken_back = {**after.placements, **{id_: before for id_, (_, before) in inverse.placements.items()}}
        assert {id_: place for id_, place in taken_back.items() if place} == state.placements
        for id_, (_, before) in inverse.concepts.items():
            assert before == state.concepts.get(id_, replace(after.concepts[id_], standing=False))
        state = after


def test_an_act_whose_reply_was_lost_is_one_row_when_sent_again(engine):
    key = new_naming(engine)
    request = ("r", 0, pb.Command(create=pb.CreateConcept(concept_id="c0", activation_ids=IDS[:2])))
    for _ in range(3):
        act(engine, key, *request)
    with Session(engine) as opened:
        rows = opened.exec(select(Act).where(Act.study_id == key.study_id, col(Act.request_id) == "r")).all()
    assert len(rows) == 1


def test_an_act_that_dies_before_its_commit_leaves_nothing(engine):
    key = new_naming(engine)
    request = ("r", 0, pb.Command(create=pb.CreateConcept(concept_id="c0", activation_ids=IDS[:2])))
    with killed_before_the_commit():
        act(engine, key, *request)
        pytest.fail("it did not die")
    assert tables_of(engine, key) == ((0, 0, 0), {}, {})
    act(engine, key, *request)
    assert tables_of(engine, key)[0] == (1, 1, 0)


def test_eight_at_once_lose_nothing(server, study):
    desks = [server.desk(study.study_id, f"annotator {i}") for i in range(8)]

    def name_all(number):
        desk = desks[number]
        for step, activation in enumerate(ACTIVATIONS["boat"]):
            desk.act(base_revision=step, **create(f"{number}-{step}", [activation], f"name {step}"))
        return desk.naming()

    with ThreadPoolExecutor(8) as threads:
        for number, naming in enumerate(threads.map(name_all, range(8))):
            assert naming.revision == 12
            assert [(c.concept_id, list(c.activation_ids)) for c in naming.concepts] == [
                (f"{number}-{step}", [activation]) for step, activation in enumerate(ACTIVATIONS["boat"])
            ]


def test_of_two_tabs_that_act_at_once_one_is_told(desk):
    def act(number):
        try:
            return desk.act(base_revision=0, **create(f"c{number}")).revision
        except grpc.RpcError as error:
            return error.code()

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(act, range(4)))
    assert sorted(map(str, answers)) == sorted(["1", *[str(grpc.StatusCode.ABORTED)] * 3])


def test_one_request_sent_by_several_at_once_is_one_act(desk):
    with ThreadPoolExecutor(4) as threads:
        answers = list(
            threads.map(lambda _: desk.act(request_id="r", base_revision=0, **create("c")), range(4))
        )
    assert {answer.revision for answer in answers} == {1}
    assert len(desk.acts().acts) == 1


def test_a_stale_act_carries_the_naming(engine):
    key = new_naming(engine)
    act(engine, key, "r1", 0, pb.Command(create=pb.CreateConcept(concept_id="c0")))
    with pytest.raises(Aborted) as caught:
        act(engine, key, "r2", 0, pb.Command(create=pb.CreateConcept(concept_id="c1")))
    assert [concept.concept_id for concept in caught.value.present.concepts] == ["c0"]
