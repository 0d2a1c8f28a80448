"""How the classes of a training are shared out: which are trained together, and how many groups at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from onoma.science.xnn_fitting import XnnSettings, head_widths, widths

_Class = TypeVar("_Class")
_Group = TypeVar("_Group")
_Result = TypeVar("_Result")

LARGEST_GROUP = 32  # classes; what larger ones bring on a GPU was not measured
_SHARE_OF_MEMORY = 4  # a group takes a quarter of a GPU's, the features up to half of what is free
_BYTES_A_PARAMETER = 16  # itself, its gradient and Adam's two moments
_BYTES_A_CODE = 4


def group_size(
    wanted: int, settings: XnnSettings, image_count: int, feature_count: int, device: torch.device
) -> int:
    """Classes that are trained together; the same each time on one machine, so that a training goes on as it began.

    Args:
        wanted: 0 for one on a CPU, which gains nothing by more, and on a GPU as many as its memory has room for.
        feature_count: D, or the codes' where there is a shared trunk.
    """
    if settings.negatives_per_positive:
        return 1  # each class has images of its own
    if wanted or device.type != "cuda":
        return wanted or 1
    room = int(torch.cuda.get_device_properties(device).total_memory) // _SHARE_OF_MEMORY
    return max(1, min(LARGEST_GROUP, room // bytes_a_class(settings, image_count, feature_count)))


def bytes_a_class(settings: XnnSettings, image_count: int, feature_count: int) -> int:
    """Memory that a class takes in a group: parameters with Adam's state, and the warm start's codes of all images."""
    count = settings.x_feature_count
    upper = head_widths(feature_count, count) if settings.shared_trunk else widths(feature_count, count)
    sizes: tuple[int, ...] = (feature_count, *upper)
    parameters = sum(2 * a * b + a + b for a, b in pairwise(sizes))
    codes = 2 * sum(sizes[1:-1]) * image_count  # twice while blocks are joined
    return _BYTES_A_PARAMETER * parameters + _BYTES_A_CODE * codes


def groups_of(classes: Sequence[_Class], size: int) -> list[Sequence[_Class]]:
    """The classes in groups of `size`, in their order."""
    return [classes[start : start + size] for start in range(0, len(classes), size)]


def beside(
    work: Callable[[_Group], _Result],
    groups: Sequence[_Group],
    workers: int,
    device: torch.device,
    stop: Callable[[], None] = lambda: None,
) -> list[_Result]:
    """Works on several groups at once: one a core on a CPU, one at a time on a GPU, which a group keeps busy.

    Args:
        workers: groups at once on a CPU; 0 for as many as cores.
        stop: called once the first has failed, whose error is then raised; it should make the others end.
    """
    at_once = 1 if device.type == "cuda" else workers or os.cpu_count() or 1
    with one_thread(), ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        begun = [pool.submit(work, group) for group in groups]
        try:
            for one in as_completed(begun):
                one.result()
        except BaseException:
            stop()
            for one in begun:
                one.cancel()
            raise
    return [one.result() for one in begun]


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one core a class: products this small gain a fifth by a second, and lose tenfold where others run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_device(features: Tensor, device: torch.device) -> Tensor:
    """The features on a GPU where they take at most half of what is free there; else as they are."""
    if device.type != "cuda":
        return features
    free, _ = torch.cuda.mem_get_info(device)
    return features.to(device) if 2 * features.nbytes <= free else features
