"""The gRPC services behind the gateway, and a call of one with a deadline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from anyio import CapacityLimiter, to_thread
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from onoma.v1 import (
    analytics_pb2,
    analytics_pb2_grpc,
    attribution_pb2,
    attribution_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    naming_pb2,
    naming_pb2_grpc,
)
from services.gateway.problems import RefusedError
from services.runtime.access import AUTHORIZATION, bearer
from services.runtime.channels import open_channel
from services.runtime.logs import REQUEST_ID
from services.runtime.tokens import Caller, Keys, keys_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from google.protobuf.descriptor import MethodDescriptor

    from services.runtime.settings import RuntimeSettings

MAX_STREAMS = 128  # each holds a thread
# Calls that may take longer have threads of their own, few: others' acts must not wait for those.
_LONG_S = 60
_MOST_LONG_CALLS = 8

# Name in the route table -> (file of stubs, name of the service).
SERVICES = {
    "inference": (inference_pb2, "InferenceService"),
    "attribution": (attribution_pb2, "AttributionService"),
    "naming": (naming_pb2, "NamingService"),
    "analytics": (analytics_pb2, "AnalyticsService"),
    "attribution_jobs": (jobs_pb2, "JobService"),
}


def method_of(backend: str, rpc: str) -> MethodDescriptor:
    """Descriptor of one RPC.

    Raises:
        KeyError: no such backend or RPC.
    """
    stubs, service = SERVICES[backend]
    return stubs.DESCRIPTOR.services_by_name[service].methods_by_name[rpc]


def request_class(backend: str, rpc: str) -> type[Message]:
    """Class of the request of one RPC."""
    return GetMessageClass(method_of(backend, rpc).input_type)


@dataclass(frozen=True)
class Visitor:
    """For whom the gateway calls a service.

    Attributes:
        invitation: the token that they came by, which naming understands; empty for the owner.
    """

    caller: Caller
    invitation: str = ""


@dataclass(frozen=True)
class Backends:
    """Open channels and a stub for each name in `SERVICES`."""

    channels: tuple[grpc.Channel, ...]
    stubs: dict[str, Any]
    _watching: CapacityLimiter
    _long_calls: CapacityLimiter
    _keys: Keys | None

    async def call(
        self,
        backend: str,
        rpc: str,
        request: Message,
        *,
        timeout_s: float,
        request_id: str,
        visitor: Visitor | None = None,
    ) -> Any:
        """One unary call, off the event loop.

        Args:
            visitor: for whom it is made; None where the gateway needs it for itself.
        Raises:
            grpc.RpcError: as the service answered, or DEADLINE_EXCEEDED after `timeout_s`.
        """
        metadata = self._metadata(backend, request_id, visitor)
        call = partial(getattr(self.stubs[backend], rpc), request, timeout=timeout_s, metadata=metadata)
        return await to_thread.run_sync(call, limiter=self._long_calls if timeout_s > _LONG_S else None)

    async def events(
        self,
        backend: str,
        rpc: str,
        request: Message,
        *,
        timeout_s: float,
        request_id: str,
        visitor: Visitor | None = None,
    ) -> AsyncGenerator[Any]:
        """The messages of one server stream as they come; it is cancelled when nobody listens any more.

        Raises:
            grpc.RpcError: while iterating, as in `call`.
            RefusedError: RESOURCE_EXHAUSTED where too many streams are open.
        """
        if self._watching.available_tokens < 1:
            raise RefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "too many pages are being watched; try again later",
                "BUSY",
            )
        method = getattr(self.stubs[backend], rpc)
        metadata = self._metadata(backend, request_id, visitor)
        stream = method(request, timeout=timeout_s, metadata=metadata)
        try:
            while True:
                message = await to_thread.run_sync(
                    next, stream, None, abandon_on_cancel=True, limiter=self._watching
                )
                if message is None:
                    return
                yield message
        finally:
            stream.cancel()

    def stream(
        self, backend: str, rpc: str, request: Message, *, timeout_s: float, request_id: str
    ) -> Iterator[Any]:
        """The messages of one server stream; blocks, so call it off the event loop.

        Raises:
            grpc.RpcError: while iterating, as in `call`.
        """
        method = getattr(self.stubs[backend], rpc)
        return iter(method(request, timeout=timeout_s, metadata=self._metadata(backend, request_id, None)))

    def _metadata(
        self, backend: str, request_id: str, visitor: Visitor | None
    ) -> tuple[tuple[str, str], ...]:
        """What goes along with a call."""
        own = ((REQUEST_ID, request_id),)
        if visitor is None:
            return own
        if visitor.invitation and backend == "naming":
            # Naming knows who holds it, what of the study they may see, and whether it was taken back.
            return (*own, (AUTHORIZATION, bearer(visitor.invitation)))
        if self._keys is None:
            return own
        stubs, service = SERVICES[backend]
        audience = stubs.DESCRIPTOR.services_by_name[service].full_name
        return (*own, (AUTHORIZATION, bearer(self._keys.token_of(visitor.caller, audience))))

    def close(self) -> None:
        """Close every channel."""
        for channel in self.channels:
            channel.close()


def open_backends(settings: RuntimeSettings) -> Backends:
    """Channels to the four services at the addresses in `settings`; nothing is called yet."""
    inference = open_channel(settings.inference_address, settings, "gateway")
    attribution = open_channel(settings.attribution_address, settings, "gateway")
    naming = open_channel(settings.naming_address, settings, "gateway")
    analytics = open_channel(settings.analytics_address, settings, "gateway")
    return Backends(
        channels=(inference, attribution, naming, analytics),
        stubs={
            "inference": inference_pb2_grpc.InferenceServiceStub(inference),
            "attribution": attribution_pb2_grpc.AttributionServiceStub(attribution),
            "naming": naming_pb2_grpc.NamingServiceStub(naming),
            "analytics": analytics_pb2_grpc.AnalyticsServiceStub(analytics),
            "attribution_jobs": jobs_pb2_grpc.JobServiceStub(attribution),
        },
        _watching=CapacityLimiter(MAX_STREAMS),
        _long_calls=CapacityLimiter(_MOST_LONG_CALLS),
        _keys=keys_of(settings),
    )
