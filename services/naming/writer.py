"""One thread that takes the acts of all callers: those that wait are done in one transaction."""

import queue
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future

from prometheus_client import Gauge
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from services.naming import ledger
from services.naming.ledger import Asked, Done, StudyBusy
from services.naming.namings import Held, NamingKey
from services.runtime.errors import ServiceError, Unavailable

_waiting = Gauge("onoma_acts_waiting", "Acts that were sent and are not yet in the database.")
_MOST_AT_ONCE = 64
# While many act, a transaction waits a moment for more of them: each costs as much by itself as ten acts in it.
_MANY = 4
_GATHER_S = 0.015
_MOST_KEPT = 500_000  # placements and concepts of the namings that are kept in memory

_STUDY_WAIT_S = 8.0  # below the deadline that the gateway gives an act
_STUDY_LOOK_S = 0.25

_Waiting = tuple[Asked, "Future[Done]"]


class Writer:
    """Takes acts; what the last ones left behind is kept, so that the next one need not read it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept = _Kept()
        self._asked: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._is_closed = False
        self._closing = threading.Lock()  # nothing is put behind the end
        self._thread = threading.Thread(target=self._run, name="naming-writer", daemon=True)
        self._thread.start()

    def act(self, asked: Asked) -> Done:
        """The naming after an act, once that is in the database; raises the error that `ledger.act_all` has for it.

        While somebody else keeps the study it is tried again and again: the thread goes on with the other studies.
        """
        until = time.monotonic() + _STUDY_WAIT_S
        with _waiting.track_inprogress():
            while True:
                try:
                    return self._answer(asked)
                except StudyBusy:
                    if time.monotonic() > until:
                        raise
                time.sleep(_STUDY_LOOK_S)

    def _answer(self, asked: Asked) -> Done:
        answer: Future[Done] = Future()
        with self._closing:
            if self._is_closed:
                raise Unavailable("the naming service is stopping; try again")
            self._asked.put((asked, answer))
        return answer.result()

    def held(self, key: NamingKey, revision: int) -> Held | None:
        """A naming at a revision, where it is in memory."""
        held = self._kept.get(key)
        return held if held is not None and held.state.revision == revision else None

    def close(self) -> None:
        """Does what waits, then ends."""
        with self._closing:
            self._is_closed = True
            self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        batch: dict[NamingKey, _Waiting] = {}
        later: list[_Waiting] = []
        is_last = False
        while not is_last or later:
            many_act = len(batch) >= _MANY
            batch, found, later = {}, later, []
            if not found:
                first = self._asked.get()
                is_last, found = first is None, [] if first is None else [first]
            if many_act and not is_last:
                time.sleep(_GATHER_S)
            while len(found) < _MOST_AT_ONCE and not self._asked.empty():
                one = self._asked.get()
                if one is None:
                    is_last = True
                    break
                found.append(one)
            for waiting in found:
                key = waiting[0].key
                if key in batch:  # the next one of the same naming rests on this one
                    later.append(waiting)
                else:
                    batch[key] = waiting
            if batch:
                self._do(list(batch.values()))

    def _do(self, batch: list[_Waiting]) -> None:
        try:
            answers = ledger.act_all(self._engine, [asked for asked, _ in batch], self._kept)
        except IntegrityError as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:  # one of them is at fault
                for one in batch:
                    self._do([one])
        except Exception as error:  # noqa: BLE001  every caller is told
            for _, answer in batch:
                answer.set_exception(error)
        else:
            for (_, answer), done in zip(batch, answers, strict=True):
                if isinstance(done, ServiceError):
                    answer.set_exception(done)
                else:
                    answer.set_result(done)


class _Kept(OrderedDict[NamingKey, Held]):
    """Namings as they were last known, as many as memory is meant for; those used last stay."""

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def __setitem__(self, key: NamingKey, held: Held) -> None:
        if key in self:
            del self[key]
        super().__setitem__(key, held)
        self._size += _size(held)
        while self._size > _MOST_KEPT and len(self) > 1:
            del self[next(iter(self))]

    def __delitem__(self, key: NamingKey) -> None:
        self._size -= _size(self[key])
        super().__delitem__(key)


def _size(held: Held) -> int:
    return len(held.state.placements) + len(held.state.concepts) + 1
