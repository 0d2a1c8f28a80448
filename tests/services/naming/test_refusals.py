"""Bad input: each has its status and a message that names the way out, and changes nothing."""

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from onoma.v1 import naming_pb2 as pb
from tests.services.naming.conftest import ACTIVATIONS, Desk, create

Code = grpc.StatusCode
A, B, C = ACTIVATIONS["boat"][:3]
SHOE = ACTIVATIONS["shoe"][0]


@pytest.fixture
def begun(server, desk):
    """A naming with the concepts c1 (A, B), c2 and gone (deleted), beside another study's with the concept theirs."""
    elsewhere = server.create_study().study_id
    server.publish(elsewhere, {"boat": ["of-another-study"]})
    server.calls.OpenStudy(pb.OpenStudyRequest(study_id=elsewhere))
    server.desk(elsewhere).act(**create("theirs", ["of-another-study"]))
    desk.act(**create("c1", [A, B], "one"))
    desk.act(**create("c2"))
    desk.act(**create("gone"))
    desk.act(delete=pb.DeleteConcept(concept_id="gone"))
    return desk


def refusal(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def refusal_reason(call):
    """Status, reason and message of a refusal."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    reason = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(caught.value).details[0].Unpack(reason)
    return caught.value.code(), reason.reason, caught.value.details()


def assign(*ids, concept_id="c1"):
    return {"assign": pb.AssignActivations(concept_id=concept_id, activation_ids=ids)}


def merge(source, target):
    return {"merge": pb.MergeConcepts(source_concept_id=source, target_concept_id=target)}


def rename(concept_id, name="new"):
    return {"rename": pb.RenameConcept(concept_id=concept_id, name=name)}


def split(*ids, new="c9"):
    return {"split": pb.SplitConcept(concept_id="c1", new_concept_id=new, activation_ids=ids)}


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ({}, Code.INVALID_ARGUMENT, "no command; set one of create"),
        (assign("nowhere"), Code.NOT_FOUND, "has no activation 'nowhere'"),
        (assign("nul\0"), Code.NOT_FOUND, "has no activation"),
        (assign(SHOE), Code.NOT_FOUND, "category 'boat' has no activation 'shoe000'"),
        (assign(A, A), Code.INVALID_ARGUMENT, "twice"),
        (assign(), Code.INVALID_ARGUMENT, "name at least one"),
        (assign(A, concept_id="c9"), Code.NOT_FOUND, "no concept 'c9' stands"),
        (assign(A, concept_id="gone"), Code.NOT_FOUND, "no concept 'gone' stands"),
        (rename("c9"), Code.NOT_FOUND, "no concept 'c9' stands"),
        (rename("c1", "x" * 201), Code.INVALID_ARGUMENT, "201 characters; at most 200"),
        (rename("c1", "x" * 10_000_000), Code.INVALID_ARGUMENT, "at most 200"),
        (rename("c1", "a\nb"), Code.INVALID_ARGUMENT, "control character U+000A"),
        (rename("c1", "a\u2028b"), Code.INVALID_ARGUMENT, "control character U+2028"),
        ({"delete": pb.DeleteConcept(concept_id="c9")}, Code.NOT_FOUND, "no concept 'c9' stands"),
        (merge("c1", "c1"), Code.INVALID_ARGUMENT, "cannot be merged with itself"),
        (merge("c1", "gone"), Code.NOT_FOUND, "no concept 'gone' stands"),
        (split(C), Code.INVALID_ARGUMENT, "is not in concept 'c1'"),
        (split(), Code.INVALID_ARGUMENT, "name at least one"),
        (split(A, new="c2"), Code.ALREADY_EXISTS, "concept id 'c2' is already used"),
        (create("c1"), Code.ALREADY_EXISTS, "concept id 'c1' is already used"),
        (create("gone"), Code.ALREADY_EXISTS, "concept id 'gone' is already used"),
        (create(""), Code.INVALID_ARGUMENT, "concept id ''"),
        (create("c9", name="\x07"), Code.INVALID_ARGUMENT, "control character U+0007"),
        (
            {"discard": pb.DiscardActivations(activation_ids=[A], reason=99)},
            Code.INVALID_ARGUMENT,
            "discard reason 99",
        ),
        (
            {"unassign": pb.UnassignActivations(activation_ids=map(str, range(10_001)))},
            Code.INVALID_ARGUMENT,
            "names 10001 activations; at most 10000",
        ),
        (
            {
                "discard": pb.DiscardActivations(
                    activation_ids=[f"{number:064x}" for number in range(100_000)]
                )
            },
            Code.INVALID_ARGUMENT,
            "names 100000 activations; at most 10000 are allowed: send several acts",
        ),
        (assign("of-another-study"), Code.NOT_FOUND, "has no activation 'of-another-study'"),
        (assign(A, concept_id="theirs"), Code.NOT_FOUND, "no concept 'theirs' stands"),
        (merge("c1", "theirs"), Code.NOT_FOUND, "no concept 'theirs' stands"),
        ({"redo": pb.RedoAct()}, Code.FAILED_PRECONDITION, "nothing to redo"),
    ],
)
def test_a_bad_command_changes_nothing(begun, command, code, words):
    before = begun.naming()
    refused = refusal(lambda: begun.act(base_revision=before.revision, **command))
    assert refused[0] == code
    assert words in refused[1]
    assert len(refused[1]) < 400
    assert begun.naming() == before


def test_undo_of_an_untouched_naming_is_refused(desk):
    assert refusal(lambda: desk.act(undo=pb.UndoAct()))[0] == Code.FAILED_PRECONDITION
    assert desk.naming().revision == 0


def test_another_persons_and_another_categorys_concepts_are_not_found(server, begun):
    for other in (server.desk(begun.study_id, "Bo"), begun.at("shoe")):
        assert "no concept 'c1' stands" in refusal(lambda other=other: other.act(**rename("c1")))[1]
        assert other.naming().revision == 0
    assert refusal(lambda: begun.at("shoe").act(**create("c1")))[0] == Code.ALREADY_EXISTS


def test_two_annotators_may_choose_the_same_concept_id(server, begun):
    before = begun.naming()
    other = server.desk(begun.study_id, "Bo")
    other.act(**create("c1", [A], "wing"))
    other.act(**rename("c1"))
    assert begun.naming() == before


def test_a_stale_revision_is_aborted_with_the_present_naming(begun):
    with pytest.raises(grpc.RpcError) as caught:
        begun.act(base_revision=1, **rename("c1"))
    assert caught.value.code() == Code.ABORTED
    info, present = rpc_status.from_call(caught.value).details
    reason, naming = error_details_pb2.ErrorInfo(), pb.Naming()
    assert info.Unpack(reason)
    assert reason.reason == "STALE_REVISION"
    assert present.Unpack(naming)
    assert naming == begun.naming()


@pytest.mark.parametrize("revision", [5, -1])
def test_a_revision_that_does_not_exist_is_refused(begun, revision):
    refused = refusal(lambda: begun.act(base_revision=revision, **rename("c1")))
    assert refused[0] == Code.INVALID_ARGUMENT
    assert "the naming is at revision 4" in refused[1]


def test_a_request_id_with_other_content_is_refused(begun):
    begun.act(request_id="r", **rename("c1", "two"))
    before = begun.naming()
    for other, command in ((begun, rename("c1", "three")), (begun.at("shoe"), rename("c1", "two"))):
        refused = refusal(lambda other=other, command=command: other.act(request_id="r", **command))
        assert refused[0] == Code.INVALID_ARGUMENT
        assert "with other content" in refused[1]
    assert begun.naming() == before


def test_a_request_id_is_needed(server, desk):
    request = pb.ActRequest(**desk.key(), command=pb.Command(**create("c1")))
    assert refusal(lambda: server.calls.Act(request))[0] == Code.INVALID_ARGUMENT


def test_unknown_study_annotator_and_category_are_named(server, desk):
    for key, code, words in (
        (Desk(server, "x", desk.annotator_id), Code.NOT_FOUND, "no study has the id 'x'"),
        (Desk(server, "\0", desk.annotator_id), Code.NOT_FOUND, "no study has the id"),
        (Desk(server, desk.study_id, "x"), Code.NOT_FOUND, "has no annotator 'x'"),
        (desk.at("hat"), Code.INVALID_ARGUMENT, "has no category 'hat'; it has 'boat', 'shoe'"),
    ):
        for call in (
            key.naming,
            key.acts,
            lambda key=key: key.act(base_revision=0, **create("c1")),
            lambda key=key: list(server.calls.WatchNaming(pb.WatchNamingRequest(**key.key()))),
        ):
            refused = refusal(call)
            assert refused[0] == code
            assert words in refused[1]


def test_another_studys_annotator_and_token_are_refused(server, begun):
    elsewhere = server.open_study().study_id
    invited = server.invite(elsewhere, "Bo")
    stranger = Desk(server, begun.study_id, invited.annotator.annotator_id)
    refused = refusal(lambda: stranger.act(base_revision=0, **create("c9")))
    assert refused[0] == Code.NOT_FOUND
    assert "has no annotator" in refused[1]
    before = begun.naming()
    request = pb.ActRequest(
        **begun.key(), request_id="r", base_revision=4, command=pb.Command(**rename("c1"))
    )
    metadata = (("authorization", f"Bearer {invited.token}"),)
    refused = refusal(lambda: server.calls.Act(request, metadata=metadata))
    assert refused == (
        Code.PERMISSION_DENIED,
        "this invitation is for another study: follow the link to this one",
    )
    assert begun.naming() == before


def test_acts_need_an_open_study(server):
    study = server.create_study()
    server.publish(study.study_id)
    desk = server.desk(study.study_id)
    assert "is not open yet" in refusal(lambda: desk.act(**create("c1")))[1]
    server.calls.OpenStudy(pb.OpenStudyRequest(study_id=study.study_id))
    desk.act(**create("c1"))
    server.calls.CloseStudy(pb.CloseStudyRequest(study_id=study.study_id))
    refused = refusal(lambda: desk.act(**create("c2")))
    assert refused == (
        Code.FAILED_PRECONDITION,
        "study 'sizes' is closed: naming has ended; its owner makes a new one for more",
    )
    assert desk.naming().revision == 1
