"""Channels to other services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from onoma.service_config import service_config
from services.runtime.access import AUTHORIZATION, audience_of, bearer
from services.runtime.certificates import RenewedChannel
from services.runtime.logs import REQUEST_ID, request_id
from services.runtime.settings import RuntimeSettings
from services.runtime.tokens import Caller, Role, keys_of
from services.runtime.tracing import CallTracing


def open_channel(address: str, settings: RuntimeSettings, caller: str = "") -> grpc.Channel:
    """A channel that sends reads again where a server is gone or stops, and takes no call without a timeout.

    Calls are spread over replicas.
    Calls made while one is being answered carry its request id on. With ONOMA_TLS_DIR the server has to be of its
    authority and of the address's host name.

    Args:
        caller: the service that calls, which its token says unless a call brings another; empty, or where the
            settings have no keys to sign with: ONOMA_ACCESS_TOKEN.
    Raises:
        ValueError: the certificate of ONOMA_TLS_DIR or a key of ONOMA_SIGNING_KEYS_DIR cannot be used.
    """
    options = [
        ("grpc.service_config", service_config()),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.keepalive_time_ms", 60_000),
        # Proxies that an engine tells its containers of lead out, not to each other.
        ("grpc.enable_http_proxy", 0),
    ]
    channel: grpc.Channel
    if settings.tls_dir is None:
        channel = grpc.insecure_channel(address, options)
    else:
        channel = RenewedChannel(
            settings.tls_dir, lambda credentials: grpc.secure_channel(address, credentials, options)
        )
    keys = keys_of(settings) if caller else None
    if keys is None:
        return grpc.intercept_channel(channel, _Metadata(lambda _: settings.access_token), CallTracing())
    as_itself = Caller(Role.SERVICE, caller)
    return grpc.intercept_channel(
        channel, _Metadata(lambda method: keys.token_of(as_itself, audience_of(method))), CallTracing()
    )


class _Metadata(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the id of the call that is being answered, and the token for the method; wants a deadline."""

    def __init__(self, token_for: Callable[[str], str]) -> None:
        self._token_for = token_for

    def _continue(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        if details.timeout is None:
            raise ValueError(f"a call of {details.method} has no deadline: give it a timeout")
        metadata = dict(details.metadata or ())
        if request_id.get():
            metadata.setdefault(REQUEST_ID, request_id.get())
        if AUTHORIZATION not in metadata and (token := self._token_for(details.method)):
            metadata[AUTHORIZATION] = bearer(token)
        return continuation(details._replace(metadata=tuple(metadata.items())), request)

    intercept_unary_unary = _continue
    intercept_unary_stream = _continue
    intercept_stream_unary = _continue
    intercept_stream_stream = _continue
