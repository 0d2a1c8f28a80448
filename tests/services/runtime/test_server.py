"""Servers start, say how they are, limit what comes in, and stop cleanly."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.runtime.channels import open_channel
from services.runtime.server import LIVE, start, stop_all
from services.runtime.settings import RuntimeSettings
from tests.networks_that_fail import proxy_before
from tests.ports import free_port
from tests.services.runtime.echo import NAME, Echo, EchoStub, start_echo

DEADLINE_S = 20
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

# A service of its own for `python -m`, since any real one needs more than this test wants to start.
SCRIPT = """
from services.runtime.server import main
from tests.services.runtime.echo import Echo
main(lambda settings: Echo().service(), "inference")
"""

# The same, with calls that are in flight for seconds.
SLOW = """
import time
from services.runtime.server import main
from tests.services.runtime.echo import Echo

def count(request, context):
    for number in range(6):
        yield str(number).encode()
        time.sleep(0.5)

echo = Echo(unary=lambda request, context: time.sleep(2) or request, stream_out=count)
main(lambda settings: echo.service(), "inference")
"""


def health_of(channel, service=""):
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=DEADLINE_S).status


@pytest.mark.parametrize("service", ["", NAME])
def test_health_is_known_from_the_first_moment(stub, service):
    assert health_of(stub.channel, service) == SERVING


def test_a_service_that_is_not_ready_says_so(echo, settings):
    def database_gone():
        raise ConnectionError("the database is gone")

    echo.ready = database_gone
    running = start_echo(echo, settings)
    with open_channel(running.address, settings) as channel:
        assert health_of(channel) == NOT_SERVING
    running.stop(within_s=0)


def test_a_service_that_needs_what_is_gone_is_alive_and_not_ready(echo, settings):
    def database_gone():
        raise ConnectionError("the database is gone")

    echo.ready = database_gone
    running = start_echo(echo, settings)
    address = f"127.0.0.1:{free_port()}"
    running.answer_probes(address)
    with grpc.insecure_channel(address) as channel:
        assert (health_of(channel, LIVE), health_of(channel)) == (SERVING, NOT_SERVING)
    running.stop(within_s=0)


def test_a_server_with_all_its_threads_taken_answers_probes(echo, settings):
    taken, go_on = threading.Semaphore(0), threading.Event()

    def slow(request, context):
        taken.release()
        go_on.wait(DEADLINE_S)
        return b"done"

    echo.unary = slow
    running = start_echo(echo, settings)
    address = f"127.0.0.1:{free_port()}"
    running.answer_probes(address)
    with open_channel(running.address, settings) as calls, grpc.insecure_channel(address) as channel:
        answers = [
            EchoStub(calls).unary.future(b"x", timeout=DEADLINE_S) for _ in range(settings.grpc_workers)
        ]
        assert all(taken.acquire(timeout=DEADLINE_S) for _ in answers)
        assert health_of(channel, LIVE) == SERVING
        go_on.set()
        assert [answer.result() for answer in answers] == [b"done"] * len(answers)
    running.stop(within_s=0)


def test_reflection_lists_the_service(stub):
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stub_ = reflection_pb2_grpc.ServerReflectionStub(stub.channel)
    (answer,) = stub_.ServerReflectionInfo(iter([request]), timeout=DEADLINE_S)
    names = {service.name for service in answer.list_services_response.service}
    assert names == {NAME, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


def test_a_draining_server_says_not_serving_and_still_answers(server, stub, echo):
    server.drain()
    assert health_of(stub.channel) == health_of(stub.channel, NAME) == NOT_SERVING
    assert stub.unary(b"x", timeout=DEADLINE_S) == b"x"
    assert echo.drained.is_set()


def test_a_stop_lets_calls_in_flight_end_and_then_closes_the_service(echo, settings):
    begun, go_on, open_at_the_end = threading.Event(), threading.Event(), []

    def slow(request, context):
        begun.set()
        go_on.wait(DEADLINE_S)
        open_at_the_end.append(not echo.closed.is_set())
        return b"done"

    echo.unary = slow
    running = start_echo(echo, settings)
    with open_channel(running.address, settings) as channel:
        answer = EchoStub(channel).unary.future(b"x", timeout=DEADLINE_S)
        assert begun.wait(DEADLINE_S)
        stopping = threading.Thread(target=running.stop)
        stopping.start()
        assert echo.drained.wait(DEADLINE_S)
        go_on.set()
        assert answer.result() == b"done"
        stopping.join()
    assert open_at_the_end == [True]
    assert echo.closed.is_set()


def test_a_call_that_does_not_end_is_cut_off(echo, settings):
    begun, go_on = threading.Event(), threading.Event()
    echo.unary = lambda request, context: begun.set() or (go_on.wait(DEADLINE_S) and b"") or b""
    running = start_echo(echo, settings)
    with open_channel(running.address, settings) as channel:
        answer = EchoStub(channel).unary.future(b"x", timeout=DEADLINE_S)
        assert begun.wait(DEADLINE_S)
        running.stop(within_s=0)
        assert answer.exception().code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    go_on.set()


def test_several_servers_stop_callers_first(settings):
    closed = []
    servers = []
    for number in range(3):
        echo = Echo()
        echo.closed.set = lambda number=number: closed.append(number)
        servers.append(start_echo(echo, settings))
    stop_all(servers[::-1], drain_s=5)
    assert closed == [2, 1, 0]


def test_a_message_over_the_limit_is_refused_by_name_both_ways(echo, tmp_path):
    settings = RuntimeSettings(data_dir=tmp_path, max_message_bytes=100_000)
    echo.unary = lambda request, context: bytes(200_000) if request == b"more" else b""
    running = start_echo(echo, settings)
    with (
        grpc.insecure_channel(running.address) as unlimited,
        open_channel(running.address, settings) as limited,
    ):
        for channel, request in ((unlimited, bytes(200_000)), (limited, b"more")):
            with pytest.raises(grpc.RpcError) as caught:
                EchoStub(channel).unary(request, timeout=DEADLINE_S)
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    running.stop(within_s=0)


def test_more_than_four_megabytes_pass(stub):
    assert len(stub.unary(bytes(8_000_000), timeout=DEADLINE_S)) == 8_000_000


def test_calls_beyond_the_limit_are_refused_and_those_within_answered(echo, tmp_path):
    settings = RuntimeSettings(data_dir=tmp_path, grpc_workers=8)
    go_on, one_ended = threading.Event(), threading.Event()
    echo.unary = lambda request, context: request if go_on.wait(DEADLINE_S) else b""
    running = start_echo(echo, settings)
    with open_channel(running.address, settings) as channel:
        answers = [EchoStub(channel).unary.future(b"x", timeout=DEADLINE_S) for _ in range(40)]
        for answer in answers:
            answer.add_done_callback(lambda _: one_ended.set())
        assert one_ended.wait(DEADLINE_S)
        go_on.set()
        codes = [answer.code() for answer in answers]
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes.count(grpc.StatusCode.OK) >= 32
    running.stop(within_s=0)


def test_readers_that_do_not_read_and_those_that_are_gone_without_a_word_hold_up_nobody_else(echo, tmp_path):
    settings = RuntimeSettings(data_dir=tmp_path, grpc_workers=8)
    given = Counter()

    def much(request, context):
        while context.is_active():
            given[request] += 1
            yield bytes(1_000_000)

    echo.stream_out = much
    running = start_echo(echo, settings)
    host, _, port = running.address.rpartition(":")
    with proxy_before((host, int(port))) as proxy, ExitStack() as opened:
        for number in range(6):
            # A connection each. Three read one answer and then no more; the others lose their line, unheard.
            address = running.address if number < 3 else f"127.0.0.1:{proxy.port}"
            # Probing makes the windows of a local connection tens of megabytes wide.
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
            stub = EchoStub(opened.enter_context(grpc.insecure_channel(address, options)))
            answers = stub.stream_out(str(number).encode(), timeout=3 * DEADLINE_S)
            opened.callback(answers.cancel)
            assert len(next(answers)) == 1_000_000
        proxy.hold.clear()
        with open_channel(running.address, settings) as channel:
            for _ in range(50):
                assert EchoStub(channel).unary(b"x", timeout=DEADLINE_S) == b"x"
        assert max(given.values()) < 10, "what nobody reads is made all the same"
        proxy.hold.set()
    running.stop(within_s=0)


def test_a_taken_port_is_named_with_the_way_out(echo, settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}.*ONOMA_INFERENCE_ADDRESS"):
            start(echo.service(), f"127.0.0.1:{port}", settings)


def most_memory_bytes(process):
    """What the process has had at most so far."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


