"""What matrix products on a GPU are computed in: float32 or TF32, a switch of the whole process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_IEEE, _TF32 = "ieee", "tf32"
_changed = threading.Condition()
_waiting: deque[object] = deque()  # first come, first served: neither kind keeps the other out for good
_inside = 0
_current = ""
_before = ("", "")


@contextmanager
def products(precision: str, device: torch.device) -> Iterator[None]:
    """Where matrix products and convolutions on a GPU are in TF32 if `precision` is "tf32", else in whole float32.

    Threads that want the same are in at once, one that wants the other waits until they have left: maps drawn beside
    a training are computed in what their provenance says. A thread must not enter twice. Nothing happens on a CPU,
    which has no TF32.
    """
    if device.type != "cuda":
        yield
        return
    _enter(_TF32 if precision == "tf32" else _IEEE)
    try:
        yield
    finally:
        _leave()


def _enter(wanted: str) -> None:
    global _inside, _current, _before
    ticket = object()
    with _changed:
        _waiting.append(ticket)
        try:
            _changed.wait_for(lambda: _waiting[0] is ticket and (not _inside or _current == wanted))
            if not _inside:
                _before = _switches()
                _set_switches(wanted, wanted)
                _current = wanted
            _inside += 1
        finally:
            _waiting.remove(ticket)
            _changed.notify_all()


def _leave() -> None:
    global _inside
    with _changed:
        _inside -= 1
        if not _inside:
            _set_switches(*_before)
            _changed.notify_all()


def _switches() -> tuple[str, str]:
    cudnn: Any = torch.backends.cudnn  # torch's types do not know its conv
    return torch.backends.cuda.matmul.fp32_precision, cudnn.conv.fp32_precision


def _set_switches(matmul: str, convolution: str) -> None:
    torch.backends.cuda.matmul.fp32_precision = matmul
    cudnn: Any = torch.backends.cudnn
    cudnn.conv.fp32_precision = convolution
