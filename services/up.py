"""All services and the page in one process, on one machine: what `onoma up` runs."""

from __future__ import annotations

import fcntl
import importlib
import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import uvicorn

from services.runtime.errors import ServiceError
from services.runtime.memory import keep_freed_memory, leave_out_of_collections
from services.runtime.server import RunningServer, bracketed, start, stop_all
from services.runtime.settings import RuntimeSettings, read_settings
from services.runtime.stop_signals import StopSignals
from services.runtime.tokens import with_keys_in_memory

# Each after those that it calls.
SERVICES = ("inference", "naming", "attribution", "analytics")


@dataclass(frozen=True)
class Up:
    """Everything that runs.

    Attributes:
        addresses: host:port of each service, by name.
        page_url: address of the page; empty without one.
        owner_signs_in_by: the setting for which the page's owner signs in, and its value; empty where whoever sits at
            this machine is the owner.
    """

    addresses: dict[str, str]
    page_url: str
    owner_signs_in_by: str
    _servers: tuple[RunningServer, ...]
    _page: Page | None
    _drain_s: float
    _claim: IO[str] | None

    @property
    def reach(self) -> str:
        """Who reaches the page, and who owns it, in a sentence."""
        if self.owner_signs_in_by:
            return f"{self.owner_signs_in_by}: the page's owner signs in."
        return "Bound to loopback: only this machine can reach it, and whoever sits at it is the owner."

    def stop(self) -> None:
        """Stops all of it, the callers before the called; calls in flight have `drain_s` in all."""
        until = time.monotonic() + self._drain_s
        for running in self._servers:
            running.drain()
        if self._page:
            self._page.stop()
        stop_all(self._servers[::-1], until - time.monotonic())
        if self._claim:
            self._claim.close()


class Page:
    """The gateway on a thread.

    Attributes:
        url: where a browser on this machine finds it.
        owner_signs_in_by: as of Up.
    """

    def __init__(self, settings: RuntimeSettings, port: int) -> None:
        from services.gateway.app import build
        from services.gateway.settings import SignInSettings, owner_signs_in_by

        of = read_settings(SignInSettings)
        certificate = of.certificate()
        self.owner_signs_in_by = owner_signs_in_by(settings, of)
        self._socket = _listen(settings.host, port)
        self.url = f"{'https' if certificate else 'http'}://{bracketed(settings.host)}:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                build(settings),
                log_config=None,
                log_level="warning",
                timeout_graceful_shutdown=max(1, int(settings.drain_s)),
                **certificate,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="page", daemon=True
        )
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
            if not self._thread.is_alive():
                raise OSError(f"the page did not start on {self.url}; the log says why")

    def stop(self) -> None:
        """Answers what is in flight, then ends."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def local_settings(data_dir: Path, *, free_ports: bool = False) -> RuntimeSettings:
    """Settings for one machine: the environment's, with this data folder, imports from anywhere on it.

    Args:
        free_ports: let the services take any free ports, for runs beside another.
    Raises:
        ValueError: one line on what is wrong with the environment's.
    """
    ports = {f"{name}_address": "127.0.0.1:0" for name in SERVICES} if free_ports else {}
    return read_settings(RuntimeSettings, data_dir=data_dir, import_roots=[Path("/")], **ports)


def start_all(settings: RuntimeSettings, http_port: int | None) -> Up:
    """Starts the four services, and the page where a port is given; this process keeps freed memory from now on.

    Args:
        settings: each service listens on its `*_address`; port 0 takes any free one.
        http_port: of the page; 0 takes any free one, None starts none.
    Raises:
        OSError: a port is taken, another process runs on the data folder, or the database or the object store is not to
            be had.
    """
    claim = None if settings.database_url else _claimed(settings.data_dir)
    keep_freed_memory()
    settings = with_keys_in_memory(settings)
    servers: list[RunningServer] = []
    try:
        for name in SERVICES:
            service = importlib.import_module(f"services.{name}.service").build(settings)
            try:
                running = start(service, getattr(settings, f"{name}_address"), settings)
            except (OSError, ValueError):
                service.close()
                raise
            servers.append(running)
            settings = settings.model_copy(update={f"{name}_address": running.address})
        page = None if http_port is None else Page(settings, http_port)
    except BaseException as error:
        stop_all(tuple(servers[::-1]), drain_s=0)
        if claim:
            claim.close()
        if isinstance(error, ServiceError | ValueError):
            raise OSError(str(error)) from error
        raise
    leave_out_of_collections()
    addresses = {name: getattr(settings, f"{name}_address") for name in SERVICES}
    url, signs_in_by = (page.url, page.owner_signs_in_by) if page else ("", "")
    return Up(addresses, url, signs_in_by, tuple(servers), page, settings.drain_s, claim)


def wait_for_signal() -> None:
    """Returns on SIGINT or SIGTERM."""
    StopSignals().wait()


def _claimed(data_dir: Path) -> IO[str]:
    """The data folder's lock file, locked until it is closed or this process ends.

    Raises:
        OSError: another process holds it, or the folder cannot be made.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        claim = (data_dir / "onoma.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise OSError(f"{data_dir} cannot be the data folder: {error.strerror}; name another") from error
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        claim.seek(0)
        holder = claim.read().strip()
        claim.close()
        raise OSError(
            f"{data_dir} is in use: process {holder} runs Onoma on it; end that one, or name another folder"
        ) from error
    claim.truncate(0)
    claim.write(f"{os.getpid()}\n")
    claim.flush()
    return claim


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(
            f"the page cannot listen on port {port}: {error.strerror or error} (choose another with --port)"
        ) from error
    # Connections inherit it; asyncio does not set it on those of a socket that it is given, and the
    # second half of an answer would then wait 40 ms for the browser to acknowledge the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
