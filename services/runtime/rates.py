"""How often somebody may do something: a bucket a person that fills with time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable

_MOST = 10_000  # remembered; who was longest not seen is forgotten, and their bucket is full again


class Buckets:
    """A bucket a key.

    Args:
        per_s: how fast one fills.
        burst: how much it holds: so many times at once.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._lock = threading.Lock()
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable) -> float:
        """Takes one; 0, or the seconds to wait where there is none, and none is taken."""
        with self._lock:
            left = self._now(key)
            if left < 1:
                return (1 - left) / self._per_s
            self._left[key] = left - 1, time.monotonic()
            self._left.move_to_end(key)
            while len(self._left) > _MOST:
                self._left.popitem(last=False)
            return 0.0

    def wait_s(self, key: Hashable) -> float:
        """Seconds until there is one to take; 0 where there is."""
        with self._lock:
            return max(0.0, (1 - self._now(key)) / self._per_s)

    def _now(self, key: Hashable) -> float:
        left, since = self._left.get(key, (float(self._burst), 0.0))
        return min(float(self._burst), left + (time.monotonic() - since) * self._per_s)
