"""The gateway before a real naming service."""

import uuid

import grpc
import pytest
from starlette.testclient import TestClient

from onoma.v1.naming_pb2_grpc import NamingServiceStub
from services.gateway.app import build
from services.naming.service import build as build_naming
from services.runtime.server import start
from services.runtime.settings import RuntimeSettings
from tests.services.naming.conftest import Server, inference_address

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
