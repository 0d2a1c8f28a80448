"""Acts that are taken together: each by itself, the memory never believed against the database."""

import contextlib
import queue
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from onoma.v1 import naming_pb2 as pb
from services.naming import acts, ledger, namings, studies, writer
from services.naming.act_rows import Changes
from services.naming.ledger import Asked, Done
from services.naming.namings import Held, NamingKey
from services.naming.tables import Annotator, Study, StudyActivation
from services.naming.writer import Writer
from services.runtime.database import open_database, session
from services.runtime.errors import Aborted, AlreadyExists, InvalidArgument, NotFound, Unavailable
from tests.services.naming.test_ledger import IDS, new_naming, quick, replayed, some_messages, take_alone


@pytest.fixture
def engine(clean_database):
    engine = open_database(clean_database, "naming")
    yield engine
    engine.dispose()


def create(concept_id, ids=()):
    return pb.Command(create=pb.CreateConcept(concept_id=concept_id, activation_ids=ids))


def three(engine):
    """Keys of three annotators' untouched namings of one category."""
    first = new_naming(engine)
    with session(engine) as opened:
        for place, name in enumerate(("bo", "cy"), start=1):
            opened.add(
                Annotator(
                    study_id=first.study_id,
                    annotator_id=name,
                    place=place,
                    display_name=name,
                    role="annotator",
                )
            )
    return [first, *(NamingKey(first.study_id, name, first.category) for name in ("bo", "cy"))]


def stored(engine, key):
    with Session(engine) as opened:
        return namings.load(opened, key)


def visible(held):
    """A naming without the concepts that ended."""
    standing = {id_: concept for id_, concept in held.state.concepts.items() if concept.standing}
    return held.state.revision, standing, dict(held.state.placements), held.undo_count, held.redo_count


def test_one_that_is_refused_does_not_disturb_the_others(engine):
    keys = three(engine)
    asked = [
        Asked(keys[0], "a", 0, create("c1", IDS[:2])),
        Asked(keys[1], "b", 0, create("c1", ["nowhere"])),
        Asked(keys[2], "c", 5, create("c1", IDS[:2])),
    ]
    done, unknown, future = ledger.act_all(engine, asked, {})
    assert isinstance(done, Done)
    assert isinstance(unknown, NotFound)
    assert "base_revision 5" in str(future)
    assert [stored(engine, key).state.revision for key in keys] == [1, 0, 0]


@quick
@given(seeds=st.tuples(*[st.integers(0, 2**32)] * 3))
def test_batches_with_a_memory_give_what_the_log_says(engine, seeds):
    keys, kept = three(engine), {}
    rounds = zip(*(some_messages(seed, 12) for seed in seeds), strict=True)
    for messages in rounds:
        asked = []
        for key, message in zip(keys, messages, strict=True):
            if message is None:
                continue
            state = kept.get(key, namings.UNTOUCHED).state
            concepts = {id_: acts.members(state, id_) for id_, one in state.concepts.items() if one.standing}
            command = message.command(concepts)
            asked.append(Asked(key, uuid.uuid4().hex, state.revision - message.behind, command))
        if asked:
            ledger.act_all(engine, asked, kept)
    for key in keys:
        held = kept.get(key, namings.UNTOUCHED)
        assert visible(held) == visible(stored(engine, key))
        state = replayed(engine, key)
        assert visible(Held(state, len(state.done), len(state.undone))) == visible(held)


def test_what_another_replica_did_is_read_anew(engine):
    key, kept = new_naming(engine), {}
    ledger.act_all(engine, [Asked(key, "a", 0, create("c1", IDS[:1]))], kept)
    take_alone(engine, Asked(key, "b", 1, create("c2", IDS[1:2])))
    [stale] = ledger.act_all(engine, [Asked(key, "c", 1, create("c3"))], kept)
    assert isinstance(stale, Aborted)
    assert [concept.concept_id for concept in stale.present.concepts] == ["c1", "c2"]
    [done] = ledger.act_all(engine, [Asked(key, "d", 2, create("c3"))], kept)
    assert visible(done.held) == visible(stored(engine, key))


def test_a_batch_that_the_database_refuses_is_done_one_by_one(engine, monkeypatch):
    keys = three(engine)
    act_all = ledger.act_all

    def refusing(engine, asked, kept):
        if len(asked) > 1:
            raise IntegrityError("two of them", {}, Exception())
        return act_all(engine, asked, kept)

    monkeypatch.setattr(ledger, "act_all", refusing)
    started = Writer(engine)
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda key: started.act(Asked(key, "a", 0, create("c1"))), keys))
    started.close()
    assert [answer.held.state.revision for answer in answers] == [1, 1, 1]


