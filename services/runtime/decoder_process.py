"""A process that decodes pictures for `services.runtime.decoding`, and can do little else.

Its standard input is a socket. It says READY, then answers picture after picture until the other end closes. Before
the first it gives up opening files and connections, writing files and starting processes; memory and processor time
are limited for each picture. Neither side unpickles what the other says.
"""

from __future__ import annotations

import json
import resource
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image

from onoma.science.pictures import BrokenPicture, Preprocessing, decode, model_input

READY = b"\x06"
_LENGTHS = struct.Struct(">IQ")
# 19 were measured at worst (a picture of 64 MP in 1.2 GB).
_BYTES_A_PIXEL = 32
_SPARE_BYTES = 256 << 20
_GIVEN_UP = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE)


def send(peer: socket.socket, header: dict[str, Any], content: bytes) -> None:
    """One message: what JSON can say, and bytes."""
    encoded = json.dumps(header).encode()
    peer.sendall(_LENGTHS.pack(len(encoded), len(content)) + encoded)
    peer.sendall(content)


def receive(
    peer: socket.socket, *, most_bytes: int = sys.maxsize, until_s: float | None = None
) -> tuple[dict[str, Any], bytes]:
    """The next message.

    Args:
        most_bytes: of the message; more is not read.
        until_s: on the monotonic clock; None waits for ever.
    Raises:
        ValueError: it is no message, or a larger one.
        EOFError: there is none, or it ends too early.
        TimeoutError: it was not there in time.
    """
    header_bytes, content_bytes = _LENGTHS.unpack(_exactly(peer, _LENGTHS.size, until_s))
    if header_bytes + content_bytes > most_bytes:
        raise ValueError(
            f"a message of {header_bytes + content_bytes} bytes; {most_bytes} were expected at most"
        )
    return json.loads(_exactly(peer, header_bytes, until_s)), _exactly(peer, content_bytes, until_s)


def _exactly(peer: socket.socket, size_bytes: int, until_s: float | None) -> bytes:
    content, done = bytearray(size_bytes), 0
    while done < size_bytes:
        if until_s is not None:  # a time limit of the socket alone would begin anew with each byte
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the other process did not answer in time")
            peer.settimeout(left_s)
        count = peer.recv_into(memoryview(content)[done:])
        if not count:
            raise EOFError(
                f"the other process ended {size_bytes - done} bytes before the end of what it said"
            )
        done += count
    return bytes(content)


def _answer_all(asked: socket.socket) -> None:
    at_start_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for limit in _GIVEN_UP:
        resource.setrlimit(limit, (0, 0))
    asked.sendall(READY)
    while True:
        try:
            given, data = receive(asked)
        except EOFError:
            return
        _limit(at_start_bytes + 3 * len(data) + _BYTES_A_PIXEL * given["max_pixels"], given["seconds"])
        send(asked, *_answer(given, data))


def _limit(memory_bytes: int, seconds: float) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes + _SPARE_BYTES, resource.RLIM_INFINITY))
    used = resource.getrusage(resource.RUSAGE_SELF)
    # In whole seconds, and the kernel ends the process at the limit.
    until = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def _answer(given: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        picture = decode(data, max_pixels=given["max_pixels"])
        seen = given["preprocessing"] and model_input(picture, Preprocessing(**given["preprocessing"]))
    except (BrokenPicture, MemoryError) as error:
        if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
            return {"refused": "takes more memory to decode than a picture of the limit's size"}, b""
        return {"refused": str(error)[:1000]}, b""
    height, width = picture.pixels.shape[:2]
    answer = {"height": height, "width": width, "notes": picture.notes}
    return answer, b"" if seen is None else seen.tobytes()


def main() -> None:
    """Answers the process that started this one."""
    Image.init()  # reads the code of all formats, while files can be opened
    with socket.socket(fileno=sys.stdin.fileno()) as parent:
        _answer_all(parent)


if __name__ == "__main__":
    main()
