"""Names what a benchmark ran on."""

import platform
from datetime import date
from pathlib import Path

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
