"""A MinIO server of this machine: built by Go once, kept under .cache/minio, started on a free port of loopback."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.runtime.errors import ServiceError
from services.runtime.s3_store import S3Store
from services.runtime.settings import RuntimeSettings

BUILD_S = 1800
_MODULE = Path(__file__).parent / "minio_server"
_CACHE = Path(__file__).parent.parent.parent / ".cache" / "minio"
_START_S = 60
_END_S = 5


class NoMinio(Exception):
    """Why no server can be built or started here."""


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

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Asks it to end; it waits for idle connections, and not for ever."""
        self.process.terminate()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.kill()


def minio_binary() -> Path:
    """The server's program, built where it is not there yet.

    Raises:
        NoMinio: it cannot be built.
    """
    go = shutil.which("go")
    version = hashlib.sha256((_MODULE / "go.sum").read_bytes()).hexdigest()[:16]
    binary = _CACHE / f"minio-{version}"
    if binary.exists():
        return binary
    if go is None:
        raise NoMinio("MinIO: there is no `go` on this machine to build the server with")
    _CACHE.mkdir(parents=True, exist_ok=True)
    partial = _CACHE / f"{binary.name}.{os.getpid()}"
    command = [go, "build", "-trimpath", "-ldflags=-s -w", "-o", partial, "github.com/minio/minio"]
    try:
        build = subprocess.run(command, cwd=_MODULE, capture_output=True, text=True, timeout=BUILD_S)
    except subprocess.TimeoutExpired as error:
        raise NoMinio(f"MinIO: the build took over {BUILD_S} s") from error
    if build.returncode != 0:
        raise NoMinio(f"MinIO: the build failed: {build.stderr.strip()[-500:]}")
    partial.replace(binary)
    return binary


def start_minio(binary: Path, folder: Path, keeps_open: Sequence[int] = ()) -> MinioServer:
    """Starts a server that has been seen to write and read.

    Args:
        folder: of its objects and its name and password; a second start goes on with what is there.
        keeps_open: files that are open as long as it runs: a lock, say.
    Raises:
        NoMinio: it does not store objects.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    access_key, secret_key = _credentials(folder / "credentials.json")
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "server", "--quiet", "--address", f"127.0.0.1:{port}", folder / "data"],
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=keeps_open,
            start_new_session=True,  # Ctrl-C is for who started it, who then stops it after those that need it
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
        server.kill()
        raise
    return server


def _credentials(file: Path) -> tuple[str, str]:
    """Its name and password, made at random at the first start."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(json.dumps([secrets.token_hex(8), secrets.token_hex(16)]))
    name, password = json.loads(file.read_text())
    return name, password


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
                raise NoMinio(f"MinIO does not store objects: {error}\n{log}") from error
        time.sleep(0.2)
