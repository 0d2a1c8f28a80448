"""What was used last, kept: as much of it as memory is meant for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class LastUsed(Generic[_Key, _Value]):
    """Values by their keys; those that nobody asked for or put in for longest are dropped. Threads may share it.

    Args:
        most: so much is kept of what `size_of` says of values, in all; without it, so many values.
    """

    def __init__(self, most: int, size_of: Callable[[_Value], int] = lambda _: 1) -> None:
        self._most = most
        self._size_of = size_of
        self._lock = threading.Lock()
        self._values: OrderedDict[_Key, _Value] = OrderedDict()
        self._size = 0

    def get(self, key: _Key) -> _Value | None:
        """A value; None where it is not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: _Key, value: _Value) -> None:
        """Keeps a value, in the place of another of its key."""
        with self._lock:
            self._drop(key)
            self._values[key] = value
            self._size += self._size_of(value)
            while self._size > self._most:
                self._drop(next(iter(self._values)))

    def drop(self, key: _Key) -> None:
        """Keeps the value no longer, where there is one."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Keeps nothing of what was put in so far."""
        with self._lock:
            self._values.clear()
            self._size = 0

    def _drop(self, key: _Key) -> None:
        if key in self._values:
            self._size -= self._size_of(self._values.pop(key))