class TestProcess:
    """`python -m services.NAME`, by the same `main`."""

    @staticmethod
    def start(script=SCRIPT, **environment):
        return subprocess.Popen(
            [sys.executable, "-c", script],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "ONOMA_INFERENCE_ADDRESS": "127.0.0.1:0", **environment},
        )

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_says_its_address_in_one_json_line_and_ends_with_0_on_a_signal(self, number):
        process = self.start()
        ready = json.loads(process.stderr.readline())
        with grpc.insecure_channel(ready["address"]) as channel:
            assert EchoStub(channel).unary(b"x", timeout=DEADLINE_S, wait_for_ready=True) == b"x"
        process.send_signal(number)
        lines = [json.loads(line) for line in process.communicate(timeout=60)[1].splitlines()]
        assert process.returncode == 0
        assert ready["message"] == "inference is ready"
        assert lines[-1]["message"] == "inference has stopped"

    def test_a_stop_lets_calls_in_flight_end_streams_among_them(self):
        process = self.start(SLOW)
        with grpc.insecure_channel(json.loads(process.stderr.readline())["address"]) as channel:
            stub = EchoStub(channel)
            answers = stub.stream_out(b"x", timeout=DEADLINE_S, wait_for_ready=True)
            assert next(answers) == b"0"
            answer = stub.unary.future(b"x", timeout=DEADLINE_S)
            assert next(answers) == b"1"
            process.send_signal(signal.SIGTERM)
            assert list(answers) == [b"2", b"3", b"4", b"5"]
            assert answer.result() == b"x"
        assert process.wait(timeout=60) == 0
        process.stderr.close()

    def test_a_message_that_unpacks_to_more_than_the_limit_takes_no_memory(self):
        process = self.start()
        address = json.loads(process.stderr.readline())["address"]
        zeros = bytes(300_000_000)  # a few hundred kB on their way
        with grpc.insecure_channel(address, [("grpc.max_send_message_length", -1)]) as channel:
            ask = EchoStub(channel).unary
            assert ask(b"x", timeout=DEADLINE_S, wait_for_ready=True) == b"x"
            before = most_memory_bytes(process)
            with pytest.raises(grpc.RpcError) as refused:
                ask(zeros, timeout=3 * DEADLINE_S, compression=grpc.Compression.Gzip)
            assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert most_memory_bytes(process) - before < 100_000_000
            assert ask(b"x", timeout=DEADLINE_S) == b"x"
        process.terminate()
        process.communicate(timeout=60)

    def test_a_wrong_setting_is_one_line_and_1(self):
        process = self.start(ONOMA_HOST="0.0.0.0")
        _, error = process.communicate(timeout=60)
        assert process.returncode == 1
        assert error.startswith("inference: ONOMA_HOST=0.0.0.0 can be reached")
        assert error.count("\n") == 1

    def test_a_taken_port_is_one_line_and_1(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            process = self.start(ONOMA_INFERENCE_ADDRESS=f"127.0.0.1:{taken.getsockname()[1]}")
            _, error = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "the port is taken" in error.splitlines()[-1]

    def test_probes_are_answered_where_a_port_is_given(self):
        port = free_port()
        process = self.start(ONOMA_HEALTH_PORT=str(port))
        process.stderr.readline()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert [health_of(channel, service) for service in (LIVE, "")] == [SERVING, SERVING]
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 0

    @pytest.mark.parametrize("setting", ["ONOMA_HEALTH_PORT", "ONOMA_METRICS_PORT"])
    def test_a_taken_port_of_probes_or_numbers_is_one_line_and_1(self, setting):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            process = self.start(**{setting: str(taken.getsockname()[1])})
            _, error = process.communicate(timeout=60)
        assert process.returncode == 1
        assert f"set {setting} to another" in error.splitlines()[-1]

    def test_metrics_are_served_where_a_port_is_given(self):
        port = free_port()
        process = self.start(ONOMA_METRICS_PORT=str(port))
        with grpc.insecure_channel(json.loads(process.stderr.readline())["address"]) as channel:
            EchoStub(channel).unary(b"x", timeout=DEADLINE_S, wait_for_ready=True)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE_S) as page:
            text = page.read().decode()
        process.terminate()
        process.communicate(timeout=60)
        assert f'onoma_grpc_calls_total{{code="OK",method="{NAME}/Unary"}} 1.0' in text
