"""Ports for servers that are stopped and started again at the same address."""

import contextlib
import random
import socket
from pathlib import Path

_FIRST = 20_000
_given: set[int] = set()  # to servers that may not listen yet


def free_port() -> int:
    """A port of loopback that nobody listens on.

    It lies below those that the system gives to outgoing connections: one of them may take a port while its server is
    down, and then the server does not come back.
    """
    outgoing = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="utf-8").split()
    for port in random.SystemRandom().sample(range(_FIRST, int(outgoing[0])), 100):
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            _given.add(port)
            return port
    raise RuntimeError(f"no free port from {_FIRST} to {outgoing[0]}")