def test_a_request_id_that_was_used_before_disturbs_nobody_else(engine):
    keys, started = three(engine), Writer(engine)
    started.act(Asked(keys[0], "a", 0, create("c1")))
    started.act(Asked(keys[1], "a", 0, create("c1")))
    asked = [
        Asked(keys[0], "a", 1, create("c2")),
        Asked(keys[1], "b", 1, create("c2")),
        Asked(keys[2], "c", 0, create("c1")),
    ]
    with pytest.raises(
        IntegrityError
    ):  # it is found out by the database: acts of a batch are not looked for in the log
        ledger.act_all(engine, asked, {})
    answers = [Future() for _ in asked]
    started._do(list(zip(asked, answers, strict=True)))
    started.close()
    assert isinstance(answers[0].exception(), InvalidArgument)
    assert [answer.result().held.state.revision for answer in answers[1:]] == [2, 1]


def two_categories(engine):
    """Keys of one annotator's untouched namings of two categories, and an activation of each."""
    boat = new_naming(engine)
    with session(engine) as opened:
        opened.get(Study, boat.study_id).categories = ["boat", "shoe"]
        opened.add(StudyActivation(study_id=boat.study_id, activation_id="s1", category="shoe", image_id="i"))
    return {boat: IDS[0], NamingKey(boat.study_id, boat.annotator_id, "shoe"): "s1"}


def assert_one_has_the_concept(engine, places, answers):
    """Ids of concepts are the annotator's own: the act that came second was refused, and changed nothing."""
    assert sorted(type(one).__name__ for one in answers) == ["AlreadyExists", "Done"]
    for (key, activation_id), answer in zip(places.items(), answers, strict=True):
        held = stored(engine, key)
        if isinstance(answer, Done):
            assert visible(held) == visible(answer.held)
            assert acts.members(held.state, "c1") == [activation_id]
        else:
            assert visible(held) == visible(namings.UNTOUCHED)


def test_an_id_that_two_categories_choose_at_once_is_that_of_one_concept(engine):
    places, started = two_categories(engine), Writer(engine)
    bystander = three(engine)[0]
    asked = [Asked(key, f"r-{key.category}", 0, create("c1", [id_])) for key, id_ in places.items()]
    asked.append(Asked(bystander, "b", 0, create("c1")))
    waiting = [Future() for _ in asked]
    started._do(list(zip(asked, waiting, strict=True)))
    started.close()
    answers = [one.exception() or one.result() for one in waiting]
    assert_one_has_the_concept(engine, places, answers[:2])
    assert answers[2].held.state.revision == 1


def test_an_id_that_two_replicas_take_at_once_is_that_of_one_concept(engine, monkeypatch):
    """On PostgreSQL both have read that it is free; SQLite lets one in at a time."""
    places, both = two_categories(engine), threading.Barrier(2)
    write = Changes.write

    def together(self, opened):
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(1)
        write(self, opened)

    monkeypatch.setattr(Changes, "write", together)
    replicas = [Writer(engine), Writer(engine)]

    def act(replica, key, activation_id):
        try:
            return replica.act(Asked(key, f"r-{key.category}", 0, create("c1", [activation_id])))
        except AlreadyExists as error:
            return error

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(act, replicas, places.keys(), places.values()))
    for replica in replicas:
        replica.close()
    assert_one_has_the_concept(engine, places, answers)


@pytest.fixture
def postgresql(engine):
    if engine.dialect.name != "postgresql":
        pytest.skip("writers of SQLite wait for each other")
    return engine


def test_who_keeps_a_study_keeps_nobody_from_another(postgresql):
    kept, other, started = new_naming(postgresql), new_naming(postgresql), Writer(postgresql)
    with ThreadPoolExecutor(1) as threads:
        with session(postgresql) as opened:
            studies.get(opened, kept.study_id, lock="write")
            waits = threads.submit(started.act, Asked(kept, "a", 0, create("c1")))
            assert started.act(Asked(other, "b", 0, create("c1"))).held.state.revision == 1
            assert not waits.done()
        assert waits.result(10).held.state.revision == 1
    started.close()


