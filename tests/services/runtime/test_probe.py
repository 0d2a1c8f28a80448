"""The health check of containers: what it says of a service, and how it exits."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.runtime.probe import problem
from services.runtime.settings import RuntimeSettings

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def servicer() -> Iterator[tuple[health.HealthServicer, RuntimeSettings]]:
    """Health on a free port, and the settings that lead to it."""
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield servicer, RuntimeSettings(health_port=port)
    server.stop(None).wait()


def test_a_ready_service_has_no_problem(servicer) -> None:
    servicer[0].set("", SERVING)
    assert problem(servicer[1]) == ""


def test_a_service_that_lost_its_database_is_not_ready(servicer) -> None:
    servicer[0].set("", NOT_SERVING)
    assert problem(servicer[1]).startswith("NOT_SERVING")


def test_a_port_where_nobody_answers_is_named(servicer) -> None:
    settings = RuntimeSettings(health_port=1)
    assert problem(settings).startswith("nothing answers on ONOMA_HEALTH_PORT=1")


def test_without_a_port_it_says_which_setting_is_missing() -> None:
    assert "ONOMA_HEALTH_PORT" in problem(RuntimeSettings())


@pytest.mark.parametrize(("status", "code"), [(SERVING, 0), (NOT_SERVING, 1)])
def test_the_exit_code_is_what_containers_ask_for(servicer, status, code) -> None:
    servicer[0].set("", status)
    environment = os.environ | {"ONOMA_HEALTH_PORT": str(servicer[1].health_port)}
    probe = [sys.executable, "-m", "services.runtime.probe"]
    assert subprocess.run(probe, env=environment, capture_output=True, timeout=30).returncode == code


def test_a_proxy_that_the_engine_tells_containers_of_is_not_asked(servicer) -> None:
    servicer[0].set("", SERVING)
    proxy = "http://127.0.0.1:1"
    told = {"ONOMA_HEALTH_PORT": str(servicer[1].health_port), "http_proxy": proxy, "HTTP_PROXY": proxy}
    environment = {key: value for key, value in os.environ.items() if key.lower() != "no_proxy"} | told
    probe = [sys.executable, "-m", "services.runtime.probe"]
    asked = subprocess.run(probe, env=environment, capture_output=True, text=True, timeout=30)
    assert (asked.returncode, asked.stderr) == (0, "")
