"""Spans reach a collector, plainly or over TLS, with ONOMA_TLS_DIR or without it."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from services.runtime.settings import RuntimeSettings, read_settings
from tests.services.certified import Authority

SEND_ONE = """
from services.runtime import tracing
from services.runtime.settings import RuntimeSettings, read_settings
tracing.send_traces(read_settings(RuntimeSettings), "naming")
tracing.end(tracing.begin("asked", []), "OK")
tracing.send_the_rest()
"""


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: Queue[trace_service_pb2.ExportTraceServiceRequest] = Queue()

    def Export(self, request, context):  # noqa: N802
        self.sent.put(request)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def authority() -> Authority:
    return Authority.new()


@pytest.fixture
def collect(authority: Authority, tmp_path: Path):
    """Starts a collector, with a certificate or without one; returns it and its port."""
    servers = []

    def start(*, is_tls: bool) -> tuple[Collector, int]:
        collector, server = Collector(), grpc.server(ThreadPoolExecutor(1))
        servers.append(server)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
        if is_tls:
            folder = authority.write(tmp_path / "collector")
            pair = (folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes()
            port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
        else:
            port = server.add_insecure_port("localhost:0")
        server.start()
        return collector, port

    yield start
    for server in servers:
        server.stop(None).wait()


def send_one(told: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-c", SEND_ONE], env={**os.environ, **told}, check=True, timeout=60)


def assert_it_came(collector: Collector) -> None:
    [of_resource] = collector.sent.get(timeout=30).resource_spans
    [of_scope] = of_resource.scope_spans
    assert [span.name for span in of_scope.spans] == ["asked"]
    assert [one.value.string_value for one in of_resource.resource.attributes] == ["onoma-naming"]


@pytest.mark.parametrize("with_folder", [False, True])
def test_spans_go_plainly_to_an_http_address(
    collect, authority: Authority, tmp_path: Path, with_folder: bool
):
    collector, port = collect(is_tls=False)
    folder = {"ONOMA_TLS_DIR": str(authority.write(tmp_path / "own"))} if with_folder else {}
    send_one({"ONOMA_OTLP_ENDPOINT": f"http://localhost:{port}", **folder})
    assert_it_came(collector)


@pytest.mark.parametrize("with_folder", [False, True])
def test_spans_go_over_tls_to_an_https_address_whose_authority_is_named(
    collect, authority: Authority, tmp_path: Path, with_folder: bool
):
    collector, port = collect(is_tls=True)
    folder = {"ONOMA_TLS_DIR": str(Authority.new().write(tmp_path / "own"))} if with_folder else {}
    believed = str(tmp_path / "collector" / "ca.crt")
    send_one(
        {
            "ONOMA_OTLP_ENDPOINT": f"https://localhost:{port}",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": believed,
            **folder,
        }
    )
    assert_it_came(collector)


@pytest.mark.parametrize("wrong", ["collector:4317", "grpc://collector:4317", "http://"])
def test_an_address_that_does_not_say_whether_it_is_encrypted_is_refused(
    monkeypatch: pytest.MonkeyPatch, wrong: str
):
    monkeypatch.setenv("ONOMA_OTLP_ENDPOINT", wrong)
    with pytest.raises(ValueError, match=f"^ONOMA_OTLP_ENDPOINT={wrong}: .*http://HOST:4317.*https://"):
        read_settings(RuntimeSettings)
