"""The gateway as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_gateway_serves_and_ends_cleanly(stop: signal.Signals):
    port = free_port()
    environment = {**os.environ, "ONOMA_HTTP_PORT": str(port), "ONOMA_LOG_LEVEL": "INFO"}
    process = subprocess.Popen([sys.executable, "-m", "services.gateway"], env=environment)
    try:
        assert _healthy(port, process) == b"ok\n"
        process.send_signal(stop)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


def _healthy(port: int, process: subprocess.Popen[bytes]) -> bytes:
    while True:
        assert process.poll() is None, "the gateway has ended by itself"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as answer:
                return answer.read()
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionError):
                raise
            time.sleep(0.05)
