"""A TCP proxy that fails as networks and servers do: refuses, says nothing, is slow, stops in the middle."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.ports import free_port

UNAVAILABLE_503 = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(eq=False)
class Proxy:
    """Stands before a server; what it does to connections may be changed at any time.

    Attributes:
        target: the server: (host, port), or the path of a Unix socket.
        answer: what is said to whoever connects, instead of letting them through.
        delay_s: that each piece waits on its way back.
        cut_after: bytes of a connection that come back before it is closed; None for all of them.
        hold: while it is cleared, nothing moves, and nobody is told.
    """

    target: tuple[str, int] | str
    answer: bytes = b""
    delay_s: float = 0.0
    cut_after: int | None = None
    hold: threading.Event = field(default_factory=threading.Event)
    _open: set[socket.socket] = field(default_factory=set)
    _listening: socket.socket | None = None
    port: int = 0

    def up(self) -> None:
        """Lets connections through, at the same port as before."""
        self.hold.set()
        self.port = self.port or free_port()
        self._listening = listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def down(self) -> None:
        """Refuses new connections and resets those there are."""
        if self._listening is not None:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None
        self.drop()

    def drop(self) -> None:
        """Resets the connections there are."""
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                caller, _ = listening.accept()
            except OSError:
                return
            self._open.add(caller)
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        if self.answer:
            with contextlib.suppress(OSError):
                caller.recv(65536)
                caller.sendall(self.answer)
                caller.close()
            return
        if isinstance(self.target, str):
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.target)
        else:
            server = socket.create_connection(self.target)
        self._open.add(server)
        threading.Thread(target=self._pass_on, args=(caller, server, False), daemon=True).start()
        self._pass_on(server, caller, True)

    def _pass_on(self, source: socket.socket, to: socket.socket, is_answer: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.hold.wait()
                if is_answer and self.delay_s:
                    time.sleep(self.delay_s)
                if is_answer and self.cut_after is not None:
                    data = data[: max(0, self.cut_after - passed)]
                passed += len(data)
                to.sendall(data)
                if is_answer and self.cut_after is not None and passed >= self.cut_after:
                    break
        for one in (source, to):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            self._open.discard(one)


@contextlib.contextmanager
def proxy_before(target: tuple[str, int] | str) -> Iterator[Proxy]:
    """A proxy that lets through, until it is told otherwise."""
    proxy = Proxy(target)
    proxy.up()
    try:
        yield proxy
    finally:
        proxy.hold.set()
        proxy.down()
