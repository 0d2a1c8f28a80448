"""What matrix products on a GPU are computed in: float32 or TF32, a switch of the whole process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_changed = threading.Condition()
_waiting: deque[object] = deque()  # first come, first served: neither kind keeps the other out for good
_inside = 0
_current = False
_before = (False, False)


@contextmanager
def matmul_precision(precision: str, device: torch.device) -> Iterator[None]:
    """Where matrix products and convolutions on a GPU are in TF32 if `precision` is "tf32", else in whole float32.

    Threads that want the same are in at once, one that wants the other waits until they have left: maps drawn beside
    a training are computed in what their provenance says. A thread must not enter twice. Nothing happens on a CPU,
    which has no TF32.
    """
    if device.type != "cuda":
        yield
        return
    _enter(precision == "tf32")
    try:
        yield
    finally:
        _leave()


def _enter(wanted: bool) -> None:
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


def _switches() -> tuple[bool, bool]:
    """Of matrix products and of cuDNN. The newer `fp32_precision` is left alone: where cuDNN's convolutions are set by
    it, torch.export fails in every thread of the process.
    """
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def _set_switches(matmul: bool, cudnn: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = matmul
    torch.backends.cudnn.allow_tf32 = cudnn
