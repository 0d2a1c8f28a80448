"""All services and the page in one process, on one machine: what `onoma up` runs."""

from __future__ import annotations

import importlib
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from services.runtime import server
from services.runtime.settings import RuntimeSettings

# Each after those that it calls.
SERVICES = ("inference", "naming", "attribution", "analytics")


@dataclass(frozen=True)
class Up:
    """Everything that runs.

    Attributes:
        addresses: host:port of each service, by name.
        page_url: address of the page; empty without one.
    """

    addresses: dict[str, str]
    page_url: str
    _servers: tuple[server.RunningServer, ...]
    _page: Page | None

    def stop(self) -> None:
        """Stops all of it, the callers before the called."""
        if self._page:
            self._page.stop()
        for running in reversed(self._servers):
            running.stop()


class Page:
    """The gateway on a thread."""

    def __init__(self, settings: RuntimeSettings, port: int) -> None:
        from services.gateway.app import build

        try:
            self._socket = socket.create_server((settings.host, port))
        except OSError as error:
            raise OSError(
                f"the page cannot listen on port {port}: {error.strerror} (choose another with --port)"
            ) from error
        self.url = f"http://{settings.host}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            build(settings), log_level="warning", timeout_graceful_shutdown=int(settings.drain_s)
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="page", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Answers what is in flight, then ends."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def local_settings(data_dir: Path) -> RuntimeSettings:
    """Settings for one machine: the environment's, with this data folder, imports from anywhere on it."""
    return RuntimeSettings(data_dir=data_dir, import_roots=[Path("/")])


def start_all(settings: RuntimeSettings, http_port: int | None) -> Up:
    """Starts the four services, and the page where a port is given.

    Args:
        settings: the services' ports are those of `*_address`; a taken one is replaced by any free port.
        http_port: of the page; 0 takes any free one, None starts none.
    Raises:
        OSError: the page's port is taken.
    """
    servers: list[server.RunningServer] = []
    try:
        for name in SERVICES:
            build = importlib.import_module(f"services.{name}.service").build
            running = _start(build(settings), getattr(settings, f"{name}_address"), settings)
            servers.append(running)
            settings = settings.model_copy(update={f"{name}_address": running.address})
        page = None if http_port is None else Page(settings, http_port)
    except BaseException:
        for running in reversed(servers):
            running.stop()
        raise
    addresses = {name: getattr(settings, f"{name}_address") for name in SERVICES}
    return Up(addresses, page.url if page else "", tuple(servers), page)


def _start(service: server.Service, address: str, settings: RuntimeSettings) -> server.RunningServer:
    try:
        return server.start(service, address, settings)
    except OSError:
        return server.start(service, f"{settings.host}:0", settings)
