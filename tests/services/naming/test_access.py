"""What each RPC gives to an annotator, to a viewer, and to somebody without a token."""

import grpc
import pytest

from onoma.v1 import naming_pb2 as pb
from onoma.v1 import naming_pb2_grpc
from services.runtime.access import TABLE, Reach
from tests.services.naming.conftest import ACTIVATIONS, create
from tests.services.naming.test_refusals import refusal

Code = grpc.StatusCode
SECRET = "the words of Ada"
OWNER = "token-of-the-owner"
REACHES = [path for path, row in TABLE.items() if "NamingService" in path and row.reach is not Reach.NOTHING]


def rpcs(module):
    return [
        (f"/{service.full_name}/{method.name}", method)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]


def request_of(method, **fields):
    """A request of an RPC with those of the fields that it has."""
    known = {name: value for name, value in fields.items() if name in method.input_type.fields_by_name}
    return getattr(pb, method.input_type.name)(**known)


def call(channel, path, method, request, token):
    """All answers of one RPC."""

    kind = "stream" if method.client_streaming else "unary"
    kind += "_stream" if method.server_streaming else "_unary"
    caller = getattr(channel, kind)(
        path,
        request_serializer=type(request).SerializeToString,
        response_deserializer=getattr(pb, method.output_type.name).FromString,
    )
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    answer = caller(iter([request]) if method.client_streaming else request, timeout=20, metadata=metadata)
    if not method.server_streaming:
        return [answer]
    return [next(iter(answer))]


@pytest.fixture
def ada(server, study):
    """Ada's naming, with something to be found."""
    desk = server.desk(study.study_id, "Ada")
    desk.act(request_id="adas-act", **create("adas-concept", ACTIVATIONS["boat"][:3], SECRET))
    return desk


def tried(server, ada, token, own_id):
    """What every RPC of naming says to a token that asks for Ada's, by the RPC's name."""
    found = {}
    with grpc.insecure_channel(server.address) as channel:
        for path, method in rpcs(pb):
            if method.name == "AcceptInvitation":
                continue
            request = request_of(
                method,
                study_id=ada.study_id,
                annotator_id=ada.annotator_id,
                annotator_ids=[own_id, ada.annotator_id],
                category="boat",
                request_id="adas-act",
                base_revision=1,
                command=pb.Command(rename=pb.RenameConcept(concept_id="adas-concept", name="mine")),
                display_name="Ada",
            )
            try:
                found[method.name] = call(channel, path, method, request, token)
            except grpc.RpcError as error:
                found[method.name] = (error.code(), error.details())
    return found


def test_another_annotator_finds_nothing_by_any_rpc(server, ada):
    other = server.invite(ada.study_id, "Bo")
    before = ada.naming()
    found = tried(server, ada, other.token, other.annotator.annotator_id)
    study = found.pop("GetStudy")[0].study
    assert study.study_id == ada.study_id
    for rpc, answer in found.items():
        assert answer[0] == Code.PERMISSION_DENIED, (rpc, answer)
    for text in (SECRET, "adas-concept", "Ada'", ada.annotator_id):
        assert text not in str(found), text
    assert ada.naming() == before


def test_a_new_name_tells_nobody_who_else_is_there(server, ada):
    other = server.invite(ada.study_id, "Bo")
    accepted = server.calls.AcceptInvitation(pb.AcceptInvitationRequest(token=other.token))
    assert "Ada" not in str(accepted)


def test_annotators_see_each_other_when_the_study_is_closed_or_not_blind(server, ada):
    other = server.invite(ada.study_id, "Bo")
    server.calls.CloseStudy(pb.CloseStudyRequest(study_id=ada.study_id))
    found = tried(server, ada, other.token, other.annotator.annotator_id)
    shown = {"GetStudy", "ListAnnotators", "WatchAnnotators", "GetNaming", "WatchNaming", "ListActs"}
    shown |= {"ExportNamings", "GetVocabulary"}
    assert {rpc for rpc, answer in found.items() if isinstance(answer, list)} == shown
    assert found["Act"][0] == Code.PERMISSION_DENIED
    open_desk = server.desk(server.open_study(settings=pb.StudySettings(blind=False)).study_id, "Ada")
    other = server.invite(open_desk.study_id, "Bo")
    found = tried(server, open_desk, other.token, other.annotator.annotator_id)
    assert {rpc for rpc, answer in found.items() if isinstance(answer, list)} == shown


