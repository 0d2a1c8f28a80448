"""Who waits for a change, and is woken by it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Bell:
    """Wakes those who watch something in this process; changes made by other replicas are for them to look for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[object, set[threading.Event]] = {}
        self._is_stopped = False

    @contextmanager
    def listening(self, *to: object) -> Iterator[threading.Event]:
        """An event that is set by each ring `to` what is watched, and for good once the bell is stopped."""
        event = threading.Event()
        with self._lock:
            for what in to:
                self._listeners.setdefault(what, set()).add(event)
            if self._is_stopped:
                event.set()
        try:
            yield event
        finally:
            with self._lock:
                for what in to:
                    self._listeners[what].discard(event)
                    if not self._listeners[what]:
                        del self._listeners[what]

    def ring(self, *changed: object) -> None:
        """Wakes who listens to any of these."""
        with self._lock:
            for what in changed:
                for event in self._listeners.get(what, ()):
                    event.set()

    @property
    def is_stopped(self) -> bool:
        """Whether watching is over."""
        return self._is_stopped

    def stop(self) -> None:
        """Wakes everybody: watching is over."""
        with self._lock:
            self._is_stopped = True
            for events in self._listeners.values():
                for event in events:
                    event.set()
