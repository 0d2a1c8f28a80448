"""Simulated annotators name a whole study, once."""

from onoma.client import Client
from onoma.demo.simulated import name_by_place
from onoma.v1 import naming_pb2
from tests.conftest import OpenStudy


def namings_of(client: Client, study: naming_pb2.Study, tokens: list[str]) -> list[naming_pb2.Naming]:
    annotators = [client.accept_invitation(token).annotator.annotator_id for token in tokens]
    return [client.get_naming(study.study_id, one, c) for one in annotators for c in study.categories]


def test_they_name_all_categories_and_a_second_time_changes_nothing(open_study: OpenStudy) -> None:
    client, study = open_study.client, open_study.study
    seen: list[tuple[int, int]] = []
    tokens = name_by_place(client, study, 2, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6, 6)
    named = namings_of(client, study, tokens)
    words = {concept.name for naming in named for concept in naming.concepts}
    assert words <= {"top", "bottom", "middle", "left side", "right side"}
    assert len(words) > 1
    for naming in named:
        assert naming.concepts
        assert len(naming.pool) < study.activation_count
    again = name_by_place(client, study, 2)
    assert [n.revision for n in namings_of(client, study, again)] == [n.revision for n in named]


def test_they_are_called_simulated(open_study: OpenStudy) -> None:
    name_by_place(open_study.client, open_study.study, 1)
    names = [a.display_name for a in open_study.client.list_annotators(open_study.study.study_id)]
    assert "Simulated annotator 1" in names
