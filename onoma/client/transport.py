"""One channel a service, a deadline on every call, errors in Onoma's terms."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import grpc

from onoma.client.errors import translate
from onoma.service_config import service_config
from onoma.v1 import (
    analytics_pb2_grpc,
    attribution_pb2_grpc,
    inference_pb2_grpc,
    jobs_pb2_grpc,
    naming_pb2_grpc,
)

MAX_MESSAGE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Addresses:
    """Where the services listen, as host:port."""

    inference: str = "127.0.0.1:50051"
    attribution: str = "127.0.0.1:50052"
    naming: str = "127.0.0.1:50053"
    analytics: str = "127.0.0.1:50054"

    @classmethod
    def from_environment(cls) -> Addresses:
        """The addresses that ONOMA_INFERENCE_ADDRESS and its like give, else the defaults."""
        given = {f.name: os.environ.get(f"ONOMA_{f.name.upper()}_ADDRESS") for f in fields(cls)}
        return cls(**{name: address for name, address in given.items() if address})


_STUBS: dict[str, tuple[Any, ...]] = {
    "inference": (inference_pb2_grpc.InferenceServiceStub, jobs_pb2_grpc.JobServiceStub),
    "attribution": (attribution_pb2_grpc.AttributionServiceStub, jobs_pb2_grpc.JobServiceStub),
    "naming": (naming_pb2_grpc.NamingServiceStub,),
    "analytics": (analytics_pb2_grpc.AnalyticsServiceStub,),
}


_THIS_MACHINE = ("127.", "localhost:", "[::1]:")  # no proxy of the environment leads there

Connect = Callable[[str, list[tuple[str, Any]]], grpc.Channel]
"""Opens a channel to host:port with gRPC's options."""


def connector(tls_dir: Path | None) -> Connect:
    """Plain channels, or with ONOMA_TLS_DIR (ca.crt, tls.crt, tls.key) those of mutual TLS.

    Raises:
        ValueError: a file of the three is missing.
    """
    if tls_dir is None:
        return grpc.insecure_channel
    try:
        authority, key, chain = ((tls_dir / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
    except OSError as error:
        raise ValueError(
            f"ONOMA_TLS_DIR={tls_dir}: {error.strerror}: {error.filename} "
            "(the server's owner gives you ca.crt, tls.crt and tls.key)"
        ) from error
    credentials = grpc.ssl_channel_credentials(authority, key, chain)
    return lambda address, options: grpc.secure_channel(address, credentials, options)


class Transport:
    """Calls any RPC of any service by name; the typed methods are the Client's."""

    def __init__(
        self,
        addresses: Addresses,
        timeout_s: float,
        token: str = "",
        connect: Connect = grpc.insecure_channel,
    ) -> None:
        self._addresses = addresses
        self._timeout_s = timeout_s
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        options = [
            ("grpc.service_config", service_config()),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 60_000),
        ]
        self._channels = {}
        for name in _STUBS:
            address = getattr(addresses, name)
            own = [("grpc.enable_http_proxy", 0)] if address.startswith(_THIS_MACHINE) else []
            self._channels[name] = connect(address, options + own)
        self._stubs = {name: [stub(self._channels[name]) for stub in stubs] for name, stubs in _STUBS.items()}

    def call(
        self, service: str, method: str, request: Any, timeout_s: float | None = None
    ) -> Any:  # the response type belongs to the method: Client's signatures say it
        """One unary call, or a client-streaming one when `request` is an iterator.

        Raises:
            OnomaError: as `onoma.client.errors` lists.
        """
        try:
            return self._method(service, method)(
                request, timeout=timeout_s or self._timeout_s, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise translate(error, service, getattr(self._addresses, service)) from error

    def stream(
        self, service: str, method: str, request: Any, timeout_s: float | None = None
    ) -> Iterator[Any]:
        """The responses of a server-streaming call.

        Raises:
            OnomaError: as `onoma.client.errors` lists.
        """
        try:
            yield from self._method(service, method)(
                request, timeout=timeout_s or self._timeout_s, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise translate(error, service, getattr(self._addresses, service)) from error

    def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels.values():
            channel.close()

    def _method(self, service: str, method: str) -> Any:
        stubs: Iterable[Any] = self._stubs[service]
        return next(getattr(stub, method) for stub in stubs if hasattr(stub, method))
