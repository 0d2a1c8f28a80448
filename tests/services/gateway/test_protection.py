"""What every route says to browsers, and what none takes from the page of another site."""

import itertools
import re
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import code_pb2, status_pb2
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status
from starlette.routing import Mount
from starlette.testclient import TestClient

from onoma.v1.naming_pb2 import AcceptInvitationRequest
from onoma.v1.naming_pb2_grpc import (
    NamingServiceServicer,
    NamingServiceStub,
    add_NamingServiceServicer_to_server,
)
from services.gateway import page, sessions
from services.gateway.app import build
from services.gateway.protection import REPORT_POLICY
from services.gateway.routes import HANDWRITTEN, ROUTES
from services.runtime.errors import FailedPrecondition, ResourceExhausted, Unavailable
from services.runtime.interceptors import CallInterceptor
from services.runtime.peers import asking
from services.runtime.settings import RuntimeSettings
from tests.services.gateway.conftest import LOOPBACK
from tests.services.gateway.standins import StandInNaming

VALUES = {
    "study_id": "s1",
    "annotator_id": "ada",
    "image_id": "image1",
    "job_id": "job1",
    "file": "index.html",
    "elsewhere": "no/page",
}


@pytest.fixture
def routes(owner):
    """Method and address of every route that the application has."""
    found = []
    for route in owner.app.routes:
        path = f"{route.path}/x.js" if isinstance(route, Mount) else route.path
        address = re.sub(r"{(\w+)(:\w+)?}", lambda match: VALUES[match[1]], path)
        methods = {"GET"} if isinstance(route, Mount) else route.methods - {"HEAD"}
        found += [(method, address) for method in methods]
    assert len(found) > len(ROUTES) + len(HANDWRITTEN)
    return found


