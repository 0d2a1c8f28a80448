"""Who holds an invitation's token, remembered for a moment."""

import threading
import time
from collections.abc import Collection

from sqlalchemy import Engine
from sqlmodel import Session

from services.naming import invitations
from services.runtime.access import Guest

_REMEMBERED_S = 1.0  # so long may another replica's revocation take to be seen here
_MOST = 10_000


class Guests:
    """Looks tokens up; what it found holds for a second, or until something here changes it.

    Those that are in use are asked for again together: a statement a second, however many annotators there are.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._found: dict[str, Guest | None] = {}
        self._used: set[str] = set()
        self._until = 0.0
        self._changes = 0

    def of(self, token: str) -> Guest | None:
        """Whose invitation a token is; None where it lets nobody in."""
        self._look_again()
        with self._lock:
            if token in self._found:
                self._used.add(token)
                return self._found[token]
            changes = self._changes
        guest = self._looked_up([token]).get(token)
        with self._lock:
            if changes == self._changes and len(self._found) < _MOST:
                self._found[token] = guest
        return guest

    def forget(self) -> None:
        """Links or studies have changed."""
        with self._lock:
            self._changes += 1
            self._found.clear()
            self._used.clear()

    def _look_again(self) -> None:
        """Asks anew for those tokens that were used since it last did; the others are forgotten."""
        if time.monotonic() < self._until:
            return
        with self._looking:
            if time.monotonic() < self._until:
                return
            with self._lock:
                used, changes = self._used, self._changes
                self._used = set()
            asked_at = time.monotonic()
            found = self._looked_up(used) if used else {}
            with self._lock:
                self._found = {token: found.get(token) for token in used} if changes == self._changes else {}
            self._until = asked_at + _REMEMBERED_S

    def _looked_up(self, tokens: Collection[str]) -> dict[str, Guest]:
        with Session(self._engine) as opened:
            return invitations.guests_of(opened, tokens)
