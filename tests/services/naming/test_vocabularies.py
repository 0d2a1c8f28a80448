"""How labels are compared: changes against a revision, and people's decisions, which are all kept."""

import grpc
import pytest
from sqlmodel import Session, select

from onoma.science.labels import VAGUE
from onoma.v1 import naming_pb2 as pb
from services.naming.tables import VocabularyChange
from services.runtime.database import open_database
from tests.services.naming.test_refusals import refusal

Code = grpc.StatusCode


def present(server, study):
    return server.calls.GetVocabulary(pb.GetVocabularyRequest(study_id=study.study_id)).vocabulary


def put(server, study, groups, vague=(), base_revision=0):
    request = pb.SetVocabularyRequest(
        study_id=study.study_id,
        base_revision=base_revision,
        synonyms=[pb.SynonymGroup(words=group) for group in groups],
        vague_words=vague,
    )
    return server.calls.SetVocabulary(request).vocabulary


def overrule(server, study, first="beak", second="nose", outcome=pb.LABEL_OUTCOME_EXACT, by="Ada"):
    request = pb.OverruleLabelsRequest(
        study_id=study.study_id, first=first, second=second, outcome=outcome, decided_by=by
    )
    return server.calls.OverruleLabels(request).vocabulary


def test_nobody_has_changed_it_yet(server, study):
    assert present(server, study) == pb.Vocabulary(vague_words=VAGUE)


def test_a_decision_taken_over_from_elsewhere_keeps_its_time(server, study):
    request = pb.OverruleLabelsRequest(
        study_id=study.study_id, first="a", second="b", outcome=pb.LABEL_OUTCOME_NONE, decided_by="Ada"
    )
    request.time.FromJsonString("2020-02-29T12:00:00.5Z")
    [made] = server.calls.OverruleLabels(request).vocabulary.overrulings
    assert made.time == request.time
    request.time.seconds = 1 << 60
    assert refusal(lambda: server.calls.OverruleLabels(request))[0] == Code.INVALID_ARGUMENT


def test_words_are_put_in_place_of_those_there_are(server, study):
    put(server, study, [["beak", "nose"]], ["thing"])
    changed = put(server, study, [["wing", "fl\u00fcgel"]], base_revision=1)
    assert changed == present(server, study)
    assert [list(group.words) for group in changed.synonyms] == [["wing", "fl\u00fcgel"]]
    assert (list(changed.vague_words), changed.revision) == ([], 2)


def test_a_stale_change_is_aborted_and_changes_nothing(server, study):
    before = put(server, study, [["a", "b"]])
    assert refusal(lambda: put(server, study, [["c", "d"]]))[0] == Code.ABORTED
    assert present(server, study) == before


def test_every_decision_is_kept_with_who_and_when(server, study):
    overrule(server, study)
    after = overrule(server, study, outcome=pb.LABEL_OUTCOME_NONE, by="Bo")
    assert [(one.outcome, one.decided_by) for one in after.overrulings] == [
        (pb.LABEL_OUTCOME_EXACT, "Ada"),
        (pb.LABEL_OUTCOME_NONE, "Bo"),
    ]
    assert all(one.time.seconds > 0 for one in after.overrulings)
    put(server, study, [["a", "b"]], base_revision=2)
    assert len(present(server, study).overrulings) == 2


def test_many_decisions_are_not_stored_again_with_each(server, study, clean_database):
    for number in range(5):
        overrule(server, study, first=f"beak {number}")
    put(server, study, [["a", "b"]], base_revision=5)
    for number in range(5, 8):
        overrule(server, study, first=f"beak {number}")
    assert [one.first for one in present(server, study).overrulings] == [
        f"beak {number}" for number in range(8)
    ]
    engine = open_database(clean_database, "naming")
    with Session(engine) as opened:
        rows = opened.exec(select(VocabularyChange.revision).order_by(VocabularyChange.revision)).all()
    engine.dispose()
    assert rows == [
        1,
        5,
        6,
        9,
    ]  # the first decision, the last before the change of words, that, the last of all


@pytest.mark.parametrize(
    ("groups", "vague", "words"),
    [
        ([["alone"]], [], "has fewer than two words"),
        ([["a", "b"], ["B", "c"]], [], "'B' is in two groups of synonyms; put them together"),
        ([["collar", "Collar"]], [], "'Collar' is in one group of synonyms twice; leave one out"),
        ([["a", ""]], [], "synonym is empty"),
        ([], ["\x07"], "control character"),
    ],
)
def test_bad_words_are_refused(server, study, groups, vague, words):
    code, message = refusal(lambda: put(server, study, groups, vague))
    assert code == Code.INVALID_ARGUMENT
    assert words in message
    assert present(server, study).revision == 0


def test_bad_decisions_are_refused(server, study):
    for fields in ({"outcome": 0}, {"outcome": 9}, {"first": ""}, {"by": ""}):
        assert refusal(lambda fields=fields: overrule(server, study, **fields))[0] == Code.INVALID_ARGUMENT
