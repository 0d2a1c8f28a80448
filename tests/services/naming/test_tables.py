"""The schema: migrations say what the classes say, and the keys hold what they promise."""

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from onoma.v1 import naming_pb2 as pb
from services.naming.tables import Placement
from services.runtime.database import migrate, open_database, schema_differences, session
from tests.services.naming.conftest import ACTIVATIONS, create

TABLES = {
    "study",
    "study_activation",
    "annotator",
    "naming",
    "act",
    "concept",
    "placement",
    "naming_import",
    "vocabulary_change",
}


@pytest.fixture
def engine(clean_database):
    engine = open_database(clean_database, "naming")
    yield engine
    engine.dispose()


def test_migrations_make_what_the_classes_say(engine):
    assert schema_differences(engine, TABLES) == []


def test_migrations_go_down_and_up_again(engine):
    migrate(engine, "naming", "base")
    assert TABLES.isdisjoint(inspect(engine).get_table_names())
    migrate(engine, "naming")
    assert set(inspect(engine).get_table_names()) >= TABLES
    assert schema_differences(engine, TABLES) == []


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
    assert other.calls.Act(request).naming == desk.naming()
