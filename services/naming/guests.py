"""Who holds an invitation's token, remembered for a moment."""

import random
import threading
import time

from sqlalchemy import Engine
from sqlmodel import Session

from services.naming import invitations
from services.runtime.access import Guest

_REMEMBERED_S = 10.0  # so long may another replica's revocation take to be seen here
_MOST = 10_000


class Guests:
    """Looks tokens up; what it found holds for seconds, or until something here changes it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, Guest | None]] = {}
        self._changes = 0

    def of(self, token: str) -> Guest | None:
        """Whose invitation a token is; None where it lets nobody in."""
        with self._lock:
            until, guest = self._found.get(token, (0.0, None))
            changes = self._changes
        if time.monotonic() < until:
            return guest
        with Session(self._engine) as opened:
            guest = invitations.guest_of(opened, token)
        with self._lock:
            if changes == self._changes:
                if len(self._found) >= _MOST:
                    self._found.clear()
                spread = random.uniform(0.5, 1)  # noqa: S311  so that not all are asked anew at once
                self._found[token] = (time.monotonic() + spread * _REMEMBERED_S, guest)
        return guest

    def forget(self) -> None:
        """Links or studies have changed."""
        with self._lock:
            self._changes += 1
            self._found.clear()