def test_a_study_that_is_kept_for_long_makes_its_acts_unavailable(postgresql, monkeypatch):
    monkeypatch.setattr(writer, "_STUDY_WAIT_S", 0.5)
    kept, started = new_naming(postgresql), Writer(postgresql)
    with session(postgresql) as opened:
        studies.get(opened, kept.study_id, lock="write")
        with pytest.raises(Unavailable, match="the study is being changed"):
            started.act(Asked(kept, "a", 0, create("c1")))
        unknown = NamingKey(kept.study_id, "nobody", kept.category)
        with pytest.raises(NotFound):
            started.act(Asked(unknown, "b", 0, create("c1")))
    started.close()
    assert visible(stored(postgresql, kept)) == visible(namings.UNTOUCHED)


def test_a_request_that_comes_again_is_answered_within_a_batch(engine):
    keys, kept = three(engine), {}
    asked = [Asked(key, "a", 0, create("c1", IDS[:1])) for key in keys]
    first = ledger.act_all(engine, asked, kept)
    again = ledger.act_all(engine, asked, kept)
    assert [visible(done.held) for done in again] == [visible(done.held) for done in first]
    assert [stored(engine, key).state.revision for key in keys] == [1, 1, 1]


def test_acts_on_one_naming_at_once_are_done_in_turn(engine):
    key, started = new_naming(engine), Writer(engine)

    def act(number):
        try:
            return started.act(Asked(key, f"r{number}", 0, create(f"c{number}"))).held.state.revision
        except Aborted:
            return None

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(act, range(8)))
    started.close()
    assert sorted(answers, key=str) == [1, *[None] * 7]


def test_a_transaction_waits_for_more_acts_only_while_many_act(monkeypatch):
    one, *others = (Asked(NamingKey("s", name, "boat"), "r", 0, create("c")) for name in "abcde")
    seen = []

    def act_all(engine, asked, kept):
        if not seen:  # while the first is under way, four more come
            for other in others:
                started._asked.put((other, Future()))
        seen.append(len(asked))
        return [Done(namings.UNTOUCHED, ()) for _ in asked]

    monkeypatch.setattr(ledger, "act_all", act_all)
    clock = SimpleNamespace(sleep=lambda seconds: seen.append("waits"), monotonic=time.monotonic)
    monkeypatch.setattr(writer, "time", clock)
    started = Writer(None)
    for _ in range(3):
        started.act(one)
    started.close()
    # The second of the three may come in time for the four.
    assert seen in ([1, 4, "waits", 1, 1], [1, 5, "waits", 1])


def test_a_writer_that_is_closed_does_what_waits_and_refuses_the_rest(engine):
    key, started = new_naming(engine), Writer(engine)
    started.act(Asked(key, "a", 0, create("c1")))
    started.close()
    with pytest.raises(Unavailable):
        started.act(Asked(key, "b", 1, create("c2")))


class SlowQueue(queue.SimpleQueue):
    """One in which an act takes a moment to come in, as when its thread is paused there."""

    def put(self, one):
        if one is not None:
            time.sleep(0.3)
        super().put(one)


def test_an_act_that_comes_as_the_writer_closes_is_answered(engine, monkeypatch):
    monkeypatch.setattr(writer, "queue", SimpleNamespace(SimpleQueue=SlowQueue))
    key, started = new_naming(engine), Writer(engine)
    asked, answers = Asked(key, "a", 0, create("c1")), queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(started.act(asked)), daemon=True).start()
    time.sleep(0.1)
    started.close()
    assert answers.get(timeout=10).held.state.revision == 1


def test_concepts_that_ended_are_not_kept_in_memory(engine):
    key, kept = new_naming(engine), {}
    commands = [create("c1", IDS[:1]), pb.Command(undo=pb.UndoAct()), create("c2"), create("c3")]
    commands.append(pb.Command(merge=pb.MergeConcepts(source_concept_id="c2", target_concept_id="c3")))
    for revision, command in enumerate(commands):
        ledger.act_all(engine, [Asked(key, f"r{revision}", revision, command)], kept)
    assert list(kept[key].state.concepts) == ["c3"]
    [again] = ledger.act_all(engine, [Asked(key, "again", 5, create("c1"))], kept)
    assert isinstance(again, AlreadyExists)
    ledger.act_all(engine, [Asked(key, "undo", 5, pb.Command(undo=pb.UndoAct()))], kept)
    assert list(kept[key].state.concepts) == ["c3", "c2"]
    assert visible(kept[key]) == visible(stored(engine, key))


def test_memory_is_bounded(engine, monkeypatch):
    monkeypatch.setattr(writer, "_MOST_KEPT", 5)
    kept = writer._Kept()
    held = stored(engine, new_naming(engine))
    for number in range(20):
        kept[NamingKey("s", str(number), "c")] = held
    assert [key.annotator_id for key in kept] == ["15", "16", "17", "18", "19"]
