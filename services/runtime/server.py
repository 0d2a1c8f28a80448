"""Starting and stopping a gRPC server: health, reflection, limits, drain."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from pydantic import ValidationError

from services.runtime.errors import ServiceError
from services.runtime.interceptors import CallInterceptor
from services.runtime.logs import log_json
from services.runtime.settings import RuntimeSettings

_log = logging.getLogger(__name__)
_READINESS_S = 5.0


@dataclass(frozen=True)
class Service:
    """A service that can be put on a server.

    Attributes:
        name: "inference", "attribution", "naming", "analytics".
        add_to: adds its servicers to a server.
        service_names: their full names, for health and reflection.
        close: releases what it holds; called when no call is left.
        ready: raises when something that it needs is gone.
    """

    name: str
    add_to: Callable[[grpc.Server], None]
    service_names: tuple[str, ...]
    close: Callable[[], None]
    ready: Callable[[], None] = field(default=lambda: None)


class RunningServer:
    """A server that takes calls.

    Attributes:
        address: host:port it really listens on.
    """

    def __init__(
        self, service: Service, server: grpc.Server, address: str, settings: RuntimeSettings
    ) -> None:
        self.address = address
        self._service = service
        self._server = server
        self._drain_s = settings.drain_s
        self._stopping = threading.Event()
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._checks = threading.Thread(target=self._check, name=f"{service.name}-health", daemon=True)

    def start(self) -> None:
        """Begins to take calls."""
        self._server.start()
        self._set_health(ready=True)
        self._checks.start()

    def stop(self) -> None:
        """Refuses new calls, lets those in flight end, then closes the service."""
        self._stopping.set()
        self._health.enter_graceful_shutdown()
        self._server.stop(self._drain_s).wait()
        self._service.close()

    def _check(self) -> None:
        while not self._stopping.wait(_READINESS_S):
            try:
                self._service.ready()
            except Exception:
                _log.exception("%s is not ready", self._service.name)
                self._set_health(ready=False)
            else:
                self._set_health(ready=True)

    def _set_health(self, *, ready: bool) -> None:
        status = (
            health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for name in ("", *self._service.service_names):
            self._health.set(name, status)


def start(service: Service, address: str, settings: RuntimeSettings) -> RunningServer:
    """Puts a service on a server and starts it.

    Args:
        address: host:port; port 0 takes any free one.
    Raises:
        OSError: the port is taken.
    """
    server = grpc.server(
        ThreadPoolExecutor(settings.grpc_workers, thread_name_prefix=service.name),
        interceptors=[CallInterceptor()],
        maximum_concurrent_rpcs=settings.grpc_workers * 4,
        options=[
            ("grpc.max_send_message_length", settings.max_message_bytes),
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.max_connection_age_ms", settings.max_connection_age_s * 1000),
            ("grpc.max_connection_age_grace_ms", 300_000),
            ("grpc.so_reuseport", 0),
        ],
    )
    service.add_to(server)
    reflection.enable_server_reflection(
        (*service.service_names, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    host, _, port = address.rpartition(":")
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(
            f"the {service.name} service cannot listen on {address}: the port is taken "
            f"(stop what holds it, or set ONOMA_{service.name.upper()}_ADDRESS)"
        ) from error
    running = RunningServer(service, server, f"{host}:{bound}", settings)
    running.start()
    return running


def main(build: Callable[[RuntimeSettings], Service], name: str) -> None:
    """Runs one service until SIGTERM or SIGINT: `python -m services.NAME`."""
    try:
        settings = RuntimeSettings()
    except ValidationError as error:
        sys.exit("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
    log_json(settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    address: str = getattr(settings, f"{name}_address")
    try:
        running = start(build(settings), f"{settings.host}:{address.rpartition(':')[2]}", settings)
    except (OSError, ServiceError) as error:
        sys.exit(f"{name}: {error}")
    _log.info("%s is ready", name, extra={"address": running.address})
    stop.wait()
    running.stop()
    _log.info("%s has stopped", name)
