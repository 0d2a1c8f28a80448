"""How many cores this process may use, which in a container are fewer than the machine's.

torch, onnxruntime and Python look at the machine, or at affinity; a container's limit is a quota of its control group.
More threads than that wait for each other while the group stands still until its next period.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OF_PROCESS = Path("/proc/self/cgroup")


def cores() -> int:
    """Cores that this process may keep busy: by its affinity and its control groups' quotas, part of one as one."""
    quotas = [quota for folder in _own_groups() if (quota := _quota(folder)) is not None]
    # Where the system knows no affinity (macOS) it is all of them.
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([here, *map(math.ceil, quotas)]))


def _own_groups() -> list[Path]:
    """Folders of the groups that this process is in, and of those that they are in.

    A container sees its own group as the uppermost, while its path may be told as the machine sees it: then what is
    there of that path is the uppermost alone, and what lies beside it is told as `..`.
    """
    found = []
    for line in _OF_PROCESS.read_text().splitlines() if _OF_PROCESS.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            top = _GROUPS
        elif "cpu" in controllers.split(","):
            top = _GROUPS / "cpu"
        else:
            continue
        group = top.joinpath(*(part for part in Path(path).parts if part not in ("/", "..")))
        found += [group, *(above for above in group.parents if above.is_relative_to(top))]
    return found


def _quota(group: Path) -> float | None:
    """Cores' worth of time that a group gets; None where there is no limit."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
    except OSError:
        return None
    return None if quota.strip() in ("max", "-1") else int(quota) / int(period)
