"""Processes of the services that are started again whenever they end, as a cluster would do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_LOOK_S = 0.3


class Supervised:
    """`python -m services.NAME` by name.

    Args:
        log: file that takes what they say.
        settings: ONOMA_* of all of them.
    """

    def __init__(self, log: Path, settings: Mapping[str, str]) -> None:
        self._log = log.open("ab")
        self._environment = os.environ | settings
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._is_stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise)

    def start(self, services: Sequence[str]) -> None:
        """Starts services and sees to it that they stay."""
        for service in services:
            self._start(service)
        self._supervisor.start()

    def kill(self, service: str) -> None:
        """kill -9."""
        self._processes[service].kill()

    def resident_bytes(self) -> dict[str, int]:
        """Memory that each takes now."""
        return {name: psutil.Process(one.pid).memory_info().rss for name, one in self._processes.items()}

    def stop(self) -> None:
        """Ends all of them."""
        self._is_stopping.set()
        self._supervisor.join()
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._log.close()

    def _start(self, service: str) -> None:
        self._processes[service] = subprocess.Popen(
            [sys.executable, "-m", f"services.{service}"], env=self._environment, stderr=self._log
        )

    def _supervise(self) -> None:
        while not self._is_stopping.wait(_LOOK_S):
            for service, process in list(self._processes.items()):
                if process.poll() is not None:
                    self._start(service)
