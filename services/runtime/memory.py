"""How malloc and the garbage collector treat what a server holds."""

from __future__ import annotations

import atexit
import ctypes
import gc
import sys

# Names and numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT = 2**30


def keep_freed_memory() -> bool:
    """Lets malloc keep up to 1 GiB of freed memory for what comes next, whichever thread asks.

    By default glibc gives each large block back to the system and takes its pages anew, one fault a page: of a batch
    of 19 MB sent by ModelInfer that was four fifths of the time, of VGG16's forward pass a sixth. Arenas of single
    threads could not hold such blocks, so there is one for all; numpy, torch and Python's own objects ask it rarely.

    Returns:
        Whether the C library is glibc and took all of it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    options = ((_MMAP_THRESHOLD, _KEPT), (_TRIM_THRESHOLD, _KEPT), (_ARENA_MAX, 1))
    return all(mallopt(*option) == 1 for option in options)


def leave_out_of_collections() -> None:
    """Keeps the garbage collector from looking again and again at all that a start has made: modules, tables, messages.

    In the naming service under load each full collection took 70 ms, in which no call was answered.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # what is still frozen at the end, triton reports as leaks: pages of them
