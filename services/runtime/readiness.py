"""Whether what a service needs is there now: its database and its objects. Liveness asks for neither."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from pathlib import Path

from sqlalchemy import Engine, text

from services.runtime.errors import Unavailable
from services.runtime.objects import ObjectStore


def check_needs(engine: Engine, store: ObjectStore | None = None) -> None:
    """Returns when both answer.

    Raises:
        Unavailable: one does not.
    """
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).is_file():
        # Connections that are open go on with a file that nobody else can see.
        raise Unavailable(f"the database {engine.url.database} is not there now; put its folder back")
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    if store is not None:
        store.check()


class Looking:
    """Asks whether a service is ready, and takes no answer in time for a no: what is asked may hang for minutes.

    Args:
        ready: raises where it is not.
        within_s: how long an answer may take.
    """

    def __init__(self, ready: Callable[[], None], within_s: float) -> None:
        self._ready = ready
        self._within_s = within_s
        self._asked: Future[None] | None = None

    def look(self) -> None:
        """Returns when the service is ready.

        Raises:
            Unavailable: no answer came; the next look waits for the same one.
            Exception: what `ready` raised.
        """
        if self._asked is None:
            self._asked = Future()
            threading.Thread(target=self._ask, args=(self._asked,), name="readiness", daemon=True).start()
        try:
            self._asked.result(self._within_s)
        except TooLate as error:
            if not self._asked.done():
                raise Unavailable(f"what it needs has not answered for {self._within_s:g} s") from error
            raise
        finally:
            if self._asked.done():
                self._asked = None

    def _ask(self, asked: Future[None]) -> None:
        try:
            self._ready()
        except Exception as error:  # noqa: BLE001  whoever looks is told
            asked.set_exception(error)
        else:
            asked.set_result(None)
