"""What the client sees of others' work while it goes on."""

from onoma.client import Client
from onoma.v1 import naming_pb2
from tests.conftest import OpenStudy


def _invited(client: Client, study_id: str, name: str) -> tuple[str, naming_pb2.Naming]:
    """Id of a new annotator, and their naming of a category that has maps."""
    annotator_id = client.invite_annotator(study_id, name).annotator.annotator_id
    category = client.list_activations(study_id).category[0]
    return annotator_id, client.get_naming(study_id, annotator_id, category)


def _concept_of_one(naming: naming_pb2.Naming) -> naming_pb2.Command:
    return naming_pb2.Command(
        create=naming_pb2.CreateConcept(concept_id="edge", name="edge", activation_ids=naming.pool[:1])
    )


def test_a_naming_is_seen_as_it_stands_and_after_each_act(open_study: OpenStudy) -> None:
    client, study_id = open_study.client, open_study.study.study_id
    annotator_id, naming = _invited(client, study_id, "Watched")
    seen = client.watch_naming(study_id, annotator_id, naming.category, timeout_s=60)
    assert next(seen) == naming
    after = client.act(naming, _concept_of_one(naming))
    assert next(seen) == after


def test_annotators_are_seen_as_they_stand_and_as_they_get_on(open_study: OpenStudy) -> None:
    client, study_id = open_study.client, open_study.study.study_id
    annotator_id, naming = _invited(client, study_id, "Getting on")
    seen = client.watch_annotators(study_id, timeout_s=60)
    assert [one.named_count for one in next(seen) if one.annotator_id == annotator_id] == [0]
    client.act(naming, _concept_of_one(naming))
    assert [one.named_count for one in next(seen) if one.annotator_id == annotator_id] == [1]
