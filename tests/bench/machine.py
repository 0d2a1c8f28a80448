"""Names what a benchmark ran on, and watches what a process takes of its memory."""

import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import psutil
import torch

CPU_INFO = Path("/proc/cpuinfo")


def machine_name(device: str) -> str:
    """The GPU or the processor, torch's version and the day."""
    machine = torch.cuda.get_device_name() if device == "cuda" else _processor()
    return f"{machine}, torch {torch.__version__}, {date.today().isoformat()}"


def _processor() -> str:
    """The model where Linux says it, else the architecture, and how many threads torch takes."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {torch.get_num_threads()} threads"


@contextmanager
def largest_resident(pid: int) -> Iterator[list[int]]:
    """The process's resident bytes, mapped files included, each quarter of a second until the end of the block."""
    process, ended = psutil.Process(pid), threading.Event()
    seen = [process.memory_info().rss]

    def watch() -> None:
        while not ended.wait(0.25):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()
