"""SIGINT and SIGTERM, which end a server in its own time."""

from __future__ import annotations

import signal
import socket

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """From its making on SIGINT and SIGTERM interrupt nothing, and are there to wait for. In the main thread alone.

    Python's handlers run between two steps of the main thread: one that comes in the moment before it blocks, on an
    Event's lock as on a queue's, runs when something else wakes it. So the signal itself writes to a socket.
    """

    def __init__(self) -> None:
        self._caught, self._written_to = socket.socketpair()
        self._written_to.setblocking(False)
        signal.set_wakeup_fd(self._written_to.fileno())
        for number in _NUMBERS:
            signal.signal(number, lambda *_: None)

    def wait(self) -> None:
        """Returns at the first of them, at once where it has come already."""
        while self._caught.recv(1)[0] not in _NUMBERS:
            pass
