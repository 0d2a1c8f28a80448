"""Locks by what is being looked up: who waits for one thing holds nobody up who needs another."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator


class Locks:
    """A lock a key, there as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._wanted: dict[Hashable, tuple[threading.Lock, int]] = {}

    @contextmanager
    def holding(self, key: Hashable) -> Iterator[None]:
        """Holds the lock of a key; blocks while another thread does."""
        with self._changing:
            lock, wanted_by = self._wanted.get(key, (threading.Lock(), 0))
            self._wanted[key] = lock, wanted_by + 1
        try:
            with lock:
                yield
        finally:
            with self._changing:
                _, wanted_by = self._wanted[key]
                if wanted_by > 1:
                    self._wanted[key] = lock, wanted_by - 1
                else:
                    del self._wanted[key]
