"""Starting and stopping a gRPC server: health, reflection, limits, drain."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import Gauge, start_http_server

from services.runtime.access import AccessInterceptor, Guest
from services.runtime.certificates import server_credentials
from services.runtime.errors import ServiceError
from services.runtime.interceptors import CallInterceptor
from services.runtime.logs import log_json
from services.runtime.memory import keep_freed_memory, leave_out_of_collections
from services.runtime.readiness import Looking
from services.runtime.settings import RuntimeSettings, read_settings
from services.runtime.stop_signals import StopSignals
from services.runtime.tokens import keys_of
from services.runtime.tracing import send_the_rest, send_traces

_ready = Gauge("onoma_ready", "Whether the service has what it needs: 1 or 0.", ["service"])
_log = logging.getLogger(__name__)
_READINESS_S = 5.0
LIVE = "live"  # in health: a process that answers, whatever becomes of what it needs


@dataclass(frozen=True)
class Service:
    """A service that can be put on a server.

    Attributes:
        name: "inference", "attribution", "naming", "analytics".
        add_to: adds its servicers to a server.
        service_names: their full names, for health and reflection.
        close: releases what it holds; called when no call is left.
        ready: raises when something that it needs is gone.
        drain: called when a stop begins: long streams end, and jobs in hand go back into the queue.
        guest_of: whose invitation a token is; None where the service has nothing for those who hold one.
        waiting_calls: calls that wait more than they work; they get threads beside those of the settings.
    """

    name: str
    add_to: Callable[[grpc.Server], None]
    service_names: tuple[str, ...]
    close: Callable[[], None]
    ready: Callable[[], None] = field(default=lambda: None)
    drain: Callable[[], None] = field(default=lambda: None)
    guest_of: Callable[[str], Guest | None] | None = None
    waiting_calls: int = 0


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
        self._probes: grpc.Server | None = None
        self._stopping = threading.Event()
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._checks = threading.Thread(target=self._check, name=f"{service.name}-health", daemon=True)
        self._looking = Looking(service.ready, _READINESS_S)
        self._is_ready: bool | None = None
        self._health.set(LIVE, health_pb2.HealthCheckResponse.SERVING)
        self._look()
        self._server.start()
        self._checks.start()

    def answer_probes(self, address: str) -> None:
        """Gives its health on a port of its own too, for who probes it: without TLS, sign-in or the queue of calls.

        Raises:
            OSError: the port is taken.
        """
        probes = grpc.server(ThreadPoolExecutor(2, thread_name_prefix="probes"), maximum_concurrent_rpcs=8)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, probes)
        try:
            probes.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(
                f"probes cannot be answered on {address}: the port is taken or is not this machine's "
                "(stop what holds it, or set ONOMA_HEALTH_PORT to another)"
            ) from error
        probes.start()
        self._probes = probes

    def drain(self) -> None:
        """Says NOT_SERVING and lets long work come to its end; calls are still answered."""
        self._stopping.set()
        self._health.enter_graceful_shutdown()
        self._service.drain()

    def stop(self, within_s: float | None = None) -> None:
        """Drains, refuses new calls, lets those in flight end, cuts those off that do not, closes the service.

        Args:
            within_s: how long calls in flight have; `drain_s` of the settings when None.
        """
        self.drain()
        self._server.stop(self._drain_s if within_s is None else within_s).wait()
        self._checks.join(_READINESS_S)
        self._service.close()
        if self._probes:
            self._probes.stop(None).wait()

    def _check(self) -> None:
        while not self._stopping.wait(_READINESS_S):
            self._look()

    def _look(self) -> None:
        """Readiness into health; one line in the log when it changes."""
        try:
            self._looking.look()
            is_ready = True
        except Exception as error:  # noqa: BLE001  whatever it is, the service is not ready
            is_ready = False
            if self._is_ready is not False:
                _log.warning("%s is not ready: %s: %s", self._service.name, type(error).__name__, error)
        if is_ready != self._is_ready:
            self._is_ready = is_ready
            self._set_health(is_ready)
            _ready.labels(self._service.name).set(is_ready)

    def _set_health(self, is_ready: bool) -> None:
        response = health_pb2.HealthCheckResponse
        status = response.SERVING if is_ready else response.NOT_SERVING
        for name in ("", *self._service.service_names):
            self._health.set(name, status)


def stop_all(servers: Sequence[RunningServer], drain_s: float) -> None:
    """Stops servers one after another, callers before the called, all within `drain_s` and what closing takes."""
    until = time.monotonic() + drain_s
    for running in servers:
        running.drain()
    for running in servers:
        running.stop(within_s=max(0.0, until - time.monotonic()))


def start(service: Service, address: str, settings: RuntimeSettings) -> RunningServer:
    """Puts a service on a server and starts it.

    Args:
        address: host:port; port 0 takes any free one.
    Raises:
        OSError: the port is taken.
        ValueError: the certificate of ONOMA_TLS_DIR or a key of ONOMA_SIGNING_KEYS_DIR cannot be used.
    """
    workers = settings.grpc_workers + service.waiting_calls
    server = grpc.server(
        ThreadPoolExecutor(workers, thread_name_prefix=service.name),
        interceptors=[
            CallInterceptor(),
            AccessInterceptor(settings.access_token, keys_of(settings), service.guest_of),
        ],
        maximum_concurrent_rpcs=workers * 4,
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
    try:
        if settings.tls_dir is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, server_credentials(settings.tls_dir))
    except RuntimeError as error:
        raise OSError(
            f"the {service.name} service cannot listen on {address}: the port is taken or is not this machine's "
            f"(stop what holds it, or set ONOMA_{service.name.upper()}_ADDRESS to another)"
        ) from error
    return RunningServer(service, server, f"{address.rpartition(':')[0]}:{port}", settings)


def show_numbers(settings: RuntimeSettings) -> None:
    """Prometheus metrics of this process from now on, where the settings name a port.

    Raises:
        OSError: the port is taken.
    """
    if settings.metrics_port:
        try:
            start_http_server(settings.metrics_port, settings.host)
        except OSError as error:
            raise OSError(
                f"metrics cannot be shown on {bracketed(settings.host)}:{settings.metrics_port}: the port is taken or "
                "is not this machine's (stop what holds it, or set ONOMA_METRICS_PORT to another)"
            ) from error


def main(build: Callable[[RuntimeSettings], Service], name: str) -> None:
    """Runs one service until SIGTERM or SIGINT: `python -m services.NAME`.

    It listens on ONOMA_HOST, on the port of ONOMA_NAME_ADDRESS. Exits with 0 after a stop, with 1 and one line
    where it cannot start.
    """
    stop = StopSignals()
    keep_freed_memory()
    try:
        settings = read_settings(RuntimeSettings)
        log_json(settings.log_level)
        show_numbers(settings)
        send_traces(settings, name)
        service = build(settings)
    except (OSError, ServiceError, ValueError) as error:
        sys.exit(f"{name}: {error}")
    port = getattr(settings, f"{name}_address").rpartition(":")[2]
    try:
        running = start(service, f"{bracketed(settings.host)}:{port}", settings)
    except (OSError, ValueError) as error:
        service.close()
        sys.exit(str(error))
    if settings.health_port:
        try:
            running.answer_probes(f"{bracketed(settings.host)}:{settings.health_port}")
        except OSError as error:
            running.stop(within_s=0)
            sys.exit(str(error))
    leave_out_of_collections()
    _log.info("%s is ready", name, extra={"address": running.address})
    stop.wait()
    running.stop()
    send_the_rest()
    _log.info("%s has stopped", name)


def bracketed(host: str) -> str:
    """A host as addresses have it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
