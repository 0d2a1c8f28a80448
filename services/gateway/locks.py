"""Locks by what is being looked up: who waits for one thing holds nobody up who needs another."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator


class Locks:
    """A lock a key, there as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._locks: WeakValueDictionary[Hashable, threading.Lock] = WeakValueDictionary()

    @contextmanager
    def holding(self, key: Hashable) -> Iterator[None]:
        """Holds the lock of a key; blocks while another thread does."""
        # setdefault of weak values is several steps: two threads could get a lock each.
        with self._changing:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            yield
