"""Signed tokens: what is forged, old, or another's lets nobody in; keys are changed without a restart."""

import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from services.runtime import tokens
from services.runtime.errors import Unauthenticated
from services.runtime.settings import RuntimeSettings
from services.runtime.tokens import Caller, Keys, Role, keys_of

NAMING, INFERENCE = "onoma.v1.NamingService", "onoma.v1.InferenceService"
ADA = Caller(Role.ANNOTATOR, "ada", "s1")
OWNER = Caller(Role.OWNER, "somebody")


def pem_of(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def new_key(folder, kid):
    key = Ed25519PrivateKey.generate()
    (folder / f"{kid}.pem").write_bytes(pem_of(key))
    return key


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the monotonic clock is ahead."""
    ahead = [0.0]
    monotonic = time.monotonic
    monkeypatch.setattr(tokens.time, "monotonic", lambda: monotonic() + ahead[0])
    return ahead


def claims(**changed):
    now = time.time()
    usual = {"iss": "onoma", "aud": NAMING, "sub": "mallory", "role": "owner", "study": "", "jti": "1"}
    return {**usual, "iat": now, "exp": now + 60, **changed}


def kid_of(token):
    return jwt.get_unverified_header(token)["kid"]


@pytest.mark.parametrize("caller", [ADA, OWNER, Caller(Role.SERVICE, "gateway")])
def test_a_token_says_who_calls(caller):
    keys = Keys()
    assert keys.caller_of(keys.token_of(caller, NAMING), NAMING) == caller


def test_a_token_is_good_for_one_service_and_one_minute():
    keys = Keys()
    token = keys.token_of(OWNER, NAMING)
    with pytest.raises(Unauthenticated, match="Audience"):
        keys.caller_of(token, INFERENCE)
    said = jwt.decode(token, options={"verify_signature": False})
    assert said["exp"] - said["iat"] == 60


def test_an_expired_token_is_refused():
    keys = Keys()
    with pytest.raises(Unauthenticated, match="expired"):
        keys.caller_of(keys.sign({"sub": "x", "role": "owner", "study": ""}, NAMING, -10), NAMING)


def test_a_token_is_made_anew_before_it_is_old(clock):
    keys = Keys()
    first = keys.token_of(OWNER, NAMING)
    assert keys.token_of(OWNER, NAMING) == first
    clock[0] = 31
    assert keys.token_of(OWNER, NAMING) != first


@pytest.mark.parametrize(
    "changed",
    [{"iss": "somebody"}, {"aud": INFERENCE}, {"exp": 1}, {"role": "king"}]
    + [{missing: None} for missing in ("iss", "aud", "exp", "iat", "jti", "sub", "role", "study")],
    ids=str,
)
def test_claims_that_are_not_ours_are_refused_though_well_signed(tmp_path, changed):
    key, keys = new_key(tmp_path, "1"), Keys(tmp_path)
    said = {name: value for name, value in claims(**changed).items() if value is not None}
    token = jwt.encode(said, key, algorithm="EdDSA", headers={"kid": "1"})
    with pytest.raises(Unauthenticated):
        keys.caller_of(token, NAMING)


def test_forged_tokens_are_refused(tmp_path):
    key, keys = new_key(tmp_path, "1"), Keys(tmp_path)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    headers = {"kid": "1"}
    good = keys.token_of(ADA, NAMING)
    head, body, signature = good.split(".")
    other_body = keys.token_of(OWNER, NAMING).split(".")[1]
    forged = {
        "alg none": jwt.encode(claims(), None, algorithm="none", headers=headers),
        "the public key as a secret": jwt.encode(claims(), public, algorithm="HS256", headers=headers),
        "another key": jwt.encode(claims(), Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=headers),
        "RSA": jwt.encode(claims(), generate_private_key(65537, 2048), algorithm="RS256", headers=headers),
        "another's signature": f"{head}.{other_body}.{signature}",
        "no signature": f"{head}.{body}.",
        "no token": "a.b.c",
    }
    for name, token in forged.items():
        with pytest.raises(Unauthenticated):
            pytest.fail(f"{name}: {keys.caller_of(token, NAMING)}")


def test_a_flood_of_unknown_keys_reads_the_folder_once_a_second(tmp_path, monkeypatch):
    new_key(tmp_path, "1")
    keys = Keys(tmp_path)
    reads = []
    read = tokens._read
    monkeypatch.setattr(tokens, "_read", lambda folder: reads.append(folder) or read(folder))
    stranger = Ed25519PrivateKey.generate()
    began = time.monotonic()
    for number in range(500):
        token = jwt.encode(claims(), stranger, algorithm="EdDSA", headers={"kid": f"../{number}"})
        with pytest.raises(Unauthenticated, match="not known here"):
            keys.caller_of(token, NAMING)
    assert len(reads) <= 1 + (time.monotonic() - began)
    assert keys.caller_of(keys.token_of(ADA, NAMING), NAMING) == ADA


def test_keys_are_changed_without_a_restart(tmp_path, clock):
    new_key(tmp_path, "1")
    one, other = Keys(tmp_path), Keys(tmp_path)
    before = one.token_of(ADA, NAMING)
    new_key(tmp_path, "2")
    clock[0] = 11
    # The new one is known by now, and not signed with before all machines have it.
    assert kid_of(one.sign({"sub": "x"}, NAMING, 60)) == "1"
    clock[0] = 132
    token = one.token_of(ADA, NAMING)
    assert kid_of(token) == "2"
    assert other.caller_of(token, NAMING) == ADA
    (tmp_path / "1.pem").unlink()
    clock[0] = 143
    with pytest.raises(Unauthenticated, match="not known here"):
        other.caller_of(before, NAMING)


def test_a_key_that_others_signed_with_already_is_found_at_once(tmp_path, clock):
    new_key(tmp_path, "1")
    early = Keys(tmp_path)
    new_key(tmp_path, "2")
    late = Keys(tmp_path)  # a machine that has just started
    token = late.token_of(ADA, NAMING)
    assert kid_of(token) == "2"
    clock[0] = 2
    assert early.caller_of(token, NAMING) == ADA


def test_a_folder_that_is_emptied_leaves_the_keys_before(tmp_path, clock, caplog):
    new_key(tmp_path, "1")
    keys = Keys(tmp_path)
    (tmp_path / "1.pem").unlink()
    clock[0] = 11
    assert keys.caller_of(keys.token_of(ADA, NAMING), NAMING) == ADA
    assert "going on with the keys read before" in caplog.text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"nothing", "1.pem cannot be read"),
        (pem_of(generate_private_key(65537, 2048)), "1.pem is no Ed25519 key"),
        (None, "holds no key: openssl"),
    ],
    ids=["no PEM", "RSA", "none"],
)
def test_a_folder_that_cannot_be_used_is_named(tmp_path, content, told):
    if content:
        (tmp_path / "1.pem").write_bytes(content)
    with pytest.raises(ValueError, match=told) as caught:
        keys_of(RuntimeSettings(signing_keys_dir=tmp_path))
    assert str(caught.value).startswith(f"ONOMA_SIGNING_KEYS_DIR={tmp_path}")
