"""`onoma up` in a process of its own, to be killed and started again on the same ports."""

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from onoma.client import Addresses, Client
from tests.ports import free_port

SERVICES = ("inference", "naming", "attribution", "analytics")
START_S = 90


class Server:
    """Every service and the page, over one data folder.

    Attributes:
        url: of the page.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._http_port, *ports = (free_port() for _ in range(1 + len(SERVICES)))
        self._addresses = {name: f"127.0.0.1:{port}" for name, port in zip(SERVICES, ports, strict=True)}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._http_port}"

    def start(self, **environment: str) -> None:
        """Starts it, and waits until the page answers.

        Args:
            environment: settings beside those of this process.
        """
        addresses = {f"ONOMA_{name.upper()}_ADDRESS": address for name, address in self._addresses.items()}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "onoma", "up", "--data", str(self._data), "--port", str(self._http_port)],
            env=os.environ | addresses | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("onoma up did not start")
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self) -> Client:
        return Client(Addresses(**self._addresses))

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=1):
                return True
        except OSError:
            return False
