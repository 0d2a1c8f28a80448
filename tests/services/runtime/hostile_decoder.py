"""A decoder process whose reader of pictures does what the picture says: what a bug in one could be made to do."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from services.runtime import decoder_process

_decode = decoder_process.decode


def _spin():
    while True:
        pass


HARMS = {
    b"crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    b"exit": lambda: os._exit(3),
    b"spin": _spin,
    b"sleep": lambda: time.sleep(60),
    b"swell": lambda: bytearray(4 << 30),
    b"read": lambda: Path("/etc/hostname").read_bytes(),
    b"connect": lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
    b"start": lambda: subprocess.run([sys.executable, "--version"], check=True),
    b"raise": lambda: {}["no such key"],
    b"secrets": lambda: sys.exit(1 if any(name.startswith("ONOMA_") for name in os.environ) else 0),
    b"much": lambda: os.write(0, b"\0\0\0\x02\0\0\1\0\0\0\0\0{}"),
    b"nonsense": lambda: os.write(0, b"\0\0\0\x02\0\0\0\0\0\0\0\0{}"),
    b"no message": lambda: os.write(0, b"\xff" * 100),
}


def decode(data, **limits):
    if data in HARMS:
        HARMS[data]()
        raise decoder_process.BrokenPicture("harm was done")
    return _decode(data, **limits)


if __name__ == "__main__":
    decoder_process.decode = decode
    decoder_process.main()
