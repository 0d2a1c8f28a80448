"""The schema: migrations say what the classes say, and the keys hold what they promise."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from onoma.v1 import naming_pb2 as pb
from services.naming.tables import Placement
from services.runtime.database import migrate, open_database, session
from tests.migrations import assert_migrations_match
from tests.services.naming.conftest import ACTIVATIONS, create, taken

FIRST_TABLES = {
    "study",
    "study_activation",
    "annotator",
    "naming",
    "act",
    "concept",
    "placement",
    "naming_import",
}


@pytest.fixture
def engine(clean_database):
    engine = open_database(clean_database, "naming")
    yield engine
    engine.dispose()


def test_migrations_make_what_the_classes_say_and_go_down_and_up_again(engine):
    assert_migrations_match(engine, "naming")


def rows_of(engine):
    """Everything in the tables that the first revision has too."""
    tables = {name: table for name, table in SQLModel.metadata.tables.items() if name in FIRST_TABLES}
    with engine.connect() as connection:
        return {name: sorted(map(repr, connection.execute(table.select()))) for name, table in tables.items()}


@pytest.fixture
def filled(server, study, desk):
    """Two annotators' namings, with concepts merged and deleted, discards, undone acts."""
    boats, shoes = ACTIVATIONS["boat"], ACTIVATIONS["shoe"]
    desk.act(**create("c1", boats[:3], "bow"))
    desk.act(**create("c2", boats[3:5], "\u00e9toile"))
    desk.act(merge=pb.MergeConcepts(source_concept_id="c1", target_concept_id="c2"))
    desk.act(discard=pb.DiscardActivations(activation_ids=boats[5:7], reason=pb.DISCARD_REASON_NOISE))
    desk.act(undo=pb.UndoAct())
    other = server.desk(study.study_id, "Bo", "shoe")
    other.act(**create("c3", shoes[:4], "sole"))
    other.act(discard=pb.DiscardActivations(activation_ids=shoes[4:6], reason=pb.DISCARD_REASON_UNCLEAR))
    return desk, other


@pytest.mark.parametrize("revision", ["0002", "0001"])
def test_what_people_did_goes_down_and_up_with_the_tables(engine, filled, revision):
    before = rows_of(engine)
    assert all(before[name] for name in FIRST_TABLES - {"naming_import"})
    seen = [desk.naming() for desk in filled]
    migrate(engine, "naming", revision)
    migrate(engine, "naming")
    assert rows_of(engine) == before
    assert [desk.naming() for desk in filled] == seen
    redone = filled[0].act(redo=pb.RedoAct())
    assert list(redone.discards[0].activation_ids) == ACTIVATIONS["boat"][5:7]


def test_going_down_where_the_old_tables_cannot_hold_what_there_is_changes_nothing(engine, server, filled):
    filled[1].act(**create("c1"))  # two annotators' concepts of one id
    before = rows_of(engine)
    with pytest.raises(IntegrityError):
        migrate(engine, "naming", "0001")
    assert rows_of(engine) == before
    assert_names_still(filled)


def assert_names_still(desks):
    for desk in desks:
        revision = desk.naming().revision
        assert desk.act(**create(f"later-{desk.category}")).revision == revision + 1


def test_the_database_itself_refuses_two_places_for_an_activation(server, study, desk, engine):
    activation = ACTIVATIONS["boat"][0]
    desk.act(**create("c1", [activation]))
    desk.act(**create("c2"))
    with pytest.raises(IntegrityError), session(engine) as opened:
        opened.add(Placement(**desk.key(), activation_id=activation, concept_id="c2", reason=0, position=9))
    with engine.connect() as connection:
        placed = connection.execute(text("SELECT activation_id, concept_id FROM placement")).all()
    assert placed == [(activation, "c1")]


def test_everything_of_a_naming_is_in_the_database_alone(server, desk, open_server):
    desk.act(**create("c1", ACTIVATIONS["boat"][:2]))
    other = open_server(server.data_dir)
    request = pb.ActRequest(
        **desk.key(), request_id="r", base_revision=1, command=pb.Command(undo=pb.UndoAct())
    )
    seen = desk.naming()
    assert taken(seen, other.calls.Act(request)) == desk.naming() != seen
