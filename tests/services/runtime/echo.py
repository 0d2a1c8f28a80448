"""A small service of all four kinds of calls, on a real server."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from services.runtime.server import RunningServer, Service, start
from services.runtime.settings import RuntimeSettings

NAME = "onoma.test.Echo"


@dataclass
class Echo:
    """Behaviours that a test may replace; each call is bytes in, bytes out."""

    unary: Callable[..., bytes] = lambda request, context: request
    stream_out: Callable[..., Iterator[bytes]] = lambda request, context: iter([request, request])
    stream_in: Callable[..., bytes] = lambda requests, context: b"".join(requests)
    both: Callable[..., Iterator[bytes]] = lambda requests, context: requests
    ready: Callable[[], None] = lambda: None
    read: Callable[[bytes], Any] | None = None
    closed: threading.Event = field(default_factory=threading.Event)
    drained: threading.Event = field(default_factory=threading.Event)

    def service(self) -> Service:
        """The service; behaviours are looked up at each call."""
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(lambda r, c: self.unary(r, c), self.read),
            "StreamOut": grpc.unary_stream_rpc_method_handler(lambda r, c: self.stream_out(r, c), self.read),
            "StreamIn": grpc.stream_unary_rpc_method_handler(lambda r, c: self.stream_in(r, c), self.read),
            "Both": grpc.stream_stream_rpc_method_handler(lambda r, c: self.both(r, c), self.read),
        }
        return Service(
            name="inference",
            add_to=lambda server: server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(NAME, handlers),)
            ),
            service_names=(NAME,),
            close=self.closed.set,
            ready=lambda: self.ready(),
            drain=self.drained.set,
        )


class EchoStub:
    """The four calls over a channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.unary = channel.unary_unary(f"/{NAME}/Unary")
        self.stream_out = channel.unary_stream(f"/{NAME}/StreamOut")
        self.stream_in = channel.stream_unary(f"/{NAME}/StreamIn")
        self.both = channel.stream_stream(f"/{NAME}/Both")


def start_echo(echo: Echo, settings: RuntimeSettings) -> RunningServer:
    """A server of the echo on any free port."""
    return start(echo.service(), "127.0.0.1:0", settings)
