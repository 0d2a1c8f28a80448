"""How malloc treats what a server frees."""

from __future__ import annotations

import ctypes
import sys

# Names and numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_ON_HEAP = 32 * 2**20  # as far as glibc itself would raise it on 64 bits
_LARGEST_KEPT = 256 * 2**20


def keep_freed_memory() -> bool:
    """Lets malloc keep up to 256 MiB of freed memory, blocks up to 32 MiB among it, for what comes next.

    By default glibc gives each large block back to the system, and takes its pages anew, one fault a page, for the
    next request: of a batch of 19 MB sent by ModelInfer that was four fifths of the time (docs/benchmarks.md).

    Returns:
        Whether the C library is glibc and took both.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return all(
        mallopt(*option) == 1
        for option in ((_MMAP_THRESHOLD, _LARGEST_ON_HEAP), (_TRIM_THRESHOLD, _LARGEST_KEPT))
    )
