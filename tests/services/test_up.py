"""All services and the page in one process."""

import json
import os
import socket
import ssl
import threading
import urllib.error
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2

from onoma.v1 import inference_pb2, inference_pb2_grpc
from services.up import SERVICES, _listen, local_settings, start_all
from tests.services.certified import Authority
from tests.services.health import becomes

DEADLINE_S = 30


@pytest.fixture
def settings(tmp_path):
    return local_settings(tmp_path, free_ports=True)


def port_of(address):
    return int(address.rpartition(":")[2])


def can_connect(address):
    try:
        socket.create_connection(("127.0.0.1", port_of(address)), timeout=5).close()
    except OSError:
        return False
    return True


def threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith(("jobs", "page"))}


def test_every_service_and_the_page_answer_and_all_ends_at_a_stop(settings):
    before = threads()
    running = start_all(settings, http_port=0)
    try:
        assert list(running.addresses) == list(SERVICES)
        for address in running.addresses.values():
            with grpc.insecure_channel(address) as channel:
                assert becomes(channel, health_pb2.HealthCheckResponse.SERVING)
        with urllib.request.urlopen(f"{running.page_url}/healthz", timeout=DEADLINE_S) as page:
            assert page.status == 200
    finally:
        running.stop()
    assert not any(map(can_connect, running.addresses.values()))
    assert not can_connect(running.page_url)
    assert threads() == before


def test_no_half_of_an_answer_of_the_page_waits_for_the_browser_to_acknowledge_the_other():
    with _listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_services_find_each_other_on_the_ports_they_got(settings):
    running = start_all(settings, http_port=0)
    try:
        with urllib.request.urlopen(f"{running.page_url}/api/studies", timeout=DEADLINE_S) as page:
            assert page.status == 200
    finally:
        running.stop()


def test_what_was_stored_is_there_after_a_second_start(settings, tmp_path):
    for _ in range(2):
        running = start_all(settings, http_port=None)
        assert running.page_url == ""
        with grpc.insecure_channel(running.addresses["inference"]) as channel:
            calls = inference_pb2_grpc.InferenceServiceStub(channel)
            listed = calls.ListDatasets(inference_pb2.ListDatasetsRequest(), timeout=DEADLINE_S)
        running.stop()
        assert list(listed.datasets) == []
    assert {path.name for path in tmp_path.glob("*.db")} >= {"inference.db", "naming.db"}


def test_a_taken_port_of_the_page_is_named_with_the_way_out_and_nothing_stays_behind(settings):
    before = threads()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"the page cannot listen on port {port}: .*--port"):
            start_all(settings, http_port=port)
    assert threads() == before


def test_a_taken_port_of_a_service_is_named_with_the_way_out_and_nothing_stays_behind(settings):
    before = threads()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            OSError, match=f"naming service cannot listen on {address}: .*ONOMA_NAMING_ADDRESS"
        ):
            start_all(settings.model_copy(update={"naming_address": address}), http_port=0)
    assert threads() == before


def test_a_data_folder_in_use_is_refused_and_free_again_after_a_stop(settings, tmp_path):
    running = start_all(settings, http_port=None)
    try:
        with pytest.raises(OSError, match=f"{tmp_path} is in use: process {os.getpid()} runs Onoma on it"):
            start_all(settings, http_port=None)
    finally:
        running.stop()
    start_all(settings, http_port=None).stop()


def test_a_data_folder_that_is_a_file_is_named(settings, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OSError, match=f"{file} cannot be the data folder: File exists; name another"):
        start_all(settings.model_copy(update={"data_dir": file}), http_port=None)


def test_the_page_is_served_over_https_where_it_has_a_certificate(settings, monkeypatch, tmp_path):
    folder = Authority.new().write(tmp_path / "certificate", hosts=("127.0.0.1",))
    monkeypatch.setenv("ONOMA_HTTPS_DIR", str(folder))
    running = start_all(settings, http_port=0)
    try:
        assert running.page_url.startswith("https://127.0.0.1:")
        believed = ssl.create_default_context(cafile=folder / "ca.crt")
        with urllib.request.urlopen(
            f"{running.page_url}/api/studies", timeout=DEADLINE_S, context=believed
        ) as page:
            assert page.status == 200  # whoever sits at the machine is the owner, as over plain HTTP
    finally:
        running.stop()


def test_with_a_provider_nobody_is_the_owner_by_sitting_at_the_machine(settings, monkeypatch):
    provider = {
        "OIDC_ISSUER": "https://id.example",
        "OIDC_CLIENT_ID": "onoma",
        "OIDC_CLIENT_SECRET": "secret",
        "OWNERS": '["ann@example.org"]',
        "PUBLIC_URL": "http://127.0.0.1:8080",
    }
    for name, value in provider.items():
        monkeypatch.setenv(f"ONOMA_{name}", value)
    running = start_all(settings, http_port=0)
    try:
        assert running.owner_signs_in_by == "ONOMA_OIDC_ISSUER=https://id.example"
        assert running.reach == "ONOMA_OIDC_ISSUER=https://id.example: the page's owner signs in."
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{running.page_url}/api/studies", timeout=DEADLINE_S)
        assert json.load(refused.value)["reason"] == "SIGN_IN"
    finally:
        running.stop()


def test_a_certificate_that_cannot_be_used_is_named_and_nothing_stays_behind(settings, monkeypatch, tmp_path):
    before = threads()
    monkeypatch.setenv("ONOMA_HTTPS_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(OSError, match=r"^ONOMA_HTTPS_DIR=.*nowhere: .*it needs tls\.crt and tls\.key"):
        start_all(settings, http_port=0)
    assert threads() == before


def test_a_wrong_environment_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("ONOMA_HOST", "0.0.0.0")
    with pytest.raises(ValueError, match=r"^ONOMA_HOST=0\.0\.0\.0 can be reached"):
        local_settings(tmp_path)
