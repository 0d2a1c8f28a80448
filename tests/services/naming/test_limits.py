"""The limits of a study at their true values, and what is as large as they allow."""

import json

import grpc
import pytest
from sqlalchemy import text

from onoma.client import Addresses, Client
from onoma.v1 import naming_pb2 as pb
from onoma.v1 import types_pb2
from services.naming.activations import MAX_ACTIVATIONS
from services.naming.acts import MAX_CONCEPTS
from services.naming.invitations import MAX_ANNOTATORS
from services.naming.tables import Concept, Naming
from services.runtime.database import open_database, session
from tests.services.naming.conftest import ACTIVATIONS, CATEGORIES, create
from tests.services.naming.test_refusals import refusal_reason, split
from tests.services.naming.test_transfer import take_in

Code = grpc.StatusCode
IDS = [f"{number:064x}" for number in range(MAX_ACTIVATIONS)]  # as long as attribution's
AT_ONCE = 10_000
# Six hundred thousand rows by the database itself: as acts they would take minutes.
PLACED = text(
    "INSERT INTO placement (study_id, annotator_id, activation_id, category, concept_id, reason, position) "
    "SELECT study_id, :annotator_id, activation_id, category, :concept_id, 0, "
    "row_number() OVER (ORDER BY activation_id) "
    "FROM study_activation WHERE study_id = :study_id AND category = :category"
)


def published(server, study_id, category, ids):
    """Activations of the study after some more."""

    def messages():
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            columns = types_pb2.ActivationColumns(
                activation_id=some, category=[category] * len(some), image_id=[id_[:60] for id_ in some]
            )
            yield pb.PublishActivationsRequest(study_id=study_id, activations=columns)

    return server.calls.PublishActivations(messages(), timeout=120).activation_count


def test_the_limits_are_those_of_the_specification():
    assert (MAX_ACTIVATIONS, MAX_CONCEPTS, MAX_ANNOTATORS) == (200_000, 1_000, 500)


@pytest.mark.slow
def test_a_study_takes_two_hundred_thousand_activations_and_no_more(server):
    study_id = server.create_study().study_id
    assert published(server, study_id, "boat", IDS[1:]) == MAX_ACTIVATIONS - 1
    refused = refusal_reason(lambda: published(server, study_id, "shoe", [IDS[0], "one-too-many"]))
    assert refused[:2] == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_ACTIVATIONS")
    assert "max_images_per_category" in refused[2]
    assert published(server, study_id, "shoe", IDS[:1]) == MAX_ACTIVATIONS


def test_a_naming_takes_a_thousand_concepts_and_no_more(server, study, desk):
    concepts = [{"name": f"concept {number}", "activations": []} for number in range(MAX_CONCEPTS - 1)]
    concepts[0]["activations"] = ACTIVATIONS["boat"][:1]
    document = {"format": "onoma-namings", "version": 1, "namings": {"Ada": {"boat": {"concepts": concepts}}}}
    assert take_in(server, study, document) == (1, MAX_CONCEPTS - 1)
    before = desk.act(**create("c1", ACTIVATIONS["boat"][1:3]))
    for command in (create("c2"), split(ACTIVATIONS["boat"][1], new="c2")):
        refused = refusal_reason(lambda command=command: desk.act(**command))
        assert refused[:2] == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_CONCEPTS")
        assert "merge or delete some first" in refused[2]
    assert desk.naming() == before


def test_a_study_takes_five_hundred_people_and_no_more(server, study):
    namings = {f"annotator {number}": {} for number in range(MAX_ANNOTATORS - 1)}
    document = {"format": "onoma-namings", "version": 1, "namings": namings}
    assert take_in(server, study, document) == (MAX_ANNOTATORS - 1, 0)
    server.invite(study.study_id, "the last one")
    refused = refusal_reason(lambda: server.invite(study.study_id, "one too many"))
    assert refused[:2] == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_ANNOTATORS")
    assert "make another study" in refused[2]
    listed = server.calls.ListAnnotators(pb.ListAnnotatorsRequest(study_id=study.study_id)).annotators
    assert len(listed) == MAX_ANNOTATORS


@pytest.fixture
def all_named(server, clean_database):
    """A study as large as one can be, in which three annotators have put all there is into concepts."""
    study = server.create_study()
    half = MAX_ACTIVATIONS // 2
    of_category = dict(zip(CATEGORIES, (IDS[:half], IDS[half:]), strict=True))
    for category, ids in of_category.items():
        published(server, study.study_id, category, ids)
    server.calls.OpenStudy(pb.OpenStudyRequest(study_id=study.study_id))
    people = [server.invite(study.study_id, name).annotator.annotator_id for name in ("Ada", "Bo", "Cy")]
    engine = open_database(clean_database.model_copy(update={"data_dir": server.data_dir}), "naming")
    with session(engine) as opened:
        for annotator_id in people:
            for category in of_category:
                key = {"study_id": study.study_id, "annotator_id": annotator_id, "category": category}
                concept_id = f"all-{category}"
                opened.add(Naming(**key, revision=1, undo_count=0))
                opened.flush()
                opened.add(Concept(**key, concept_id=concept_id, name="all", place=1, standing=True))
                opened.flush()
                opened.connection().execute(PLACED, {**key, "concept_id": concept_id})
    engine.dispose()
    return study


@pytest.mark.slow
def test_an_export_larger_than_any_message_comes_whole(server, all_named, inference_address):
    with Client(Addresses(inference=inference_address, naming=server.address)) as client:
        document, table = (
            export(all_named.study_id) for export in (client.export_namings, client.export_namings_csv)
        )
    assert len(document) > 32 * 1024 * 1024
    namings = json.loads(document)["namings"]
    assert [
        [id_ for category in CATEGORIES for id_ in naming[category]["concepts"][0]["activations"]] == IDS
        for naming in namings.values()
    ] == [True] * 3
    assert len(table) > 32 * 1024 * 1024
    assert table.count("\n") == 3 * MAX_ACTIVATIONS + 1