def asked(browser, method, address, **headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return browser.request(
        method, address, json={} if method == "POST" else None, headers=given, follow_redirects=False
    )


def test_every_answer_carries_the_safety_headers(owner, routes):
    for method, address in [*routes, ("GET", "/nowhere"), ("DELETE", "/api/studies"), ("POST", "/healthz")]:
        headers = asked(owner, method, address).headers
        assert headers["x-content-type-options"] == "nosniff", address
        assert "frame-ancestors" in headers["content-security-policy"], address
        assert "'unsafe-inline'" not in headers["content-security-policy"], address
        assert "camera=()" in headers["permissions-policy"], address
        assert headers["referrer-policy"] == "same-origin", address
        assert "strict-transport-security" not in headers, address
        assert headers["x-request-id"], address


def test_a_fault_of_the_gateways_own_carries_them_too(owner, monkeypatch):
    def fault(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(sessions, "check_owner", fault)
    answer = asked(owner, "GET", "/api/studies", x_request_id="abcdef0123456789")
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
    assert "frame-ancestors" in answer.headers["content-security-policy"]
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_a_body_of_endless_brackets_is_no_json(owner):
    headers = {"content-type": "application/json"}
    answer = owner.post("/api/invitations", content="[" * 200_000, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_ARGUMENT")


def test_addresses_of_services_are_not_told(settings):
    settings = settings.model_copy(update={"naming_address": "127.0.0.1:9"})
    with TestClient(build(settings), base_url="http://127.0.0.1:8080", client=LOOPBACK) as browser:
        answer = browser.get("/api/studies")
    assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
    assert "127.0.0.1:9" not in answer.text


DATABASE = "postgresql+psycopg://onoma:***@db.inside:5432/onoma"


@pytest.mark.parametrize(
    ("error", "status", "way_out"),
    [
        (Unavailable(f"the database {DATABASE} is not to be had", "DATABASE_UNAVAILABLE"), 503, "try again later"),
        (Unavailable("the object store at db.inside:9000 failed", "OBJECT_STORE_FAILED"), 503, "try again later"),
        (FailedPrecondition(f"the database {DATABASE} is damaged", "DATABASE_DAMAGED"), 400, "try again later"),
        (ResourceExhausted("the disk of db.inside is full", "DISK_FULL"), 429, "free space"),
    ],
    ids=lambda one: getattr(one, "reason", ""),
)  # fmt: skip
def test_where_a_database_or_a_store_is_is_told_to_the_log_alone(caplog, error, status, way_out):
    server, address = _refusing(error)
    app = build(RuntimeSettings(naming_address=address))
    with TestClient(app, base_url="https://onoma.test", raise_server_exceptions=False) as browser:
        answer = browser.post("/api/invitations", json={"token": "a stranger's"})
    server.stop(None).wait()
    assert (answer.status_code, answer.json()["code"]) == (status, error.code.name)
    assert answer.json()["reason"] == error.reason
    assert way_out in answer.json()["message"]
    assert ("retry-after" in answer.headers) == (error.reason == "DISK_FULL")
    assert "db.inside" not in answer.text
    assert "db.inside" in caplog.text


def test_nor_is_that_of_a_service_behind_a_service():
    server, address = _refusing(Unavailable(f"the database {DATABASE} is away", "DATABASE_UNAVAILABLE"))
    with grpc.insecure_channel(address) as channel:
        accept = NamingServiceStub(channel).AcceptInvitation
        with pytest.raises(Unavailable) as raised, asking("naming"):
            accept(AcceptInvitationRequest(), timeout=10)
    server.stop(None).wait()
    assert raised.value.reason == "DATABASE_UNAVAILABLE"


def _refusing(error):
    """A naming service that refuses invitations so, and its address."""

    class Refusing(NamingServiceServicer):
        def AcceptInvitation(self, request, context):  # noqa: N802  gRPC's name
            raise error

    server = grpc.server(ThreadPoolExecutor(2), interceptors=[CallInterceptor()])
    add_NamingServiceServicer_to_server(Refusing(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"


def test_https_is_kept_to(settings, monkeypatch):
    with TestClient(build(settings), base_url="https://onoma.test") as browser:
        assert "max-age=31536000" in browser.get("/healthz").headers["strict-transport-security"]
    monkeypatch.setenv("ONOMA_PUBLIC_URL", "https://onoma.test")
    settings = settings.model_copy(update={"access_token": "the-owners-token"})
    with TestClient(build(settings), base_url="http://behind-a-proxy") as browser:
        assert "max-age=31536000" in browser.get("/healthz").headers["strict-transport-security"]


FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:9999"},
    {"origin": "http://["},
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "same-site", "origin": "http://127.0.0.1:8080"},
    {"sec_fetch_site": "same-origin", "origin": "https://evil.example"},
]


def test_no_route_that_changes_takes_what_another_site_sent(owner, routes, stand_ins):
    changing = [(method, address) for method, address in routes if method != "GET"]
    assert len(changing) >= sum(route.method == "POST" for route in (*ROUTES, *HANDWRITTEN)) + 2
    stand_ins.naming.asked.clear()
    for (method, address), headers in itertools.product(changing, FOREIGN):
        answer = asked(owner, method, address, **headers)
        assert (answer.status_code, answer.json()["reason"]) == (403, "OTHER_SITE"), (address, headers)
    assert stand_ins.naming.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:8080", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
    ],
    ids=str,
)
def test_the_page_itself_and_programs_are_served(owner, headers):
    assert asked(owner, "POST", "/api/studies/s1/open", **headers).json().get("reason") != "OTHER_SITE"


def test_behind_a_proxy_the_public_address_is_ones_own(settings, monkeypatch):
    monkeypatch.setenv("ONOMA_PUBLIC_URL", "https://onoma.test")
    settings = settings.model_copy(update={"access_token": "the-owners-token"})
    with TestClient(build(settings), base_url="http://10.0.0.3:8080", client=LOOPBACK) as browser:
        for origin, status in (("https://onoma.test", 200), ("https://evil.example", 403)):
            answer = browser.post("/api/invitations", json={"token": "ada-token"}, headers={"origin": origin})
            assert answer.status_code == status


def test_a_document_of_ours_runs_no_script_of_its_own(owner, settings):
    """What the policy would stop in a browser is not there in the first place."""
    documents = [owner.get("/sign-in").text]
    if (index := page.BUILT_PAGE / "index.html").is_file():
        documents.append(index.read_text())
    for document in documents:
        assert not re.search(r"<script(?![^>]*\bsrc=)|\bon\w+\s*=|<style|\bstyle=|javascript:", document)


def test_a_report_may_run_nothing():
    assert REPORT_POLICY.startswith("default-src 'none'; ")
    assert "script" not in REPORT_POLICY


def test_who_is_too_fast_is_told_when_to_ask_again(monkeypatch, request):
    def too_fast(self, request, context):
        again, packed = RetryInfo(), Any()
        again.retry_delay.FromMilliseconds(1200)
        packed.Pack(again)
        status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="slower", details=[packed])
        context.abort_with_status(rpc_status.to_status(status))

    monkeypatch.setattr(StandInNaming, "Act", too_fast)
    ada = request.getfixturevalue("ada")
    answer = ada.post("/api/studies/s1/annotators/ada/acts", json={"category": "dress"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
