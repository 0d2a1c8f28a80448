"""The gateway as a process of its own."""

import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import httpx2 as httpx
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from services.gateway.probe import problem
from tests.ports import free_port
from tests.services.certified import Authority

PROBE = [sys.executable, "-m", "services.gateway.probe"]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_gateway_serves_and_ends_cleanly(stop: signal.Signals):
    port, numbers = free_port(), free_port()
    told = {"ONOMA_HTTP_PORT": str(port), "ONOMA_METRICS_PORT": str(numbers), "ONOMA_LOG_LEVEL": "INFO"}
    environment = {**os.environ, **told}
    through_a_proxy = {key: value for key, value in environment.items() if key.lower() != "no_proxy"}
    through_a_proxy |= dict.fromkeys(("http_proxy", "HTTP_PROXY"), "http://127.0.0.1:1")
    process = subprocess.Popen([sys.executable, "-m", "services.gateway"], env=environment)
    try:
        assert _healthy(port, process) == b"ok\n"
        shown = httpx.get(f"http://127.0.0.1:{numbers}/metrics", timeout=30).text
        assert "onoma_http_requests_total" in shown
        assert subprocess.run(PROBE, env=through_a_proxy).returncode == 0  # it asks nobody's proxy
        process.send_signal(stop)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.new()


def test_the_page_is_served_over_https_where_it_has_a_certificate(authority: Authority, tmp_path: Path):
    folder = authority.write(tmp_path / "certificate", hosts=("127.0.0.1",))
    port = free_port()
    told = {"ONOMA_HTTP_PORT": str(port), "ONOMA_HTTPS_DIR": str(folder)}
    process = subprocess.Popen([sys.executable, "-m", "services.gateway"], env={**os.environ, **told})
    try:
        believed = ssl.create_default_context(cafile=folder / "ca.crt")
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=believed) as browser:
            until = time.monotonic() + 60
            while problem(port, is_https=True):
                assert process.poll() is None, "the gateway has ended by itself"
                assert time.monotonic() < until
            assert browser.get("/healthz").text == "ok\n"
            assert "max-age=31536000" in browser.get("/healthz").headers["strict-transport-security"]
            assert subprocess.run(PROBE, env={**os.environ, **told}).returncode == 0
        assert "does not answer" in problem(port, is_https=False)
    finally:
        process.kill()
        process.wait()


def test_the_probe_says_where_nothing_answers():
    port = free_port()
    done = subprocess.run(
        PROBE, env={**os.environ, "ONOMA_HTTP_PORT": str(port)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"http://127.0.0.1:{port}/healthz does not answer" in done.stderr


@pytest.mark.parametrize("wrong", ["missing", "of another", "no PEM", "encrypted"])
def test_a_certificate_that_cannot_be_used_is_named_in_one_line(
    authority: Authority, tmp_path: Path, wrong: str
):
    folder = authority.write(tmp_path / "certificate")
    if wrong == "missing":
        (folder / "tls.key").unlink()
    elif wrong == "of another":
        (folder / "tls.key").write_bytes((authority.write(tmp_path / "other") / "tls.key").read_bytes())
    elif wrong == "no PEM":
        (folder / "tls.crt").write_bytes(b"nothing")
    else:
        key = load_pem_private_key((folder / "tls.key").read_bytes(), password=None)
        (folder / "tls.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
        )
    done = subprocess.run(
        [sys.executable, "-m", "services.gateway"],
        env={**os.environ, "ONOMA_HTTP_PORT": str(free_port()), "ONOMA_HTTPS_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"gateway: ONOMA_HTTPS_DIR={folder}: " in done.stderr


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
