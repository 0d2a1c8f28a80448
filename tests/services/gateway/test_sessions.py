"""Who may ask what: the owner by sitting at the machine, an annotator by the link."""

import pytest
from starlette.testclient import TestClient

from services.gateway.app import build
from services.gateway.routes import HANDWRITTEN, ROUTES, Access
from services.gateway.sessions import cookie_name
from tests.services.gateway.conftest import LOOPBACK
from tests.services.gateway.standins import LINK_DAYS

PATH_VALUES = {
    "study_id": "s1",
    "annotator_id": "bob",
    "image_id": "image1",
    "file": "index.html",
    "job_id": "j1",
}


def paths(access: Access) -> list[tuple[str, str]]:
    return [
        (route.method, route.path.format(**PATH_VALUES))
        for route in (*ROUTES, *HANDWRITTEN)
        if route.access is access
    ]


@pytest.mark.parametrize(("method", "path"), paths(Access.ANNOTATOR))
def test_no_annotator_reaches_anothers_naming(ada: TestClient, method, path):
    answer = ada.request(method, path, json={} if method == "POST" else None)
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(("method", "path"), paths(Access.ANNOTATOR))
def test_ones_own_token_under_anothers_name_opens_nothing(ada: TestClient, method, path):
    ada.cookies.set(cookie_name("s1", "bob"), "ada-token")
    answer = ada.request(method, path, json={} if method == "POST" else None)
    assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(("method", "path"), paths(Access.OWNER))
def test_the_owners_routes_are_closed_to_other_machines(ada: TestClient, method, path):
    answer = ada.request(method, path, json={} if method == "POST" else None)
    assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1.evil.test", "10.0.0.1"])
def test_a_name_elsewhere_that_points_here_does_not_make_an_owner(settings, host):
    with TestClient(build(settings), base_url=f"http://{host}", client=LOOPBACK) as client:
        assert client.get("/api/studies").status_code == 403


def test_the_token_is_out_of_reach_of_scripts_and_other_sites(ada: TestClient):
    header = ada.post("/api/invitations", json={"token": "ada-token"}).headers["set-cookie"]
    assert "HttpOnly" in header
    assert "SameSite=strict" in header
    assert "Path=/api" in header


def test_the_cookie_lives_as_long_as_the_link(ada: TestClient):
    header = ada.post("/api/invitations", json={"token": "ada-token"}).headers["set-cookie"]
    max_age_s = int(header.partition("Max-Age=")[2].partition(";")[0])
    assert LINK_DAYS * 24 * 3600 - 3600 < max_age_s <= LINK_DAYS * 24 * 3600


def test_a_browser_that_says_it_has_many_links_has_a_few_of_them_tried(ada: TestClient, stand_ins):
    for number in range(50):
        ada.cookies.set(cookie_name("s1", f"guess{number}"), f"guess{number}")
    stand_ins.naming.asked.clear()
    assert ada.get("/api/studies/s1").status_code in (401, 403)
    assert len(stand_ins.naming.asked) <= 8


def test_two_links_in_one_browser_stay_apart(ada: TestClient):
    ada.post("/api/invitations", json={"token": "bob-token"})
    for name in ("ada", "bob"):
        answer = ada.get(f"/api/studies/s1/annotators/{name}/naming", params={"category": "dress"})
        assert answer.json()["naming"]["annotator_id"] == name


def test_a_token_that_nobody_knows_opens_nothing(ada: TestClient):
    assert ada.post("/api/invitations", json={"token": "guess"}).status_code == 404


def test_a_revoked_token_asks_for_a_new_link(ada: TestClient):
    ada.cookies.set(cookie_name("s1", "bob"), "revoked")
    answer = ada.get("/api/studies/s1/annotators/bob")
    assert answer.status_code == 401
    assert "new link" in answer.json()["message"]


@pytest.fixture
def viewer(settings):
    """A viewer's browser, elsewhere, after following the link."""
    with TestClient(build(settings), base_url="http://onoma.test", client=("203.0.113.9", 50000)) as client:
        client.post("/api/invitations", json={"token": "vi-token"}).raise_for_status()
        yield client


def test_a_viewer_reads_results_and_nothing_else(viewer: TestClient):
    assert viewer.get("/api/studies/s1").json()["study"]["study_id"] == "s1"
    assert viewer.get("/api/studies/s1/images/image1").content == b"image1 as net sees it"
    csv = viewer.get("/api/studies/s1/namings.csv")
    assert csv.text == "annotator,category\n"
    assert 'filename="namings.csv"' in csv.headers["content-disposition"]
    for method, path in paths(Access.OWNER) + paths(Access.ANNOTATOR):
        answer = viewer.request(method, path, json={} if method == "POST" else None)
        assert answer.status_code in (401, 403), path


def test_a_report_is_written_anew_for_the_owner_alone(viewer: TestClient):
    answer = viewer.get("/api/studies/s1/report/index.html", params={"fresh": "1"})
    assert answer.status_code in (401, 403)


@pytest.mark.parametrize(("method", "path"), paths(Access.OTHERS) + paths(Access.RESULTS))
def test_an_annotator_reads_no_results(ada: TestClient, method, path):
    for cookie in ("", "ada-token"):
        ada.cookies.set(cookie_name("s1", "vi"), cookie)
        answer = ada.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(("method", "path"), paths(Access.OTHERS) + paths(Access.RESULTS))
def test_a_viewer_reads_results_of_the_own_study_alone(viewer: TestClient, method, path):
    viewer.cookies.set(cookie_name("s2", "vi"), "vi-token")
    answer = viewer.request(method, path.replace("/s1", "/s2"))
    assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")


def test_an_explanation_shows_a_viewer_no_picture_of_others(viewer: TestClient, owner: TestClient):
    path = "/api/studies/s1/annotators/ada/explanation"
    other = viewer.get(path, params={"image_id": "of another study"})
    assert (other.status_code, other.json()["code"]) == (404, "NOT_FOUND")
    sent = viewer.get(path, params={"content": "aGF0"})
    assert (sent.status_code, "content can be set by the study's owner alone" in sent.text) == (403, True)
    # The stand-in for analytics does not serve these: the request has gone on to it.
    assert viewer.get(path, params={"image_id": "image1"}).json()["code"] == "UNIMPLEMENTED"
    assert owner.get(path, params={"image_id": "of another study"}).json()["code"] == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    ("path", "field"), [("agreement", "shuffles"), ("agreement", "timeLimitS"), ("consensus", "time_limit_s")]
)
def test_what_makes_an_analysis_long_is_the_owners(viewer: TestClient, owner: TestClient, path, field):
    refused = viewer.get(f"/api/studies/s1/{path}", params={field: "3"})
    assert (refused.status_code, refused.json()["code"]) == (403, "PERMISSION_DENIED")
    assert "by the study's owner alone: leave it out" in refused.json()["message"]
    # The stand-in for analytics does not serve these: the request has gone on to it.
    assert viewer.get(f"/api/studies/s1/{path}").json()["code"] == "UNIMPLEMENTED"
    assert owner.get(f"/api/studies/s1/{path}", params={field: "3"}).json()["code"] == "UNIMPLEMENTED"
