"""Jobs: long work as durable rows, that a thread works on and another process takes over from a dead one.

A worker holds a job by a lease that it renews; a row whose lease has run out, or whose owner's process is gone, is
taken up again. Handlers are therefore written so that doing finished parts again does nothing.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, and_, col, or_, select, tuple_

from services.runtime import job_metrics, paging
from services.runtime.database import session
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound, ServiceError, Unavailable
from services.runtime.job_context import Cancelled, JobContext, Released, one_line
from services.runtime.job_table import CANCELLED, FAILED, PENDING, RUNNING, SUCCEEDED, Job
from services.runtime.peers import GOES_AWAY
from services.runtime.processes import is_gone, process_name

LEASE_S = 15.0
MAX_ATTEMPTS = 5
PATIENCE_S = 300.0  # how long a job waits for a database, an object store or a service that is away
_BEAT_S = 0.25  # between two looks at the job in hand, of the thread that writes its progress
_IDLE_S = 1.0  # between two looks for work that another process has put into the queue
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0  # between two tries of a job that waits for what is away

_log = logging.getLogger(__name__)


Handler = Callable[[JobContext], dict[str, Any]]


class Jobs:
    """The jobs of one service, and the thread that works on them one after another.

    Args:
        engine: the service's database.
        handlers: what does each kind of job; returns the job's result, which JSON can hold.
        lease_s: how long a job stays with a process that no longer renews its lease.
    """

    def __init__(self, engine: Engine, handlers: dict[str, Handler], lease_s: float = LEASE_S) -> None:
        self._engine = engine
        self._handlers = handlers
        self._lease_s = lease_s
        self._owner = process_name()
        self._wake = threading.Event()
        self.closing = threading.Event()
        self._ended = threading.Event()
        self._in_hand: JobContext | None = None
        self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._beat = threading.Thread(target=self._renew, name="jobs-lease", daemon=True)
        self._worker.start()
        self._beat.start()
        job_metrics.count_queue(engine)

    def start(self, kind: str, params: dict[str, Any], request_id: str = "") -> Job:
        """Puts a job into the queue; the same request id gives the job it gave before.

        Raises:
            InvalidArgument: the request id was used for something else.
        """
        if kind not in self._handlers:
            raise KeyError(kind)
        params = json.loads(json.dumps(params))  # as the row will hold them
        row = Job(job_id=uuid.uuid4().hex, kind=kind, params=params, request_id=request_id or None)
        job_id = row.job_id
        if request_id and (known := self._started(kind, params, request_id)):
            return known
        try:
            with session(self._engine) as opened:
                opened.add(row)
        except IntegrityError:  # the same request came in twice at once
            if known := self._started(kind, params, request_id):
                return known
            raise
        self._wake.set()
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        """The job as it stands. Raises NotFound."""
        with Session(self._engine) as opened:
            return _found(opened, job_id)

    def list(self, page_size: int, page_token: str) -> tuple[Sequence[Job], str]:
        """Jobs, latest first, and the token of the next page; empty on the last.

        Raises:
            InvalidArgument: the page size is none, or the token not one that was given.
        """
        size = paging.checked_page_size(page_size, default=100, largest=1000)
        place = (col(Job.create_time), col(Job.job_id))
        query = select(Job).order_by(*(column.desc() for column in place)).limit(size + 1)
        if page_token:
            query = query.where(tuple_(*place) < tuple_(*paging.read_token(page_token, float, str)))
        with Session(self._engine) as opened:
            rows = opened.exec(query).all()
        return paging.cut(rows, size, lambda job: (job.create_time, job.job_id))

    def cancel(self, job_id: str) -> Job:
        """Asks a job to stop; one that waits is cancelled at once, one that has ended stays as it is."""
        with session(self._engine) as opened:
            row = _found(opened, job_id, lock=True)
            if row.state == PENDING:
                row.state, row.update_time = CANCELLED, time.time()
            elif row.state == RUNNING:
                row.cancel_requested, row.update_time = True, time.time()
        return self.get(job_id)

    def resume(self, job_id: str) -> Job:
        """Puts a failed or cancelled job back into the queue.

        Raises:
            FailedPrecondition: it is waiting, running or done.
        """
        with session(self._engine) as opened:
            row = _found(opened, job_id, lock=True)
            if row.state not in (FAILED, CANCELLED):
                raise FailedPrecondition(
                    f"job {job_id} is {row.state}; only a failed or cancelled one resumes"
                )
            row.state, row.error, row.attempts, row.cancel_requested = PENDING, "", 0, False
            row.update_time = time.time()
        self._wake.set()
        return self.get(job_id)

    def drain(self) -> None:
        """Takes up no more jobs; the one in hand goes back into the queue at its next safe point."""
        self.closing.set()
        if in_hand := self._in_hand:
            in_hand.released.set()
        self._wake.set()

    def close(self, timeout_s: float = 10.0) -> None:
        """Drains, and waits for the job in hand to reach a safe point."""
        self.drain()
        self._worker.join(timeout_s)
        self._beat.join(timeout_s)

    def _started(self, kind: str, params: dict[str, Any], request_id: str) -> Job | None:
        """The job that this request has started before."""
        with Session(self._engine) as opened:
            found = opened.exec(select(Job).where(Job.request_id == request_id)).first()
        if found and (found.kind, found.params) != (kind, params):
            raise InvalidArgument(
                f"request id '{request_id}' was used for another {found.kind}; take a new one",
                "REQUEST_ID_REUSED",
            )
        return found

    def _work(self) -> None:
        while not self.closing.is_set():
            try:
                row = self._claim()
            except Exception:  # noqa: BLE001  a database that is away comes back; the thread stays
                _log.exception("no job can be taken up now")
                row = None
            if row:
                self._run(row)
            else:
                self._wake.wait(_IDLE_S)
                self._wake.clear()
        self._ended.set()

    def _claim(self) -> Job | None:
        """The oldest job that waits or whose worker is gone, now leased to this process."""
        query = (
            select(Job)
            .where(
                col(Job.kind).in_(self._handlers),
                or_(
                    Job.state == PENDING,
                    and_(Job.state == RUNNING, or_(Job.lease_until < time.time(), Job.owner != self._owner)),
                ),
            )
            .order_by(col(Job.create_time))
        )
        with Session(self._engine) as opened:  # a look that takes no lock
            if not any(map(_is_free, opened.exec(query))):
                return None
        with session(self._engine) as opened:
            for row in filter(_is_free, opened.exec(query.with_for_update(skip_locked=True))):
                row.update_time = time.time()
                if row.attempts >= MAX_ATTEMPTS:
                    row.state = FAILED
                    row.error = f"given up: the process ended {row.attempts} times while at it"
                    continue
                row.state, row.owner, row.attempts = RUNNING, self._owner, row.attempts + 1
                row.lease_until = time.time() + self._lease_s
                job_id = row.job_id
                break
            else:
                return None
        return self.get(job_id)

    def _run(self, row: Job) -> None:
        context = JobContext(row)
        if row.cancel_requested:
            context.cancelled.set()
        self._in_hand = context
        if self.closing.is_set():
            context.released.set()
        with job_metrics.seconds.labels(row.kind).time():
            end = self._outcome(row, context)
        job_metrics.ended.labels(row.kind, end["state"]).inc()
        self._in_hand = None
        while True:
            try:
                self._write(row.job_id, {**context.progress(), **end, "owner": "", "lease_until": 0.0})
                return
            except Exception:  # noqa: BLE001  what was done is not lost because the database is away
                _log.exception("the end of job %s cannot be written now", row.job_id)
            if self.closing.wait(_IDLE_S):
                return

    def _outcome(self, row: Job, context: JobContext) -> dict[str, Any]:
        """Does the job; returns the columns that say how it ended."""
        try:
            result = self._patiently(row, context)
        except Cancelled:
            return {"state": CANCELLED, "cancel_requested": False}
        except Released:
            return {"state": PENDING, "attempts": row.attempts - 1}
        except (ServiceError, ValueError) as error:
            return {"state": FAILED, "error": one_line(error)}
        except grpc.RpcError as error:
            details = error.details() if isinstance(error, grpc.Call) else error
            return {"state": FAILED, "error": one_line(f"a service that this one needs failed: {details}")}
        except Exception as error:  # noqa: BLE001  the job ends, the service does not
            _log.exception("job %s (%s) failed", row.job_id, row.kind)
            return {"state": FAILED, "error": one_line(f"internal error: {type(error).__name__}: {error}")}
        try:
            json.dumps(result, allow_nan=False)
        except (TypeError, ValueError) as error:
            _log.exception("job %s (%s) has a result that JSON cannot hold", row.job_id, row.kind)
            return {"state": FAILED, "error": one_line(f"internal error: its result: {error}")}
        return {"state": SUCCEEDED, "result": result}

    def _patiently(self, row: Job, context: JobContext) -> dict[str, Any]:
        """Does the job, again after a pause where something that it needs is away; done parts stay done.

        The pauses grow; PATIENCE_S is what all of them together may take.
        """
        pause_s, left_s = _FIRST_PAUSE_S, PATIENCE_S
        while True:
            context.check()
            try:
                return self._handlers[row.kind](context)
            except (Unavailable, grpc.RpcError) as error:
                if not _passes(error) or left_s <= 0:
                    raise
                what = error.details() if isinstance(error, grpc.Call) else error
                _log.warning("job %s (%s) waits %.1f s: %s", row.job_id, row.kind, pause_s, what)
                context.stage(f"waiting: {what}")
                job_metrics.waits.labels(row.kind).inc()
            _pause(context, pause_s)
            left_s -= pause_s
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _renew(self) -> None:
        """Writes the progress of the job in hand, renews its lease and hears whether it is to stop."""
        written: dict[str, Any] = {}
        renew_at = 0.0
        # Also while it drains: nobody else is to take the job up before it ends.
        while not self._ended.wait(_BEAT_S):
            if (context := self._in_hand) is None:
                continue
            columns = {"job_id": context.job_id, **context.progress()}
            changed = {**columns, "rate_per_s": 0} != {**written, "rate_per_s": 0}
            try:
                if changed or time.monotonic() >= renew_at:
                    lease = {"lease_until": time.time() + self._lease_s}
                    self._write(context.job_id, {**columns, **lease}, seen=changed)
                    written, renew_at = columns, time.monotonic() + self._lease_s / 3
                row = self.get(context.job_id)
            except Exception:  # noqa: BLE001  a database that is away comes back; the thread stays
                _log.exception("the progress of job %s cannot be written now", context.job_id)
                continue
            if row.cancel_requested:
                context.cancelled.set()
            if row.owner != self._owner:
                context.released.set()

    def _write(self, job_id: str, columns: dict[str, Any], *, seen: bool = True) -> None:
        """Writes columns of a job, if it is still this worker's; `seen`: those who watch are shown it."""
        if seen:
            columns = {**columns, "update_time": time.time()}
        statement = sa.update(Job).where(col(Job.job_id) == job_id, col(Job.owner) == self._owner)
        with session(self._engine) as opened:
            opened.execute(statement.values(columns))


