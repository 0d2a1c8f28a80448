"""The gateway before a real naming service."""

import threading
import time
import uuid

import grpc
import pytest
from starlette.testclient import TestClient

from onoma.v1 import naming_pb2 as pb
from onoma.v1.naming_pb2_grpc import NamingServiceStub
from services.gateway.app import build
from services.gateway.routes import HANDWRITTEN, ROUTES, Access
from services.naming.service import build as build_naming
from services.runtime.server import start
from services.runtime.settings import RuntimeSettings
from tests.services.naming.conftest import ACTIVATIONS, Server, create, inference_address

__all__ = ["inference_address"]  # a fixture

ELSEWHERE = {"base_url": "http://onoma.test", "client": ("203.0.113.9", 50000)}


@pytest.fixture
def settings(inference_address, tmp_path):
    return RuntimeSettings(data_dir=tmp_path, inference_address=inference_address, drain_s=1.0)


@pytest.fixture
def naming(settings):
    """A running naming service."""
    running = start(build_naming(settings), "127.0.0.1:0", settings)
    with grpc.insecure_channel(running.address) as channel:
        yield Server(NamingServiceStub(channel), running.address, settings.data_dir)
    running.stop()


@pytest.fixture
def opened(naming, settings):
    """Opens browsers elsewhere that have followed a link."""
    clients = []

    def opening(token):
        to_naming = settings.model_copy(update={"naming_address": naming.address})
        client = TestClient(build(to_naming), **ELSEWHERE)
        clients.append(client)
        client.__enter__()
        client.post("/api/invitations", json={"token": token}).raise_for_status()
        return client

    yield opening
    for client in clients:
        client.__exit__(None, None, None)


def act_of(command, base_revision=0):
    return {
        "category": "boat",
        "request_id": str(uuid.uuid4()),
        "base_revision": str(base_revision),
        "command": command,
    }


@pytest.mark.parametrize(("name_length", "comes_along"), [(10, True), (200, False)])
def test_a_stale_act_is_told_from_other_conflicts_with_and_without_the_naming(
    naming, opened, name_length, comes_along
):
    study_id = naming.open_study().study_id
    invited = naming.invite(study_id)
    ada = opened(invited.token)
    path = f"/api/studies/{study_id}/annotators/{invited.annotator.annotator_id}"
    for number in range(12):
        made = {"create": {"concept_id": f"c{number}", "name": "x" * name_length}}
        ada.post(f"{path}/acts", json=act_of(made, number)).raise_for_status()
    answer = ada.post(f"{path}/acts", json=act_of({"undo": {}}, 3))
    assert answer.status_code == 409
    assert answer.json()["code"] == "ABORTED"
    assert answer.json()["reason"] == "STALE_REVISION"
    assert ("naming" in answer.json()) == comes_along
    present = ada.get(f"{path}/naming", params={"category": "boat"}).json()["naming"]
    assert present["revision"] == "12"
    assert answer.json().get("naming", present) == present


def test_a_limit_is_told_from_what_passes(naming, opened, monkeypatch):
    study_id = naming.open_study().study_id
    invited = naming.invite(study_id)
    ada = opened(invited.token)
    path = f"/api/studies/{study_id}/annotators/{invited.annotator.annotator_id}/acts"
    monkeypatch.setattr("services.naming.acts.MAX_CONCEPTS", 0)
    answer = ada.post(path, json=act_of({"create": {"concept_id": "c"}}))
    assert (answer.status_code, answer.json()["reason"]) == (429, "TOO_MANY_CONCEPTS")
    assert "retry-after" not in answer.headers


RESULTS = ("", "/annotators", "/namings.json", "/namings.csv")


def test_annotators_read_each_others_namings_once_a_blind_study_is_closed(naming, opened):
    study_id = naming.open_study().study_id
    zed = naming.desk(study_id, "Zed")
    zed.act(**create("c1", ACTIVATIONS["boat"][:2], "xyloglyph"))
    bo = opened(naming.invite(study_id, "Bo").token)
    for path in RESULTS:
        answer = bo.get(f"/api/studies/{study_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
        assert "once it is closed" in answer.json()["message"]
    naming.calls.CloseStudy(pb.CloseStudyRequest(study_id=study_id))
    read = [bo.get(f"/api/studies/{study_id}{path}") for path in RESULTS]
    assert [answer.status_code for answer in read] == [200] * len(RESULTS)
    assert "Zed" in read[1].text
    assert "xyloglyph" in read[2].text
    assert "xyloglyph" in read[3].text
    assert bo.post(f"/api/studies/{study_id}/open", json={}).status_code == 403


OF_RESULTS = [
    route.path.format(study_id="", annotator_id="a", image_id="i", file="index.html").removeprefix(
        "/api/studies//"
    )
    for route in (*ROUTES, *HANDWRITTEN)
    if route.access is Access.RESULTS
]


def test_results_open_to_annotators_with_the_end_of_a_study_that_is_not_blind(naming, opened):
    study_id = naming.open_study(settings=pb.StudySettings(blind=False)).study_id
    bo = opened(naming.invite(study_id, "Bo").token)
    naming.calls.CloseStudy(pb.CloseStudyRequest(study_id=study_id))
    # No analytics runs here: who gets as far as to miss it was let in.
    assert bo.get(f"/api/studies/{study_id}/purity").json()["code"] == "UNAVAILABLE"


def test_annotators_of_a_study_that_is_not_blind_read_each_others_namings(naming, opened):
    study_id = naming.open_study(settings=pb.StudySettings(blind=False)).study_id
    invited = naming.invite(study_id, "Bo")
    bo = opened(invited.token)
    assert bo.get(f"/api/studies/{study_id}/namings.json").status_code == 200
    for path in OF_RESULTS:
        answer = bo.get(f"/api/studies/{study_id}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED"), path
        assert "once it is closed" in answer.json()["message"]
    request = pb.RevokeInvitationRequest(study_id=study_id, annotator_id=invited.annotator.annotator_id)
    naming.calls.RevokeInvitation(request)
    assert bo.get(f"/api/studies/{study_id}/namings.json").status_code == 401


def test_a_stream_ends_when_its_link_is_taken_back(naming, opened):
    study_id = naming.open_study().study_id
    invited = naming.invite(study_id)
    ada = opened(invited.token)
    annotator_id = invited.annotator.annotator_id
    path = f"/api/studies/{study_id}/annotators/{annotator_id}/naming/events"
    answered = []
    reader = threading.Thread(target=lambda: answered.append(ada.get(path, params={"category": "boat"})))
    reader.start()
    time.sleep(1)
    assert not answered
    naming.calls.RevokeInvitation(pb.RevokeInvitationRequest(study_id=study_id, annotator_id=annotator_id))
    reader.join(timeout=30)
    assert answered[0].text.count("data: ") == 1
    assert ada.get(path, params={"category": "boat"}).status_code == 401
