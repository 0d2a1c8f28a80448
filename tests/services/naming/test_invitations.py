"""Annotators and the links that let them in."""

from hashlib import sha256

import grpc
import pytest
from sqlalchemy import text

from onoma.v1 import naming_pb2 as pb
from services.naming import invitations
from services.runtime.database import open_database
from tests.services.naming.conftest import ACTIVATIONS, create
from tests.services.naming.test_refusals import refusal

Code = grpc.StatusCode


def accept(server, token):
    return server.calls.AcceptInvitation(pb.AcceptInvitationRequest(token=token))


def revoke(server, study_id, annotator_id):
    request = pb.RevokeInvitationRequest(study_id=study_id, annotator_id=annotator_id)
    server.calls.RevokeInvitation(request)


def test_a_token_leads_to_its_study_and_annotator(server, study):
    ada, bo = (server.invite(study.study_id, name) for name in ("Ada", "Bo"))
    accepted = accept(server, bo.token)
    assert accepted.study == study
    assert accepted.annotator == bo.annotator
    assert ada.token != bo.token


def test_no_token_is_stored_in_clear(server, study, clean_database):
    token = server.invite(study.study_id).token
    engine = open_database(clean_database, "naming")
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM annotator")).one()
    engine.dispose()
    assert row.token_hash == sha256(token.encode()).hexdigest()
    assert token not in map(str, row)
    for file in server.data_dir.iterdir():
        assert token.encode() not in file.read_bytes()


def test_inviting_again_by_the_same_request_makes_a_new_link_for_the_same_annotator(server, study):
    first = server.invite(study.study_id, request_id="r")
    revoke(server, study.study_id, first.annotator.annotator_id)
    second = server.invite(study.study_id, request_id="r")
    assert second.annotator.annotator_id == first.annotator.annotator_id
    assert accept(server, second.token).annotator == second.annotator
    assert refusal(lambda: accept(server, first.token))[0] == Code.NOT_FOUND
    assert "Ada" in refusal(lambda: server.invite(study.study_id, "Bo", request_id="r"))[1]


def test_nothing_tells_an_unknown_token_from_an_expired_or_a_revoked_one(server, study, monkeypatch):
    revoked = server.invite(study.study_id, "Ada")
    for _ in range(2):
        revoke(server, study.study_id, revoked.annotator.annotator_id)
    monkeypatch.setattr(invitations, "_DAY_S", -1)
    expired = server.invite(study.study_id, "Bo")
    answers = {
        refusal(lambda token=token: accept(server, token))
        for token in (revoked.token, expired.token, "unknown", "")
    }
    assert answers == {
        (Code.NOT_FOUND, "this link does not let anyone in; ask whoever sent it for a new one")
    }


def test_a_revoked_annotators_work_stays(server, study, desk):
    desk.act(**create("c1", ACTIVATIONS["boat"][:2]))
    revoke(server, study.study_id, desk.annotator_id)
    assert len(desk.naming().concepts[0].activation_ids) == 2


def test_display_names_are_unique_in_a_study(server, study):
    server.invite(study.study_id, "\u00e9va")
    code, message = refusal(lambda: server.invite(study.study_id, "e\u0301va"))
    assert code == Code.ALREADY_EXISTS
    assert "choose another name" in message
    assert server.invite(server.open_study().study_id, "\u00e9va")


def test_nobody_is_called_as_all_are_together(server) -> None:
    study = server.open_study()
    code, message = refusal(lambda: server.invite(study.study_id, "any"))
    assert (code, "it stands for all of them together" in message) == (Code.INVALID_ARGUMENT, True)
    assert server.invite(study.study_id, "Any")


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "a\rb"])
def test_display_names_that_cannot_be_are_refused(server, study, name):
    assert refusal(lambda: server.invite(study.study_id, name))[0] == Code.INVALID_ARGUMENT


def test_a_closed_study_invites_nobody(server, study):
    server.calls.CloseStudy(pb.CloseStudyRequest(study_id=study.study_id))
    assert refusal(lambda: server.invite(study.study_id))[0] == Code.FAILED_PRECONDITION


def test_annotators_are_listed_with_their_progress_in_the_order_invited(server, study, desk):
    desk.act(**create("c1", ACTIVATIONS["boat"][:3]))
    desk.at("shoe").act(discard=pb.DiscardActivations(activation_ids=ACTIVATIONS["shoe"][:2]))
    server.invite(study.study_id, "Aaron")
    request = pb.ListAnnotatorsRequest(study_id=study.study_id)
    listed = server.calls.ListAnnotators(request).annotators
    assert [(row.display_name, row.named_count, row.discarded_count) for row in listed] == [
        ("Ada", 3, 2),
        ("Aaron", 0, 0),
    ]
