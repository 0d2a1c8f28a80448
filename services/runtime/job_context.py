"""What the handler of a job knows and says while it works."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from services.runtime.job_table import Job

MAX_WARNINGS = 1000
_MAX_LINE = 2000


class Cancelled(Exception):
    """The job was asked to stop; raised by `JobContext.check`."""


class Released(Exception):
    """The job goes to another worker: the server is closing, or the lease was lost."""


class JobContext:
    """What a handler knows of its job, and how it says where it is.

    Attributes:
        job_id: the same at each attempt, so names made from it are found again.
        params: what the job was started with.
        cancelled: set when the job is asked to stop.
        released: set when the job is another worker's to do.
    """

    def __init__(self, row: Job) -> None:
        self.job_id = row.job_id
        self.params: dict[str, Any] = row.params
        self.cancelled = threading.Event()
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._stage, self._done, self._total, self._since = "", 0, 0, time.monotonic()
        self._warnings = list(row.warnings)

    def stage(self, name: str, total: int = 0) -> None:
        """Begins a stage of so many units; 0 while unknown."""
        with self._lock:
            self._stage, self._done, self._total, self._since = one_line(name), 0, total, time.monotonic()

    def advance(self, n: int = 1) -> None:
        """So many more units of the stage are done."""
        with self._lock:
            self._done += n

    def expect(self, n: int) -> None:
        """So many more units turned out to belong to the stage."""
        with self._lock:
            self._total += n

    def warn(self, line: str) -> None:
        """Something skipped or worth knowing, in one line; said twice, kept once, at most 1000 of them."""
        line = one_line(line)
        with self._lock:
            if len(self._warnings) < MAX_WARNINGS and line not in self._warnings:
                self._warnings.append(line)

    def check(self) -> None:
        """A safe point: call it in every loop.

        Raises:
            Cancelled: the job was asked to stop.
            Released: another worker does it.
        """
        if self.released.is_set():
            raise Released
        if self.cancelled.is_set():
            raise Cancelled

    def progress(self) -> Mapping[str, Any]:  # values of the columns' own types
        """Columns of the row that say where the job is."""
        with self._lock:
            elapsed = time.monotonic() - self._since
            return {
                "stage": self._stage,
                "done": self._done,
                "total": self._total,
                "rate_per_s": self._done / elapsed if elapsed > 0 else 0.0,
                "warnings": list(self._warnings),
            }


def one_line(text: object) -> str:
    """Text that every database and every terminal takes: one line, no NUL, not endless."""
    line = " ".join(str(text).replace("\0", "\\0").split())
    return line if len(line) <= _MAX_LINE else f"{line[: _MAX_LINE - 1]}…"
