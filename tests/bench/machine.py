"""Names the machine that a benchmark ran on."""

import platform

import torch


def machine_name(device: str) -> str:
    """The GPU, or the processor's kind and how many threads torch takes."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {torch.get_num_threads()} threads"
