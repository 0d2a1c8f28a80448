"""JSON in, one RPC, JSON out; and what goes wrong on the way."""

import grpc
import pytest
from starlette.testclient import TestClient

from services.gateway.app import build
from services.gateway.routes import HANDWRITTEN, ROUTES, Access
from services.runtime.settings import RuntimeSettings
from tests.services.gateway.conftest import LOOPBACK
from tests.services.gateway.standins import StandIns
from tests.services.gateway.test_sessions import PATH_VALUES

ADA = "/api/studies/s1/annotators/ada"
TABLE = {(route.method, route.path.format(**PATH_VALUES | {"annotator_id": "ada"})) for route in ROUTES}
VIEWER_ROUTES = [
    (r.method, r.path) for r in (*ROUTES, *HANDWRITTEN) if r.access in (Access.OTHERS, Access.RESULTS)
]


def test_the_gateway_is_alive_without_its_services():
    with TestClient(build(RuntimeSettings(naming_address="127.0.0.1:1"))) as client:
        assert client.get("/healthz").text == "ok\n"


def test_fields_keep_their_names_and_plain_ones_are_always_there(owner: TestClient):
    (study,) = owner.get("/api/studies").json()["studies"]
    assert study["study_id"] == "s1"
    assert study["activation_count"] == 3
    assert study["xnn_set"] == ""


def test_path_and_query_make_the_request(owner: TestClient):
    answer = owner.get(f"{ADA}/summary", params={"reading": "SUMMARY_READING_WITH_OTHER"}).json()
    assert answer["rows"][0]["names"] == ["ada", "SUMMARY_READING_WITH_OTHER"]


def test_an_act_is_the_annotators_in_the_path(ada: TestClient, stand_ins: StandIns):
    body = {
        "annotator_id": "ada",
        "category": "T-shirt/top",
        "request_id": "r1",
        "base_revision": "7",
        "command": {"create": {"concept_id": "c1", "name": "collar", "activation_ids": ["aa"]}},
    }
    naming = ada.post(f"{ADA}/acts", json=body).json()["naming"]
    assert (naming["annotator_id"], naming["revision"]) == ("ada", "8")
    assert stand_ins.naming.acts[0].command.create.name == "collar"


def spellings(name: str) -> set[str]:
    """How protobuf JSON may spell a field."""
    first, *more = name.split("_")
    return {name, first + "".join(part.capitalize() for part in more)}


IN_PATH = [
    (route.method, route.path, part, spelling)
    for route in (*ROUTES, *HANDWRITTEN)
    for part in PATH_VALUES
    if f"{{{part}}}" in route.path
    for spelling in sorted(spellings(part))
]


@pytest.mark.parametrize(("method", "path", "part", "spelling"), IN_PATH)
def test_what_the_path_names_cannot_be_named_otherwise(
    owner: TestClient, stand_ins: StandIns, method: str, path: str, part: str, spelling: str
):
    owner.post("/api/invitations", json={"token": "ada-token"}).raise_for_status()
    path = path.format(**PATH_VALUES | {"annotator_id": "ada"})
    other = {spelling: "another"}
    stand_ins.naming.asked.clear()
    answer = owner.post(path, json=other) if method == "POST" else owner.get(path, params=other)
    assert "another" not in str(stand_ins.naming.asked)
    if (method, path) in TABLE:
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("spelling", sorted(spellings("study_id")))
def test_a_viewers_cookie_for_one_study_reads_no_other(settings, stand_ins: StandIns, spelling: str):
    with TestClient(build(settings), base_url="http://onoma.test", client=("203.0.113.9", 50000)) as viewer:
        viewer.post("/api/invitations", json={"token": "vi-token"}).raise_for_status()
        for _, path in VIEWER_ROUTES:
            viewer.get(path.format(**PATH_VALUES), params={spelling: "s2"})
    assert "s2" not in str(stand_ins.naming.asked)


