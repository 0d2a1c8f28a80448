"""Mutual TLS: who shows no good certificate is refused, on both sides; renewed ones are taken as they come."""

import subprocess
from pathlib import Path

import grpc
import pytest

from onoma.client import Addresses, Client, NotImplementedYet, ServerUnavailable
from services.runtime.certificates import read_certificate
from services.runtime.channels import open_channel
from services.runtime.settings import RuntimeSettings
from tests.services.certified import DAY, Authority
from tests.services.runtime.echo import Echo, EchoStub, start_echo

DEADLINE_S = 20
Code = grpc.StatusCode
SCRIPT = Path(__file__).parents[3] / "scripts/make-dev-ca.sh"


@pytest.fixture(scope="module")
def authority():
    return Authority.new()


@pytest.fixture
def secure(authority, tmp_path):
    """Settings with a good certificate."""
    return RuntimeSettings(data_dir=tmp_path, tls_dir=authority.write(tmp_path / "tls"))


@pytest.fixture
def address(secure):
    running = start_echo(Echo(), secure)
    yield f"localhost:{running.address.rpartition(':')[2]}"
    running.stop(within_s=0)


def asked(address, settings, timeout_s=DEADLINE_S):
    with open_channel(address, settings) as channel:
        return EchoStub(channel).unary(b"x", timeout=timeout_s)


def refused(address, settings):
    with pytest.raises(grpc.RpcError) as caught:
        asked(address, settings)
    return caught.value.code()


def with_tls(settings, folder):
    return settings.model_copy(update={"tls_dir": folder})


def test_those_of_one_authority_speak_to_each_other(address, secure):
    assert asked(address, secure) == b"x"


def test_a_client_without_a_certificate_is_refused(address, secure):
    authority = (secure.tls_dir / "ca.crt").read_bytes()
    with (
        grpc.secure_channel(address, grpc.ssl_channel_credentials(authority)) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        EchoStub(channel).unary(b"x", timeout=DEADLINE_S)
    assert caught.value.code() == Code.UNAVAILABLE


def test_a_plain_client_is_refused(address, secure):
    assert refused(address, with_tls(secure, None)) == Code.UNAVAILABLE


def test_a_client_of_another_authority_is_refused(address, secure, tmp_path):
    stranger = Authority.new().write(tmp_path / "stranger")
    (stranger / "ca.crt").write_bytes((secure.tls_dir / "ca.crt").read_bytes())
    assert refused(address, with_tls(secure, stranger)) == Code.UNAVAILABLE


def test_a_client_with_an_expired_certificate_is_refused(address, secure, authority, tmp_path):
    expired = authority.write(tmp_path / "expired", lasts=-DAY)
    assert refused(address, with_tls(secure, expired)) == Code.UNAVAILABLE


@pytest.mark.parametrize("fault", ["expired", "another host", "another authority"])
def test_a_server_without_a_good_certificate_is_not_spoken_to(secure, authority, tmp_path, fault):
    folder = tmp_path / "bad"
    if fault == "expired":
        authority.write(folder, lasts=-DAY)
    elif fault == "another host":
        authority.write(folder, hosts=("naming.example", "192.0.2.1"))
    else:
        Authority.new().write(folder)
        (folder / "ca.crt").write_bytes((secure.tls_dir / "ca.crt").read_bytes())
    running = start_echo(Echo(), with_tls(secure, folder))
    try:
        assert refused(f"localhost:{running.address.rpartition(':')[2]}", secure) == Code.UNAVAILABLE
    finally:
        running.stop(within_s=0)


def test_renewed_certificates_are_taken_without_a_restart(secure, authority, tmp_path):
    running = start_echo(Echo(), secure)
    address = f"localhost:{running.address.rpartition(':')[2]}"
    theirs = with_tls(secure, authority.write(tmp_path / "theirs"))
    try:
        with open_channel(address, theirs) as channel:
            stub = EchoStub(channel)
            assert stub.unary(b"x", timeout=DEADLINE_S) == b"x"
            other = Authority.new()
            other.write(secure.tls_dir)
            # The channel still shows a certificate of the authority before; a new connection is refused.
            assert refused(address, theirs) == Code.UNAVAILABLE
            other.write(theirs.tls_dir)
            assert stub.unary(b"y", timeout=DEADLINE_S) == b"y"
            assert stub.unary.future(b"z", timeout=DEADLINE_S).result() == b"z"
            assert list(stub.stream_out(b"z", timeout=DEADLINE_S)) == [b"z", b"z"]
            assert stub.stream_in(iter([b"a", b"b"]), timeout=DEADLINE_S) == b"ab"
            assert list(stub.both(iter([b"a", b"b"]), timeout=DEADLINE_S)) == [b"a", b"b"]
    finally:
        running.stop(within_s=0)


def test_half_a_renewal_leaves_the_certificate_before(address, secure, authority, tmp_path, caplog):
    theirs = with_tls(secure, authority.write(tmp_path / "theirs"))
    (secure.tls_dir / "tls.key").write_text("half of a key")
    assert asked(address, theirs) == b"x"
    assert "going on with the certificate read before: ONOMA_TLS_DIR=" in caplog.text


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda folder: (folder / "ca.crt").unlink(), "No such file.*ca.crt.*it needs"),
        (lambda folder: (folder / "tls.crt").write_text("nothing"), "not PEM"),
        (
            lambda folder: (folder / "tls.key").write_bytes(
                (Authority.new().write(folder.parent / "other") / "tls.key").read_bytes()
            ),
            "tls.key is not the key of tls.crt",
        ),
    ],
)
def test_a_folder_that_cannot_be_used_is_named(secure, break_it, told):
    break_it(secure.tls_dir)
    with pytest.raises(ValueError, match=told) as caught:
        read_certificate(secure.tls_dir)
    assert str(caught.value).startswith(f"ONOMA_TLS_DIR={secure.tls_dir}: ")


def test_the_development_authority_serves_every_service_and_the_owners_client(tmp_path, monkeypatch):
    subprocess.run([SCRIPT, tmp_path / "ca", "{}.onoma.test"], check=True, capture_output=True)
    settings = RuntimeSettings(data_dir=tmp_path, tls_dir=tmp_path / "ca/inference")
    running = start_echo(Echo(), settings)
    address = f"localhost:{running.address.rpartition(':')[2]}"
    try:
        for name in ("inference", "attribution", "naming", "analytics", "gateway", "owner"):
            assert asked(address, with_tls(settings, tmp_path / "ca" / name)) == b"x"
        addresses = Addresses(inference=address)
        with Client(addresses, timeout_s=2) as plain, pytest.raises(ServerUnavailable):
            plain.get_model("net")
        monkeypatch.setenv("ONOMA_TLS_DIR", str(tmp_path / "ca/owner"))
        with Client(addresses) as owner, pytest.raises(NotImplementedYet):  # the echo has no models
            owner.get_model("net")
    finally:
        running.stop(within_s=0)
