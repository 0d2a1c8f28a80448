"""The gRPC services behind the gateway, and a call of one with a deadline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from anyio import CapacityLimiter, to_thread
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from starlette.concurrency import run_in_threadpool

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
from services.runtime.access import AUTHORIZATION
from services.runtime.channels import open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from google.protobuf.descriptor import MethodDescriptor

    from services.runtime.settings import RuntimeSettings

MAX_STREAMS = 128  # each holds a thread

# Name in the route table -> (file of stubs, name of the service).
SERVICES = {
    "inference": (inference_pb2, "InferenceService"),
    "attribution": (attribution_pb2, "AttributionService"),
    "naming": (naming_pb2, "NamingService"),
    "analytics": (analytics_pb2, "AnalyticsService"),
    "inference_jobs": (jobs_pb2, "JobService"),
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
class Backends:
    """Open channels and a stub for each name in `SERVICES`."""

    channels: tuple[grpc.Channel, ...]
    stubs: dict[str, Any]
    _watching: CapacityLimiter

    async def call(
        self, backend: str, rpc: str, request: Message, *, timeout_s: float, request_id: str, token: str = ""
    ) -> Any:
        """One unary call, off the event loop.

        Args:
            token: of the invitation that it is made for; without one the call is the gateway's own.
        Raises:
            grpc.RpcError: as the service answered, or DEADLINE_EXCEEDED after `timeout_s`.
        """
        method = getattr(self.stubs[backend], rpc)
        return await run_in_threadpool(
            method, request, timeout=timeout_s, metadata=_metadata(request_id, token)
        )

    async def events(
        self, backend: str, rpc: str, request: Message, *, timeout_s: float, request_id: str, token: str = ""
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
        stream = method(request, timeout=timeout_s, metadata=_metadata(request_id, token))
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
        return iter(method(request, timeout=timeout_s, metadata=(("x-request-id", request_id),)))

    def close(self) -> None:
        """Close every channel."""
        for channel in self.channels:
            channel.close()


def open_backends(settings: RuntimeSettings) -> Backends:
    """Channels to the four services at the addresses in `settings`; nothing is called yet."""
    inference = open_channel(settings.inference_address, settings)
    attribution = open_channel(settings.attribution_address, settings)
    naming = open_channel(settings.naming_address, settings)
    analytics = open_channel(settings.analytics_address, settings)
    return Backends(
        channels=(inference, attribution, naming, analytics),
        stubs={
            "inference": inference_pb2_grpc.InferenceServiceStub(inference),
            "attribution": attribution_pb2_grpc.AttributionServiceStub(attribution),
            "naming": naming_pb2_grpc.NamingServiceStub(naming),
            "analytics": analytics_pb2_grpc.AnalyticsServiceStub(analytics),
            "inference_jobs": jobs_pb2_grpc.JobServiceStub(inference),
            "attribution_jobs": jobs_pb2_grpc.JobServiceStub(attribution),
        },
        _watching=CapacityLimiter(MAX_STREAMS),
    )


def _metadata(request_id: str, token: str) -> tuple[tuple[str, str], ...]:
    """What goes along with a call."""
    own = (("x-request-id", request_id),)
    return (*own, (AUTHORIZATION, f"Bearer {token}")) if token else own
