"""All services and the page with certificates and shared keys, as they run where others can reach them."""

import urllib.request

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from onoma.client import Addresses, Client, NotAllowed, NotFound, ServerUnavailable
from onoma.v1 import analytics_pb2
from onoma.v1.analytics_pb2_grpc import AnalyticsServiceStub
from services.runtime.channels import open_channel
from services.up import local_settings, start_all
from tests.services.certified import Authority

TOKEN = "the-owners-token"


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secured")
    private = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "keys").mkdir()
    (folder / "keys/1.pem").write_bytes(private)
    given = {
        "tls_dir": Authority.new().write(folder / "tls", hosts=("localhost", "127.0.0.1")),
        "signing_keys_dir": folder / "keys",
        "access_token": TOKEN,
        "drain_s": 1.0,
    }
    settings = local_settings(folder / "data", free_ports=True).model_copy(update=given)
    up = start_all(settings, 0)
    yield settings, up
    up.stop()


def test_the_owner_works_by_certificate_and_token_and_services_reach_each_other(secured):
    settings, up = secured
    addresses = Addresses(**up.addresses)
    with Client(addresses, token=TOKEN, tls_dir=settings.tls_dir) as owner:
        # Naming asks inference for the network.
        with pytest.raises(NotFound, match="no-such-model"):
            owner.create_study("s", "no-such-model", "d", "x", ["boat"])
        # Analytics asks naming for the study.
        with pytest.raises(NotFound, match="no-such-study"):
            owner.get_coverage("no-such-study")
    with Client(addresses, token="guess", tls_dir=settings.tls_dir) as stranger, pytest.raises(NotAllowed):
        stranger.get_study("s1")
    with Client(addresses, token=TOKEN, timeout_s=2) as plain, pytest.raises(ServerUnavailable):
        plain.get_study("s1")


def test_without_a_token_nobody_is_the_owner_where_keys_are_shared(secured):
    settings, up = secured
    nobody = settings.model_copy(update={"access_token": ""})
    with open_channel(up.addresses["analytics"], nobody) as channel, pytest.raises(grpc.RpcError) as caught:
        AnalyticsServiceStub(channel).GetCoverage(analytics_pb2.GetCoverageRequest(study_id="s1"), timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_the_page_reaches_the_services(secured):
    _, up = secured
    with urllib.request.urlopen(f"{up.page_url}/api/studies", timeout=20) as answer:
        assert answer.status == 200
