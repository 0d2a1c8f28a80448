"""A real MinIO server for tests: built by Go once, kept under .cache/minio, started on a free port of loopback."""

import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.runtime.errors import ServiceError
from services.runtime.s3_store import S3Store
from services.runtime.settings import RuntimeSettings

_MODULE = Path(__file__).parent / "minio_server"
_CACHE = Path(__file__).parent.parent / ".cache" / "minio"
_BUILD_S = 1800
_START_S = 60
# Marks of a test that may be the first to need the server: the build takes minutes.
MINIO = [pytest.mark.minio, pytest.mark.timeout(_BUILD_S + 300)]


def needs_minio(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test with all of MINIO."""
    for mark in MINIO:
        test = mark(test)
    return test


@dataclass(frozen=True)
class MinioServer:
    """A running server.

    Attributes:
        settings: those of a service whose objects are on it.
        process: the server's.
        folder: where it keeps its files.
    """

    settings: RuntimeSettings
    process: subprocess.Popen[bytes]
    folder: Path


@pytest.fixture(scope="session")
def minio_binary() -> Path:
    """The server's program; the test is skipped with the reason where it cannot be built."""
    return _built()


@pytest.fixture(scope="session")
def minio_server(minio_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A server that has been seen to write and read; stopped at the end of the tests."""
    server = start_minio(minio_binary, tmp_path_factory.mktemp("minio"))
    yield server
    stop_minio(server)


def start_minio(binary: Path, folder: Path) -> MinioServer:
    """Starts a server of its own, for tests that take it down."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    access_key, secret_key = secrets.token_hex(8), secrets.token_hex(16)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "server", "--quiet", "--address", f"127.0.0.1:{port}", folder / "data"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                "HOME": str(folder),
                "PATH": os.environ["PATH"],
                "MINIO_ROOT_USER": access_key,
                "MINIO_ROOT_PASSWORD": secret_key,
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
            },
        )
    settings = RuntimeSettings(
        data_dir=folder / "onoma-data",
        object_store="s3",
        s3_endpoint=f"127.0.0.1:{port}",
        s3_access_key=access_key,
        s3_secret_key=secret_key,
        s3_secure=False,
    )
    server = MinioServer(settings, process, folder)
    try:
        _wait_until_it_stores(server)
    except BaseException:
        stop_minio(server)
        raise
    return server


def stop_minio(server: MinioServer) -> None:
    """Ends the server's process at once: it waits for idle connections when asked, and its files are thrown away."""
    server.process.kill()
    server.process.wait()


def _wait_until_it_stores(server: MinioServer) -> None:
    """Probes can be green before writes succeed: bytes are written and read."""
    written, until = os.urandom(1000), time.monotonic() + _START_S
    while True:
        try:
            store = S3Store(server.settings)
            if store.get(store.put(written)) == written:
                store.delete(hashlib.sha256(written).hexdigest())
                return
        except ServiceError as error:
            if server.process.poll() is not None or time.monotonic() > until:
                log = (server.folder / "server.log").read_text()[-2000:]
                pytest.fail(f"MinIO does not store objects: {error}\n{log}")
        time.sleep(0.2)


def _built() -> Path:
    go = shutil.which("go")
    version = hashlib.sha256((_MODULE / "go.sum").read_bytes()).hexdigest()[:16]
    binary = _CACHE / f"minio-{version}"
    if binary.exists():
        return binary
    if go is None:
        pytest.skip("MinIO: there is no `go` on this machine to build the server with")
    _CACHE.mkdir(parents=True, exist_ok=True)
    partial = _CACHE / f"{binary.name}.{os.getpid()}"
    command = [go, "build", "-trimpath", "-ldflags=-s -w", "-o", partial, "github.com/minio/minio"]
    try:
        build = subprocess.run(command, cwd=_MODULE, capture_output=True, text=True, timeout=_BUILD_S)
    except subprocess.TimeoutExpired:
        pytest.skip(f"MinIO: the build took over {_BUILD_S} s")
    if build.returncode != 0:
        pytest.skip(f"MinIO: the build failed: {build.stderr.strip()[-500:]}")
    partial.replace(binary)
    return binary