def test_a_viewer_reads_all_and_changes_nothing(server, ada):
    request = pb.InviteAnnotatorRequest(study_id=ada.study_id, display_name="Vi", role=pb.ROLE_VIEWER)
    viewer = server.calls.InviteAnnotator(request)
    before = ada.naming()
    found = tried(server, ada, viewer.token, ada.annotator_id)
    assert found["GetNaming"][0].naming == before
    assert {rpc for rpc, answer in found.items() if isinstance(answer, list)} == {
        path.rpartition("/")[2] for path in REACHES
    } - {"Act"}
    as_viewer = pb.GetNamingRequest(
        study_id=ada.study_id, annotator_id=viewer.annotator.annotator_id, category="boat"
    )
    assert "viewer" in refusal(lambda: server.calls.GetNaming(as_viewer))[1]
    exported = server.calls.ExportNamings(pb.ExportNamingsRequest(study_id=ada.study_id))
    assert "Vi" not in "".join(piece.text for piece in exported)


def test_an_invitation_opens_no_other_study(server, ada):
    elsewhere = server.open_study(settings=pb.StudySettings(blind=False)).study_id
    for role in (pb.ROLE_ANNOTATOR, pb.ROLE_VIEWER):
        request = pb.InviteAnnotatorRequest(study_id=elsewhere, display_name=f"Bo {role}", role=role)
        other = server.calls.InviteAnnotator(request)
        found = tried(server, ada, other.token, other.annotator.annotator_id)
        told = "this invitation is for another study: follow the link to this one"
        assert {rpc for rpc, answer in found.items() if answer == (Code.PERMISSION_DENIED, told)} == {
            path.rpartition("/")[2] for path in REACHES
        }
        assert all(answer[0] == Code.PERMISSION_DENIED for answer in found.values())
        assert SECRET not in str(found)


def test_an_annotator_works_with_the_token_alone(open_server, tmp_path):
    server = open_server(tmp_path, access_token=OWNER)
    with grpc.insecure_channel(server.address) as channel:
        calls = naming_pb2_grpc.NamingServiceStub(channel)
        as_owner = {"metadata": (("authorization", f"Bearer {OWNER}"),), "timeout": 10}
        request = pb.CreateStudyRequest(
            name="s", model="net", dataset="photos", xnn_set="xnns", categories=["boat"]
        )
        study_id = calls.CreateStudy(request, **as_owner).study.study_id
        invitation = calls.InviteAnnotator(
            pb.InviteAnnotatorRequest(study_id=study_id, display_name="Ada"), **as_owner
        )
        key = {
            "study_id": study_id,
            "annotator_id": invitation.annotator.annotator_id,
            "category": "boat",
        }
        own = {"metadata": (("authorization", f"Bearer {invitation.token}"),), "timeout": 10}
        assert calls.GetNaming(pb.GetNamingRequest(**key), **own).naming.revision == 0
        for token in ("", "wrong", OWNER[:-1]):
            metadata = (("authorization", f"Bearer {token}"),) if token else ()
            with pytest.raises(grpc.RpcError) as refused:
                calls.GetNaming(pb.GetNamingRequest(**key), metadata=metadata, timeout=10)
            assert refused.value.code() == Code.UNAUTHENTICATED
        calls.RevokeInvitation(
            pb.RevokeInvitationRequest(study_id=study_id, annotator_id=key["annotator_id"]), **as_owner
        )
        with pytest.raises(grpc.RpcError) as revoked:
            calls.GetNaming(pb.GetNamingRequest(**key), **own)
        assert revoked.value.code() == Code.UNAUTHENTICATED