def test_a_viewers_token_goes_on_to_naming(settings, stand_ins: StandIns):
    with TestClient(build(settings), base_url="http://onoma.test", client=("203.0.113.9", 50000)) as viewer:
        viewer.post("/api/invitations", json={"token": "vi-token"}).raise_for_status()
        stand_ins.naming.authorizations.clear()
        for path in ("", "/annotators", "/namings.csv", "/images/image1"):
            viewer.get(f"/api/studies/s1{path}").raise_for_status()
    told = [token for rpc, token in stand_ins.naming.authorizations if rpc != "AcceptInvitation"]
    assert told == ["Bearer vi-token"] * 4


def test_a_stale_act_gets_the_naming_as_it_stands(ada: TestClient):
    body = {"category": "dress", "request_id": "r1", "base_revision": "3", "command": {"undo": {}}}
    answer = ada.post(f"{ADA}/acts", json=body)
    assert answer.status_code == 409
    assert answer.json()["code"] == "ABORTED"
    assert answer.json()["naming"]["revision"] == "7"
    assert answer.json()["naming"]["concepts"] == []


def test_a_refusal_is_a_problem_with_its_reason_and_request_id(owner: TestClient):
    answer = owner.get("/api/studies/s2", headers={"X-Request-Id": "mine-1"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.json() == {
        "code": "NOT_FOUND",
        "message": "no study 's2'",
        "reason": "NO_SUCH_STUDY",
        "request_id": "mine-1",
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/api/studies/s1/open", 400, "FAILED_PRECONDITION"),
        ("GET", "/api/studies/s1/coverage", 500, "INTERNAL"),
        ("GET", "/api/models", 501, "UNIMPLEMENTED"),
        ("GET", "/api/nothing", 404, "NOT_FOUND"),
        ("POST", "/healthz", 405, "UNIMPLEMENTED"),
    ],
)
def test_each_kind_of_refusal_has_its_http_status(owner: TestClient, method, path, status, code):
    answer = owner.request(method, path, json={} if method == "POST" else None)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_service_that_does_not_answer_is_503():
    settings = RuntimeSettings(naming_address="127.0.0.1:1")
    with TestClient(build(settings), base_url="http://localhost", client=LOOPBACK) as client:
        answer = client.get("/api/studies")
    assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("body", ["", "[1]", "{", '{"command": {"explode": {}}}', '{"base_revision": "x"}'])
def test_a_body_that_is_no_act_is_refused_in_words(ada: TestClient, body: str):
    answer = ada.post(f"{ADA}/acts", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 409)
    assert answer.json()["message"]


def test_a_form_of_another_site_is_refused(owner: TestClient):
    answer = owner.post("/api/studies/s1/close", content="{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 400
    assert "application/json" in answer.json()["message"]


def test_a_body_over_the_limit_is_refused(ada: TestClient):
    answer = ada.post(f"{ADA}/acts", json={"request_id": "x" * (9 * 1024 * 1024)})
    assert answer.status_code == 413
    assert answer.json()["reason"] == "TOO_LARGE"
    assert "send less at once" in answer.json()["message"]
    assert "retry-after" not in answer.headers


def test_the_request_id_goes_on_to_the_service(owner: TestClient, stand_ins: StandIns):
    sent = owner.get("/api/studies").headers["x-request-id"]
    owner.get("/api/studies", headers={"X-Request-Id": "evil\tid"})
    assert stand_ins.naming.request_ids[0] == sent
    assert stand_ins.naming.request_ids[1] != "evil\tid"


@pytest.mark.parametrize(
    ("details", "status", "reason", "passes"),
    [
        ("Concurrent RPC limit exceeded!", 429, "BUSY", True),
        ("SERVER: Received message larger than max (9 vs. 8)", 413, "TOO_LARGE", False),
    ],
)
def test_what_grpc_itself_refuses_has_a_reason(
    owner: TestClient, stand_ins: StandIns, details: str, status: int, reason: str, passes: bool
):
    stand_ins.naming.refusal = (grpc.StatusCode.RESOURCE_EXHAUSTED, details)
    answer = owner.post("/api/studies/s1/close", json={})
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert ("retry-after" in answer.headers) == passes
