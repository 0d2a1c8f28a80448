"""The owner signs in, by a provider or by the token; whatever is wrong on the way lets nobody in."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from starlette.testclient import TestClient

from services.gateway.app import build
from services.gateway.settings import SignInSettings
from services.runtime.settings import read_settings
from tests.services.gateway.conftest import LOOPBACK
from tests.services.gateway.stand_in_provider import CLIENT_ID, SECRET, StandInProvider, serve

PAGE = "https://onoma.test"
TOKEN = "the-owners-token"
ELSEWHERE = ("203.0.113.9", 50000)


@pytest.fixture
def provider():
    standing_in = StandInProvider()
    stop = serve(standing_in)
    yield standing_in
    stop()


@pytest.fixture
def with_provider(provider, settings, monkeypatch):
    """A browser elsewhere, and a gateway that owners sign in to."""
    for name, value in {
        "OIDC_ISSUER": provider.url,
        "OIDC_CLIENT_ID": CLIENT_ID,
        "OIDC_CLIENT_SECRET": SECRET,
        "PUBLIC_URL": PAGE,
        "OWNERS": json.dumps(["person-1", "ann@example.org"]),
    }.items():
        monkeypatch.setenv(f"ONOMA_{name}", value)
    with TestClient(build(settings), base_url=PAGE, client=ELSEWHERE, follow_redirects=False) as browser:
        yield browser


@pytest.fixture
def with_token(settings):
    settings = settings.model_copy(update={"access_token": TOKEN})
    with TestClient(build(settings), base_url=PAGE, client=ELSEWHERE, follow_redirects=False) as browser:
        yield browser


def sign_in(browser, provider, **changed):
    away = browser.get("/sign-in/provider")
    assert away.status_code == 302
    back = provider.authorize(away.headers["location"]) | changed
    return browser.get("/sign-in/back", params=back)


def is_owner(browser):
    return browser.get("/api/studies").status_code == 200


def test_an_owner_signs_in_at_the_provider_and_out_again(with_provider, provider):
    assert not is_owner(with_provider)
    assert provider.url in with_provider.get("/sign-in").text
    answer = sign_in(with_provider, provider)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert is_owner(with_provider)
    assert provider.asked["redirect_uri"] == f"{PAGE}/sign-in/back"
    assert provider.asked["response_type"] == "code"
    assert with_provider.post("/sign-out").headers["location"] == "/sign-in"
    assert not is_owner(with_provider)


def test_the_session_is_out_of_reach_of_scripts_and_other_sites_and_ends(with_provider, provider):
    set_cookie = sign_in(with_provider, provider).headers.get_list("set-cookie")
    session = next(one for one in set_cookie if one.startswith("__Host-onoma-session="))
    for said in ("HttpOnly", "Secure", "SameSite=lax", "Path=/", "Max-Age=28800"):
        assert said in session
    assert "Domain" not in session


def test_each_sign_in_is_a_new_session(with_provider, provider):
    with_provider.cookies.set("__Host-onoma-session", "planted-by-somebody")
    sessions = []
    for _ in range(2):
        sign_in(with_provider, provider)
        sessions.append(with_provider.cookies.get("__Host-onoma-session", domain="onoma.test"))
    assert len({*sessions, "planted-by-somebody"}) == 3


@pytest.mark.parametrize("owners", [["ann@example.org"], ["person-1"]])
def test_an_owner_is_known_by_subject_or_verified_address(with_provider, provider, owners):
    with_provider.app.state.sign_in._of.owners = owners
    sign_in(with_provider, provider)
    assert is_owner(with_provider)


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "person-2", "email": "bob@example.org"},
        {"sub": "person-2", "email_verified": False},
        {"sub": "person-2", "email_verified": None},
        {"sub": "person-2", "email_verified": "true"},
    ],
    ids=str,
)
def test_somebody_else_signs_in_in_vain(with_provider, provider, claims):
    provider.claims = claims
    answer = sign_in(with_provider, provider)
    assert answer.status_code == 401
    assert "not one of the owners" in answer.text
    assert not is_owner(with_provider)


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-page"},
        {"aud": None},
        {"iss": "https://another.example"},
        # Fixed, for it is in the test's name: pytest-xdist ends where two workers collect other names.
        {"exp": 1_700_003_600, "iat": 1_700_000_000},
        {"exp": None},
        {"sub": None},
    ],
    ids=str,
)
def test_an_id_token_with_wrong_claims_lets_nobody_in(with_provider, provider, claims):
    provider.claims = claims
    answer = sign_in(with_provider, provider)
    assert answer.status_code == 401
    assert "did not work" in answer.text
    assert not is_owner(with_provider)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(generate_private_key(65537, 2048), "RS256"), (None, "none"), (SECRET * 4, "HS256")],
)
def test_a_forged_id_token_lets_nobody_in(with_provider, provider, key, algorithm):
    provider.key, provider.algorithm = key, algorithm
    assert sign_in(with_provider, provider).status_code == 401
    assert not is_owner(with_provider)


def test_the_owners_token_cannot_be_guessed_by_programs_either(with_token):
    def get(token):
        return with_token.get("/api/studies", headers={"authorization": f"Bearer {token}"}).status_code

    assert get(TOKEN) == 200
    assert [get(f"guess {number}") for number in range(12)] == [403] * 12
    assert get(TOKEN) == 403  # nobody looks for a while
    assert with_token.get("/api/studies", headers={"authorization": f"Basic {TOKEN}"}).status_code == 403


def test_a_way_back_that_this_browser_did_not_begin_lets_nobody_in(with_provider, provider):
    assert sign_in(with_provider, provider, state="another").status_code == 401
    assert provider.token_requests == []
    with_provider.cookies.clear()
    back = provider.authorize(with_provider.get("/sign-in/provider").headers["location"])
    with_provider.cookies.clear()
    assert with_provider.get("/sign-in/back", params=back).status_code == 401
    with_provider.cookies.set("onoma.sign-in", "forged.by.somebody")
    assert with_provider.get("/sign-in/back", params=back).status_code == 401
    assert not is_owner(with_provider)


def test_what_the_provider_refuses_is_a_line_on_the_page(with_provider, provider):
    assert sign_in(with_provider, provider, code="another").status_code == 401
    assert with_provider.get("/sign-in/back", params={"error": "<script>"}).text.count("<script>") == 0


def test_with_a_provider_nobody_is_the_owner_by_sitting_at_the_machine(with_provider, settings):
    with TestClient(build(settings), base_url="http://127.0.0.1:8080", client=LOOPBACK) as here:
        answer = here.get("/api/studies")
    assert (answer.status_code, answer.json()["reason"]) == (403, "SIGN_IN")


def test_an_expired_or_foreign_session_is_none(with_token):
    keys = with_token.app.state.sign_in._keys
    owner = {"sub": "x", "role": "owner", "study": ""}
    for session in (
        keys.sign(owner, "onoma.session", -10),
        keys.sign(owner, "onoma.v1.NamingService", 60),
        "planted",
    ):
        with_token.cookies.set("__Host-onoma-session", session)
        assert not is_owner(with_token)
    with_token.cookies.set("__Host-onoma-session", keys.sign(owner, "onoma.session", 60))
    assert is_owner(with_token)


def test_the_owner_signs_in_by_the_token(with_token):
    assert with_token.get("/sign-in/state").json() == {"is_signed_in": False}
    answer = with_token.post("/sign-in", data={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert is_owner(with_token)
    assert with_token.get("/sign-in/state").json() == {"is_signed_in": True}
    assert 'action="/sign-out"' in with_token.get("/sign-in").text


def test_the_owners_token_opens_the_routes_to_programs(with_token):
    for token, status in ((TOKEN, 200), ("guess", 403)):
        headers = {"Authorization": f"Bearer {token}"}
        assert with_token.get("/api/studies", headers=headers).status_code == status


def test_who_guesses_has_to_wait_and_others_do_not(with_token, settings):
    for _ in range(10):
        assert with_token.post("/sign-in", data={"token": "guess"}).status_code == 401
    answer = with_token.post("/sign-in", data={"token": TOKEN})
    assert answer.status_code == 429
    assert "wait a moment" in answer.text
    assert 0 < int(answer.headers["retry-after"]) <= 6
    assert with_token.post("/api/invitations", json={"token": "ada-token"}).status_code == 429
    with TestClient(
        with_token.app, base_url=PAGE, client=("203.0.113.10", 1), follow_redirects=False
    ) as other:
        assert other.post("/sign-in", data={"token": TOKEN}).status_code == 303


def test_who_guesses_invitations_has_to_wait_and_a_class_behind_one_address_does_not(with_token):
    for _ in range(50):
        assert with_token.post("/api/invitations", json={"token": "ada-token"}).status_code == 200
    codes = [with_token.post("/api/invitations", json={"token": f"{n}"}).status_code for n in range(12)]
    assert codes == [404] * 10 + [429] * 2


def test_no_name_and_no_token_is_logged(with_provider, provider, caplog):
    caplog.set_level("INFO", "onoma.audit")
    sign_in(with_provider, provider)
    with_provider.post("/sign-out")
    lines = [record for record in caplog.records if record.name == "onoma.audit"]
    assert [(line.subject, line.outcome) for line in lines] == [
        ("person-1", "signed in"),
        ("person-1", "signed out"),
    ]
    assert "ann@example.org" not in caplog.text


def test_what_the_gateway_refuses_is_in_the_audit_log_without_ids_and_tokens(with_token, caplog):
    caplog.set_level("INFO", "onoma.audit")
    foreign = {"origin": "https://evil.example"}
    answers = [
        with_token.get("/api/studies"),
        with_token.get("/api/studies/study-7", headers={"authorization": "Bearer a-guess"}),
        with_token.get("/api/studies/study-7/annotators/ann-7/naming?category=x"),
        with_token.post("/api/studies/study-7/close", json={}, headers=foreign),
        with_token.post("/api/invitations", json={"token": "x" * (9 << 20)}),
        with_token.get("/api/studies", headers={"authorization": f"Bearer {TOKEN}"}),
        with_token.get("/api/nothing"),
    ]
    lines = [record for record in caplog.records if record.name == "onoma.audit"]
    assert [(line.getMessage(), line.outcome) for line in lines] == [
        ("GET /api/studies", "PERMISSION_DENIED"),
        ("GET /api/studies/{study_id}", "PERMISSION_DENIED"),
        ("GET /api/studies/{study_id}/annotators/{annotator_id}/naming", "UNAUTHENTICATED"),
        ("POST /api/studies/{study_id}/close", "PERMISSION_DENIED"),
        ("POST /api/invitations", "RESOURCE_EXHAUSTED"),
    ]
    assert [line.request_id for line in lines] == [one.headers["x-request-id"] for one in answers[:5]]
    for _ in range(11):
        with_token.post("/sign-in", data={"token": "a-guess"})
    assert caplog.records[-1].getMessage() == "POST /sign-in"
    assert caplog.records[-1].outcome == "RESOURCE_EXHAUSTED"
    said = [str(vars(line)) for line in lines]
    assert not [one for one in said if "study-7" in one or "ann-7" in one or "a-guess" in one]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"OIDC_ISSUER": "https://id.example"},
            "ONOMA_OIDC_CLIENT_ID, ONOMA_OIDC_CLIENT_SECRET, ONOMA_OWNERS",
        ),
        ({"OIDC_ISSUER": "http://id.example"}, "is no https:// address"),
        ({"PUBLIC_URL": "http://onoma.example"}, "is no https:// address"),
    ],
)
def test_settings_that_cannot_be_are_named(monkeypatch, given, told):
    for name, value in given.items():
        monkeypatch.setenv(f"ONOMA_{name}", value)
    with pytest.raises(ValueError, match=told):
        read_settings(SignInSettings)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"tls": "outside"}, "set ONOMA_ACCESS_TOKEN or ONOMA_OIDC_ISSUER"),
        ({"access_token": TOKEN}, "set ONOMA_TLS=outside, or give it a certificate by ONOMA_HTTPS_DIR"),
    ],
)
def test_a_page_that_others_can_reach_needs_a_sign_in_and_tls(settings, given, told):
    with pytest.raises(ValueError, match=rf"^ONOMA_HOST=0\.0\.0\.0.*{told}$"):
        build(settings.model_copy(update={"host": "0.0.0.0", **given}))


def test_a_page_that_others_can_reach_may_have_a_certificate_of_its_own(settings, monkeypatch):
    monkeypatch.setenv("ONOMA_HTTPS_DIR", "/certificate")
    assert build(settings.model_copy(update={"host": "0.0.0.0", "access_token": TOKEN}))


def test_behind_a_proxy_nobody_is_the_owner_by_looking_like_the_machine(settings, monkeypatch):
    """nginx's defaults send neither the browser's address nor its host: everybody comes from loopback, to loopback."""
    monkeypatch.setenv("ONOMA_PUBLIC_URL", PAGE)
    with pytest.raises(ValueError, match=r"^ONOMA_PUBLIC_URL=.*set ONOMA_ACCESS_TOKEN or ONOMA_OIDC_ISSUER$"):
        build(settings)
    app = build(settings.model_copy(update={"access_token": TOKEN}))
    with TestClient(app, base_url="http://127.0.0.1:8080", client=LOOPBACK) as browser:
        assert browser.get("/api/studies").json()["reason"] == "SIGN_IN"
        assert browser.get("/api/studies", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_another_port_of_this_machine_is_still_this_machine(settings, monkeypatch):
    monkeypatch.setenv("ONOMA_PUBLIC_URL", "http://127.0.0.1:8090")
    with TestClient(build(settings), base_url="http://127.0.0.1:8090", client=LOOPBACK) as here:
        assert is_owner(here)


def test_a_page_that_others_can_reach_has_no_owner_by_sitting_at_the_machine(settings):
    given = {"host": "0.0.0.0", "tls": "outside", "access_token": TOKEN}
    app = build(settings.model_copy(update=given))
    with TestClient(app, base_url="http://127.0.0.1:8080", client=LOOPBACK) as here:
        assert here.get("/api/studies").json()["reason"] == "SIGN_IN"
