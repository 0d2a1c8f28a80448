"""Jobs: long work as durable rows, that a thread works on and another process takes over from a dead one.

A worker holds a job by a lease that it renews; a row whose lease has run out, or whose owner's process is gone, is
taken up again. Handlers are therefore written so that doing finished parts again does nothing.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import grpc
import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Engine
from sqlmodel import JSON, Column, Field, Session, SQLModel, col, or_, select

from onoma.v1 import jobs_pb2 as pb
from onoma.v1 import jobs_pb2_grpc
from services.runtime.database import session
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound, ServiceError

LEASE_S = 15.0
MAX_ATTEMPTS = 5
MAX_WARNINGS = 1000
_BEAT_S = 0.25
_WATCH_S = 60.0
_MAX_WATCHERS = 6  # of a server's threads; a watcher beyond that gets the present state and the stream's end

PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED = "pending", "running", "succeeded", "failed", "cancelled"
_STATES = {
    PENDING: pb.JOB_STATE_PENDING,
    RUNNING: pb.JOB_STATE_RUNNING,
    SUCCEEDED: pb.JOB_STATE_SUCCEEDED,
    FAILED: pb.JOB_STATE_FAILED,
    CANCELLED: pb.JOB_STATE_CANCELLED,
}
_log = logging.getLogger(__name__)


class Job(SQLModel, table=True):
    """One piece of long work; described in jobs.proto."""

    job_id: str = Field(primary_key=True)
    kind: str
    params: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    request_id: str | None = Field(default=None, unique=True)
    state: str = Field(default=PENDING, index=True)
    stage: str = ""
    done: int = Field(default=0, sa_type=sa.BigInteger)
    total: int = Field(default=0, sa_type=sa.BigInteger)
    rate_per_s: float = 0.0
    error: str = ""
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    warnings: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    create_time: float = Field(default_factory=time.time, index=True)
    update_time: float = Field(default_factory=time.time)
    attempts: int = 0
    owner: str = ""
    lease_until: float = 0.0
    cancel_requested: bool = False


def create_table(op: Operations) -> None:
    """Creates the table of jobs; called by a service's first migration."""
    op.create_table(
        "job",
        sa.Column("job_id", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("params", sa.JSON, nullable=False),
        sa.Column("request_id", sa.String, unique=True),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("rate_per_s", sa.Float, nullable=False),
        sa.Column("error", sa.String, nullable=False),
        sa.Column("result", sa.JSON),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.Column("create_time", sa.Float, nullable=False, index=True),
        sa.Column("update_time", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
    )


class Cancelled(Exception):
    """The job was asked to stop; raised by `JobContext.check`."""


class _Released(Exception):
    """The server is closing: the job goes back into the queue."""


class JobContext:
    """What a handler knows of its job, and how it says where it is.

    Attributes:
        params: what the job was started with.
    """

    def __init__(self, row: Job) -> None:
        self.job_id = row.job_id
        self.params: dict[str, Any] = row.params
        self.cancelled = threading.Event()
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._stage, self._done, self._total, self._since = "", 0, 0, time.monotonic()
        self._warnings = list(row.warnings)

    def stage(self, name: str, total: int = 0) -> None:
        """Begins a stage of so many units; 0 while unknown."""
        with self._lock:
            self._stage, self._done, self._total, self._since = name, 0, total, time.monotonic()

    def advance(self, count: int = 1) -> None:
        """So many more units of the stage are done."""
        with self._lock:
            self._done += count

    def warn(self, line: str) -> None:
        """Something skipped or worth knowing, in one line."""
        with self._lock:
            if len(self._warnings) < MAX_WARNINGS and line not in self._warnings:
                self._warnings.append(line)

    def check(self) -> None:
        """A safe point: call it in every loop.

        Raises:
            Cancelled: the job was asked to stop.
        """
        if self.cancelled.is_set():
            raise Cancelled
        if self.closing.is_set():
            raise _Released

    def progress(self) -> dict[str, Any]:
        """Columns of the row that say where the job is."""
        with self._lock:
            elapsed = time.monotonic() - self._since
            return {
                "stage": self._stage,
                "done": self._done,
                "total": self._total,
                "rate_per_s": self._done / elapsed if elapsed > 0 else 0.0,
                "warnings": list(self._warnings),
            }


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
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._running: JobContext | None = None
        self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._beat = threading.Thread(target=self._renew, name="jobs-lease", daemon=True)
        self._worker.start()
        self._beat.start()

    def start(self, kind: str, params: dict[str, Any], request_id: str = "") -> Job:
        """Puts a job into the queue; the same request id gives the job it gave before.

        Raises:
            InvalidArgument: the request id was used for something else.
        """
        with session(self._engine) as opened:
            if request_id:
                found = opened.exec(select(Job).where(Job.request_id == request_id)).first()
                if found:
                    if (found.kind, found.params) != (kind, params):
                        raise InvalidArgument(
                            f"request id '{request_id}' was used for another {found.kind}; take a new one",
                            "REQUEST_ID_REUSED",
                        )
                    opened.expunge(found)
                    return found
            row = Job(job_id=uuid.uuid4().hex, kind=kind, params=params, request_id=request_id or None)
            opened.add(row)
            opened.flush()
            opened.refresh(row)
            opened.expunge(row)
        self._wake.set()
        return row

    def get(self, job_id: str) -> Job:
        """The job as it stands. Raises NotFound."""
        with Session(self._engine) as opened:
            return _found(opened, job_id)

    def list(self, page_size: int, page_token: str) -> tuple[list[Job], str]:
        """A page of jobs, latest first, and the token of the next."""
        size = min(page_size or 100, 1000)
        if size < 0 or not (page_token or "0").isdecimal():
            raise InvalidArgument(
                f"page_size {page_size} or page_token {page_token[:40]!r} is not one given out"
            )
        offset = int(page_token or "0")
        order = (col(Job.create_time).desc(), col(Job.job_id))
        with Session(self._engine) as opened:
            rows = list(opened.exec(select(Job).order_by(*order).offset(offset).limit(size + 1)))
        return rows[:size], str(offset + size) if len(rows) > size else ""

    def cancel(self, job_id: str) -> Job:
        """Asks a job to stop; one that waits is cancelled at once, one that has ended stays as it is."""
        with session(self._engine) as opened:
            row = _found(opened, job_id)
            if row.state == PENDING:
                row.state = CANCELLED
            row.cancel_requested = row.state in (RUNNING, CANCELLED)
            row.update_time = time.time()
        return self.get(job_id)

    def resume(self, job_id: str) -> Job:
        """Puts a failed or cancelled job back into the queue.

        Raises:
            FailedPrecondition: it is waiting, running or done.
        """
        with session(self._engine) as opened:
            row = _found(opened, job_id)
            if row.state not in (FAILED, CANCELLED):
                raise FailedPrecondition(
                    f"job {job_id} is {row.state}; only a failed or cancelled one resumes"
                )
            row.state, row.error, row.attempts, row.cancel_requested = PENDING, "", 0, False
            row.update_time = time.time()
        self._wake.set()
        return self.get(job_id)

    def close(self, timeout_s: float = 10.0) -> None:
        """Stops working; a job in hand goes back into the queue at its next safe point."""
        self._closing.set()
        if self._running:
            self._running.closing.set()
        self._wake.set()
        self._worker.join(timeout_s)
        self._beat.join(timeout_s)

    def _work(self) -> None:
        while not self._closing.is_set():
            row = self._claim()
            if row:
                self._run(row)
            else:
                self._wake.wait(1.0)
                self._wake.clear()

    def _claim(self) -> Job | None:
        """The oldest job that waits or whose owner is gone, now leased to this process."""
        now = time.time()
        with session(self._engine) as opened:
            query = (
                select(Job)
                .where(or_(Job.state == PENDING, Job.state == RUNNING))
                .order_by(col(Job.create_time))
            )
            for row in opened.exec(query.with_for_update(skip_locked=True)):
                if row.kind not in self._handlers:
                    continue
                if row.state == RUNNING and row.lease_until > now and not _is_gone(row.owner):
                    continue
                if row.attempts >= MAX_ATTEMPTS:
                    row.state = FAILED
                    row.error = f"given up: the process ended {row.attempts} times while at it"
                    continue
                row.state, row.owner, row.lease_until = RUNNING, self._owner, now + self._lease_s
                row.attempts += 1
                row.update_time = now
                opened.flush()
                opened.refresh(row)
                opened.expunge(row)
                return row
        return None

    def _run(self, row: Job) -> None:
        context = JobContext(row)
        if row.cancel_requested:
            context.cancelled.set()
        self._running = context
        if self._closing.is_set():
            context.closing.set()
        end: dict[str, Any]
        try:
            context.check()
            end = {"state": SUCCEEDED, "result": self._handlers[row.kind](context)}
        except Cancelled:
            end = {"state": CANCELLED}
        except _Released:
            end = {"state": PENDING, "attempts": row.attempts - 1}
        except (ServiceError, ValueError) as error:
            end = {"state": FAILED, "error": " ".join(str(error).split())}
        except grpc.RpcError as error:
            end = {"state": FAILED, "error": f"a service this one needs failed: {error.details()}"}
        except Exception as error:  # noqa: BLE001  the job ends, the service does not
            _log.exception("job %s (%s) failed", row.job_id, row.kind)
            end = {"state": FAILED, "error": f"internal error: {type(error).__name__}: {error}"}
        self._running = None
        self._write(row.job_id, context.progress() | end | {"owner": "", "lease_until": 0.0})

    def _renew(self) -> None:
        """Writes the progress of the job in hand, renews its lease and hears whether it is cancelled."""
        while not self._closing.wait(_BEAT_S):
            context = self._running
            if context:
                lease = {"lease_until": time.time() + self._lease_s}
                if self._write(context.job_id, context.progress() | lease, while_running=True):
                    context.cancelled.set()

    def _write(self, job_id: str, columns: dict[str, Any], while_running: bool = False) -> bool:
        """Writes columns of a job this process holds; returns whether it was asked to stop."""
        with session(self._engine) as opened:
            row = opened.get(Job, job_id)
            if row is None or row.owner != self._owner or (while_running and self._running is None):
                return False
            row.sqlmodel_update(columns | {"update_time": time.time()})
            return row.cancel_requested


class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """onoma.v1.JobService over the jobs of one service."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._watchers = threading.BoundedSemaphore(_MAX_WATCHERS)

    def GetJob(self, request: pb.GetJobRequest, context: grpc.ServicerContext) -> pb.GetJobResponse:
        return pb.GetJobResponse(job=job_message(self._jobs.get(request.job_id)))

    def ListJobs(self, request: pb.ListJobsRequest, context: grpc.ServicerContext) -> pb.ListJobsResponse:
        rows, token = self._jobs.list(request.page_size, request.page_token)
        return pb.ListJobsResponse(jobs=map(job_message, rows), next_page_token=token)

    def WatchJob(
        self, request: pb.WatchJobRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchJobResponse]:
        """Polls the row; a stream is ended after a minute, and the client asks again."""
        row = self._jobs.get(request.job_id)
        yield pb.WatchJobResponse(job=job_message(row))
        if not self._watchers.acquire(blocking=False):
            return
        try:
            until = time.monotonic() + _WATCH_S
            while row.state in (PENDING, RUNNING) and context.is_active() and time.monotonic() < until:
                time.sleep(_BEAT_S)
                seen, row = row.update_time, self._jobs.get(request.job_id)
                if row.update_time != seen:
                    yield pb.WatchJobResponse(job=job_message(row))
        finally:
            self._watchers.release()

    def CancelJob(self, request: pb.CancelJobRequest, context: grpc.ServicerContext) -> pb.CancelJobResponse:
        return pb.CancelJobResponse(job=job_message(self._jobs.cancel(request.job_id)))

    def ResumeJob(self, request: pb.ResumeJobRequest, context: grpc.ServicerContext) -> pb.ResumeJobResponse:
        return pb.ResumeJobResponse(job=job_message(self._jobs.resume(request.job_id)))


def job_message(row: Job) -> pb.Job:
    """The row as a message."""
    message = pb.Job(
        job_id=row.job_id,
        kind=row.kind,
        state=_STATES[row.state],
        stage=row.stage,
        done=row.done,
        total=row.total,
        rate_per_s=row.rate_per_s,
        error=row.error,
        result_json="" if row.result is None else json.dumps(row.result),
        warnings=row.warnings,
        attempts=row.attempts,
    )
    message.create_time.FromDatetime(datetime.fromtimestamp(row.create_time, UTC))
    message.update_time.FromDatetime(datetime.fromtimestamp(row.update_time, UTC))
    return message


def _found(opened: Session, job_id: str) -> Job:
    row = opened.get(Job, job_id)
    if row is None:
        raise NotFound(f"no job '{job_id[:80]}'")
    return row


def _is_gone(owner: str) -> bool:
    """Whether the owner was a process of this machine that has ended."""
    host, pid, _ = owner.split("/")
    if host != socket.gethostname() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