def ended_jobs(opened: Session, what: str, name: str, params_by_kind: Mapping[str, str]) -> list[Job]:
    """The jobs that are about something that is to be deleted; they go with it, and their requests can be made anew.

    Args:
        what: how to call it.
        name: what such a job's parameter says.
        params_by_kind: which parameter, by kind of job.
    Raises:
        FailedPrecondition: one of them waits or runs.
    """
    of_these_kinds = opened.exec(select(Job).where(col(Job.kind).in_(params_by_kind)))
    jobs = [row for row in of_these_kinds if row.params.get(params_by_kind[row.kind]) == name]
    for row in jobs:
        if row.state in (PENDING, RUNNING):
            raise FailedPrecondition(
                f"a job is at work on {what}: wait for it, or end it first (onoma job cancel {row.job_id[:8]})",
                "IN_USE",
            )
    return jobs


def _found(opened: Session, job_id: str, *, lock: bool = False) -> Job:
    """The job; with a lock no worker takes it up meanwhile."""
    row = opened.get(Job, job_id, with_for_update=lock)
    if row is None:
        raise NotFound(f"no job '{job_id[:80]}'; onoma job list shows those there are")
    return row


def _passes(error: Exception) -> bool:
    """Whether what went wrong may be right again in a moment."""
    return isinstance(error, Unavailable) or (isinstance(error, grpc.Call) and error.code() in GOES_AWAY)


def _pause(context: JobContext, seconds: float) -> None:
    """Waits, unless the job is to stop meanwhile."""
    until = time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        context.check()
        time.sleep(min(left_s, _BEAT_S))


def _is_free(row: Job) -> bool:
    """Whether the job waits, or its worker no longer renews the lease or has ended."""
    return row.state == PENDING or row.lease_until < time.time() or is_gone(row.owner)
