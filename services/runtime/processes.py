"""Processes by a name that outlives them: who holds a job, who was writing a file, and is it still there?"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_PROC = Path("/proc")


def process_name() -> str:
    """A name for this process, unique over machines, containers and restarts; letters, digits and dots."""
    return f"{_machine()}.{os.getpid()}.{_start_ticks(os.getpid())}.{secrets.token_hex(4)}"


def is_gone(name: str) -> bool:
    """Whether the process of that name has certainly ended.

    False where it cannot be told: the process belongs to another machine, another container or another boot.
    """
    machine, _, rest = name.partition(".")
    pid, _, rest = rest.partition(".")
    if not machine or machine != _machine() or not pid.isdecimal():
        return False
    return _start_ticks(int(pid)) != rest.partition(".")[0]


def _machine() -> str:
    """The boot of this machine and the space of process ids that this process sees; empty where unknown."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip().replace("-", "")[:16]
        return f"{boot}-{(_PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _start_ticks(pid: int) -> str:
    """When a process began, in clock ticks since the boot; empty when there is none by that id."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
