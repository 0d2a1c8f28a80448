"""Jobs: started once, seen while they go, stopped and resumed, taken over from a process that was killed."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import text
from sqlalchemy.event import listen
from sqlmodel import Session, select

from onoma.v1 import jobs_pb2 as pb
from onoma.v1 import jobs_pb2_grpc
from services.runtime import database, job_service, job_table, jobs
from services.runtime.database import session
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from services.runtime.job_service import JobServicer, job_message
from services.runtime.jobs import Job, Jobs
from services.runtime.server import Service, start
from tests.migrations import schema_differences

DEADLINE_S = 30


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    """Address of an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "jobs.db")
    return request.getfixturevalue("postgresql_url")


@pytest.fixture
def engine(where):
    engine = open_engine(where)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("CREATE SCHEMA jobs"))
        job_table.create_table(Operations(MigrationContext.configure(connection)))
    yield engine
    engine.dispose()


def open_engine(where):
    """A database of jobs and nothing else."""
    if where.startswith("postgresql"):
        return database._postgresql(where, "jobs", connections=20)
    return database._sqlite(Path(where), connections=20)


@pytest.fixture
def open_jobs(engine):
    """Makes workers, and closes those still open at the end."""
    opened = []

    def opening(lease_s=jobs.LEASE_S, **handlers):
        opened.append(Jobs(engine, handlers, lease_s))
        return opened[-1]

    yield opening
    for one in opened:
        one.close()


def ended(some_jobs, job_id, states=(jobs.SUCCEEDED, jobs.FAILED, jobs.CANCELLED)):
    """The job once it is in one of the states."""
    pause = threading.Event()
    for _ in range(DEADLINE_S * 50):
        row = some_jobs.get(job_id)
        if row.state in states:
            return row
        pause.wait(0.02)
    pytest.fail(f"the job is still {row.state} at {row.stage} {row.done}/{row.total}: {row.error}")


class Gate:
    """A handler that begins, and goes on when it is let; checks for cancellation meanwhile."""

    def __init__(self):
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, context):
        self.begun.set()
        while not self.go_on.wait(0.01):
            context.check()
        return {"done": True}


def test_a_job_ends_with_what_its_handler_made(open_jobs):
    some = open_jobs(add=lambda context: {"sum": sum(context.params["numbers"])})
    row = ended(some, some.start("add", {"numbers": [1, 2]}).job_id)
    assert (row.state, row.result, row.attempts) == (jobs.SUCCEEDED, {"sum": 3}, 1)
    assert json.loads(job_message(row).result_json) == {"sum": 3}


def test_the_same_request_id_is_one_job(open_jobs):
    some = open_jobs(count=lambda context: {})
    params = {"classes": ("hat", "shoe")}  # a tuple is a list once it is stored
    assert some.start("count", params, "r-1").job_id == some.start("count", params, "r-1").job_id
    assert some.start("count", params, "r-2").job_id != some.start("count", params, "r-1").job_id


def test_the_same_request_at_once_from_many_is_one_job(open_jobs):
    some, ids = open_jobs(count=lambda context: {}), []
    asking = [
        threading.Thread(target=lambda: ids.append(some.start("count", {}, "r").job_id)) for _ in range(8)
    ]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_a_request_id_used_for_something_else_is_refused(open_jobs):
    some = open_jobs(count=lambda context: {})
    some.start("count", {"n": 1}, "r-1")
    with pytest.raises(InvalidArgument, match="'r-1' was used for another count"):
        some.start("count", {"n": 2}, "r-1")


def test_jobs_are_done_one_after_another_in_the_order_they_came(open_jobs):
    gate, order = Gate(), []
    some = open_jobs(gate=gate, note=lambda context: order.append(context.params["n"]) or {})
    some.start("gate", {})
    last = [some.start("note", {"n": n}) for n in range(5)][-1]
    gate.go_on.set()
    ended(some, last.job_id)
    assert order == [0, 1, 2, 3, 4]


def test_progress_is_seen_while_the_job_goes(open_jobs):
    gate = Gate()

    def work(context):
        context.stage("counting", 100)
        context.advance(40)
        context.advance()
        context.warn("one was\nskipped")
        context.warn("one was skipped")
        return gate(context)

    some = open_jobs(work=work)
    job_id = some.start("work", {}).job_id
    assert gate.begun.wait(DEADLINE_S)
    pause = threading.Event()
    while (row := some.get(job_id)).done < 41:
        pause.wait(0.02)
    assert (row.state, row.stage, row.total, row.warnings) == (
        jobs.RUNNING, "counting", 100, ["one was skipped"]
    )  # fmt: skip
    assert row.rate_per_s > 0
    gate.go_on.set()
    assert ended(some, job_id).done == 41


def test_warnings_stop_at_a_thousand(open_jobs):
    def work(context):
        for number in range(2000):
            context.warn(f"{number} skipped")
        return {}

    some = open_jobs(work=work)
    assert len(ended(some, some.start("work", {}).job_id).warnings) == 1000


def test_a_quick_loop_does_not_write_at_each_step(open_jobs, monkeypatch):
    written = []
    write = Jobs._write
    monkeypatch.setattr(
        Jobs, "_write", lambda self, *given, **named: written.append(1) or write(self, *given, **named)
    )

    def work(context):
        context.stage("counting", 100_000)
        for _ in range(100_000):
            context.advance()
            context.check()
        return {}

    some = open_jobs(work=work)
    row = ended(some, some.start("work", {}).job_id)
    assert row.done == 100_000
    assert len(written) < 50


@pytest.mark.parametrize(
    "error", [ValueError("class 'hat'\nhas 1 image"), NotFound("class 'hat' has 1 image")]
)
def test_an_expected_error_is_the_one_line_of_a_failed_job(open_jobs, error):
    def work(context):
        raise error

    some = open_jobs(work=work)
    row = ended(some, some.start("work", {}).job_id)
    assert (row.state, row.error) == (jobs.FAILED, "class 'hat' has 1 image")


def test_an_unexpected_error_fails_the_job_and_not_the_worker(open_jobs, caplog):
    some = open_jobs(crash=lambda context: 1 / 0, well=lambda context: {})
    row = ended(some, some.start("crash", {}).job_id)
    assert (row.state, row.error) == (jobs.FAILED, "internal error: ZeroDivisionError: division by zero")
    assert "Traceback" in caplog.text
    assert ended(some, some.start("well", {}).job_id).state == jobs.SUCCEEDED


@pytest.mark.parametrize("result", [{"mean": float("nan")}, {"set": {1}}])
def test_a_result_that_json_cannot_hold_fails_the_job(open_jobs, result):
    some = open_jobs(work=lambda context: result)
    row = ended(some, some.start("work", {}).job_id)
    assert row.state == jobs.FAILED
    assert row.error.startswith("internal error: its result")


def test_a_waiting_job_is_cancelled_at_once(open_jobs):
    gate = Gate()
    some = open_jobs(gate=gate, never=lambda context: pytest.fail("was begun"))
    some.start("gate", {})
    job_id = some.start("never", {}).job_id
    assert some.cancel(job_id).state == jobs.CANCELLED
    gate.go_on.set()


def test_a_running_job_is_cancelled_at_its_next_safe_point_and_resumes(open_jobs):
    gate = Gate()
    some = open_jobs(gate=gate)
    job_id = some.start("gate", {}).job_id
    assert gate.begun.wait(DEADLINE_S)
    some.cancel(job_id)
    assert ended(some, job_id).state == jobs.CANCELLED
    gate.go_on.set()
    some.resume(job_id)
    assert ended(some, job_id, [jobs.SUCCEEDED]).result == {"done": True}


def test_a_job_that_has_ended_stays_as_it_is_when_cancelled(open_jobs):
    some = open_jobs(work=lambda context: {})
    job_id = some.start("work", {}).job_id
    ended(some, job_id)
    assert some.cancel(job_id).state == jobs.SUCCEEDED


def test_a_job_that_is_done_does_not_resume(open_jobs):
    some = open_jobs(work=lambda context: {})
    job_id = some.start("work", {}).job_id
    ended(some, job_id)
    with pytest.raises(FailedPrecondition, match=f"job {job_id} is succeeded"):
        some.resume(job_id)


def test_a_closing_server_puts_its_job_back_and_the_next_one_does_it(open_jobs):
    gate = Gate()
    first = open_jobs(gate=gate)
    job_id = first.start("gate", {}).job_id
    assert gate.begun.wait(DEADLINE_S)
    first.close()
    row = first.get(job_id)
    assert (row.state, row.owner, row.attempts) == (jobs.PENDING, "", 0)
    gate.go_on.set()
    assert ended(open_jobs(gate=gate), job_id).state == jobs.SUCCEEDED


def test_a_lease_that_ran_out_is_taken_over_and_the_late_worker_writes_nothing(
    open_jobs, engine, monkeypatch
):
    monkeypatch.setattr(
        jobs, "_BEAT_S", 60.0
    )  # the late worker does not hear of it before the other has begun
    slow, quick = Gate(), Gate()
    quick.go_on.set()
    first = open_jobs(lease_s=1000, work=slow)
    job_id = first.start("work", {}).job_id
    assert slow.begun.wait(DEADLINE_S)
    with session(engine) as opened:  # as after a pause longer than the lease
        row = opened.get(Job, job_id)
        row.lease_until, row.owner = 0.0, "a.worker.that.paused"
    second = open_jobs(work=lambda context: {"by": "the second"})
    assert ended(second, job_id).result == {"by": "the second"}
    slow.go_on.set()
    first.close()
    row = second.get(job_id)
    assert (row.state, row.result, row.attempts) == (jobs.SUCCEEDED, {"by": "the second"}, 2)


def test_a_lease_is_renewed_while_the_job_goes_and_no_other_worker_takes_it(open_jobs):
    gate, pause = Gate(), threading.Event()
    first = open_jobs(lease_s=30, work=gate)
    job_id = first.start("work", {}).job_id
    assert gate.begun.wait(DEADLINE_S)
    open_jobs(lease_s=30, work=lambda context: {"by": "the second"})
    lease = first.get(job_id).lease_until
    while first.get(job_id).lease_until == lease:
        pause.wait(0.05)
    gate.go_on.set()
    row = ended(first, job_id)
    assert (row.result, row.attempts) == ({"done": True}, 1)


def test_a_lease_is_renewed_while_a_draining_server_lets_its_job_come_to_an_end(open_jobs):
    begun, go_on, pause = threading.Event(), threading.Event(), threading.Event()

    def work(context):
        begun.set()
        go_on.wait(DEADLINE_S)
        return {"by": "the first"}

    first = open_jobs(lease_s=3, work=work)
    job_id = first.start("work", {}).job_id
    assert begun.wait(DEADLINE_S)
    first.drain()
    lease = first.get(job_id).lease_until
    while first.get(job_id).lease_until == lease:
        pause.wait(0.05)
    go_on.set()
    assert ended(first, job_id).result == {"by": "the first"}


@pytest.mark.parametrize("act", ["cancel", "resume"])
def test_a_job_is_locked_while_it_is_decided_what_becomes_of_it(open_jobs, engine, act):
    """On PostgreSQL a worker that takes it up meanwhile waits, or finds another; SQLite lets one in at a time."""
    some = open_jobs(work=lambda context: {})
    job_id = some.start("work", {}).job_id
    ended(some, job_id)
    statements = []
    listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with contextlib.suppress(FailedPrecondition):
        getattr(some, act)(job_id)
    assert any("FOR UPDATE" in one for one in statements) == (engine.dialect.name == "postgresql")


KILLED = """
import sys, time
from pathlib import Path
from services.runtime.jobs import Jobs
from tests.services.runtime.test_jobs import open_engine

where, folder, who = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

def work(context):
    for number in range(6):
        part = folder / f"part-{number}"
        if not part.exists():
            part.write_text(who)
        context.advance()
        if number == 2 and who == "first":
            print("half-way", flush=True)
            time.sleep(600)
    return {"parts": 6}

Jobs(open_engine(where), {"work": work}, lease_s=1000)
time.sleep(600)
"""


def test_a_job_of_a_killed_process_is_completed_by_the_next_at_once_and_done_parts_stay(
    engine, where, open_jobs, tmp_path
):
    waiting = Job(job_id="j", kind="work", params={})
    with session(engine) as opened:
        opened.add(waiting)
    command = [sys.executable, "-c", KILLED, where, str(tmp_path)]
    first = subprocess.Popen([*command, "first"], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "half-way\n"
    first.kill()
    assert first.wait() == -signal.SIGKILL
    watcher = open_jobs()
    assert watcher.get("j").state == jobs.RUNNING
    second = subprocess.Popen([*command, "second"])
    try:
        row = ended(watcher, "j")
    finally:
        second.kill()
        second.wait()
    assert (row.state, row.result, row.attempts) == (jobs.SUCCEEDED, {"parts": 6}, 2)
    writers = [(tmp_path / f"part-{number}").read_text() for number in range(6)]
    assert writers == ["first"] * 3 + ["second"] * 3


def test_a_job_that_kills_its_process_each_time_is_given_up(engine, open_jobs):
    with session(engine) as opened:
        opened.add(Job(job_id="j", kind="work", params={}, state=jobs.RUNNING, attempts=jobs.MAX_ATTEMPTS))
    row = ended(open_jobs(work=lambda context: {}), "j")
    assert (row.state, row.error) == (jobs.FAILED, "given up: the process ended 5 times while at it")


def test_a_database_that_goes_away_for_a_while_loses_no_result(open_jobs, monkeypatch):
    gate, away, tries = Gate(), threading.Event(), []
    write = Jobs._write

    def write_if_there(self, *given, **named):
        if away.is_set():
            tries.append(1)
            if len(tries) < 3:
                raise ConnectionError("gone")
        return write(self, *given, **named)

    monkeypatch.setattr(Jobs, "_write", write_if_there)
    monkeypatch.setattr(jobs, "_IDLE_S", 0.05)
    some = open_jobs(gate=gate)
    job_id = some.start("gate", {}).job_id
    assert gate.begun.wait(DEADLINE_S)
    away.set()
    gate.go_on.set()
    assert ended(some, job_id).result == {"done": True}


class AwayFor:
    """A handler that misses something it needs for its first tries."""

    def __init__(self, tries, error):
        self.tries, self.left, self.error = 0, tries, error

    def __call__(self, context):
        self.tries += 1
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return {"tries": self.tries}


class ServiceAway(grpc.RpcError, grpc.Call):
    """What a stub raises where nobody listens, or where who listened stops."""

    def __init__(self, code):
        self._code = code

    def code(self):
        return self._code

    def details(self):
        return "away"


AWAY = [
    Unavailable("the object store does not answer"),
    ServiceAway(grpc.StatusCode.UNAVAILABLE),
    ServiceAway(grpc.StatusCode.CANCELLED),
]


@pytest.mark.parametrize("error", AWAY)
def test_a_job_waits_for_what_is_away_and_then_goes_on(open_jobs, monkeypatch, error):
    monkeypatch.setattr(jobs, "_FIRST_PAUSE_S", 0.01)
    some = open_jobs(work=AwayFor(3, error))
    row = ended(some, some.start("work", {}).job_id)
    assert (row.state, row.result, row.attempts) == (jobs.SUCCEEDED, {"tries": 4}, 1)


def test_a_job_does_not_wait_for_ever(open_jobs, monkeypatch):
    monkeypatch.setattr(jobs, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(jobs, "PATIENCE_S", 0.05)
    some = open_jobs(work=AwayFor(1000, Unavailable("the object store does not answer")))
    row = ended(some, some.start("work", {}).job_id)
    assert (row.state, row.error) == (jobs.FAILED, "the object store does not answer")


def test_a_job_that_waits_says_so_and_can_be_cancelled(open_jobs, monkeypatch):
    monkeypatch.setattr(jobs, "_FIRST_PAUSE_S", 600.0)
    some = open_jobs(work=AwayFor(1000, Unavailable("the object store does not answer")))
    job_id = some.start("work", {}).job_id
    pause = threading.Event()
    for _ in range(DEADLINE_S * 50):
        if some.get(job_id).stage == "waiting: the object store does not answer":
            break
        pause.wait(0.02)
    some.cancel(job_id)
    assert ended(some, job_id).state == jobs.CANCELLED


def test_a_cancelled_job_whose_call_is_cancelled_with_it_ends(open_jobs):
    begun, go_on = threading.Event(), threading.Event()

    def work(_context):
        begun.set()
        go_on.wait(DEADLINE_S)
        raise ServiceAway(grpc.StatusCode.CANCELLED)

    some = open_jobs(work=work)
    job_id = some.start("work", {}).job_id
    assert begun.wait(DEADLINE_S)
    some.cancel(job_id)
    go_on.set()
    assert ended(some, job_id).state == jobs.CANCELLED


class Clock:
    """The time of day, which somebody may set; what has passed is measured by another clock."""

    def __init__(self):
        self.set_by_s = 0.0

    def __getattr__(self, name):
        return getattr(time, name)

    def time(self):
        return time.time() + self.set_by_s


@pytest.mark.parametrize("set_by_s", [3600.0, -3600.0])
def test_a_clock_that_is_set_in_the_middle_of_a_job_leaves_it_done_once_and_whole(
    open_jobs, monkeypatch, set_by_s
):
    clock, ends = Clock(), []
    monkeypatch.setattr(jobs, "time", clock)
    begun, go_on = threading.Event(), threading.Event()

    def work(context):
        begun.set()
        while not go_on.wait(0.01):
            context.check()  # the other worker may have taken the job over: then this try ends here
        ends.append(1)
        return {"done": True}

    one, other = open_jobs(work=work), open_jobs(work=work)
    job_id = one.start("work", {}).job_id
    assert begun.wait(DEADLINE_S)
    clock.set_by_s = set_by_s
    threading.Event().wait(2.5)  # looks for work and writings of progress pass
    go_on.set()
    row = ended(other, job_id)
    assert (row.state, row.result, ends) == (jobs.SUCCEEDED, {"done": True}, [1])
    assert ended(one, one.start("work", {"next": 1}).job_id).state == jobs.SUCCEEDED


def test_lists_come_in_pages_latest_first(open_jobs):
    some = open_jobs(work=lambda context: {})
    ids = [some.start("work", {"n": n}).job_id for n in range(5)]
    first, token = some.list(3, "")
    rest, end = some.list(3, token)
    assert [row.job_id for row in (*first, *rest)] == ids[::-1]
    assert end == ""


def test_a_job_that_comes_between_two_pages_repeats_none(open_jobs):
    some = open_jobs(work=lambda context: {})
    ids = [some.start("work", {"n": n}).job_id for n in range(4)]
    first, token = some.list(2, "")
    some.start("work", {"n": 4})
    rest, _ = some.list(3, token)
    assert [row.job_id for row in (*first, *rest)] == ids[::-1]


def test_jobs_of_one_moment_come_once_each(engine, open_jobs):
    with session(engine) as opened:
        opened.add_all(
            Job(job_id=f"job {n}", kind="knit", params={}, state=jobs.FAILED, create_time=1.5)
            for n in range(5)
        )
    some, token, listed = open_jobs(), "", []
    for _ in range(3):
        rows, token = some.list(2, token)
        listed += [row.job_id for row in rows]
    assert (listed, token) == ([f"job {n}" for n in (4, 3, 2, 1, 0)], "")


@pytest.mark.parametrize(
    ("size", "token", "words"),
    [(-1, "", "page_size -1"), (1001, "", "page_size 1001"), (1, "x", "page_token"), (1, "2", "page_token")],
)
def test_a_page_that_is_none_is_refused(open_jobs, size, token, words):
    with pytest.raises(InvalidArgument, match=words):
        open_jobs().list(size, token)


class TestOverTheWire:
    @pytest.fixture
    def serve(self, settings):
        running = []

        def serving(some_jobs):
            service = Service(
                name="inference",
                add_to=lambda server: jobs_pb2_grpc.add_JobServiceServicer_to_server(
                    JobServicer(some_jobs), server
                ),
                service_names=("onoma.v1.JobService",),
                close=some_jobs.close,
                drain=some_jobs.drain,
            )
            server = start(service, "127.0.0.1:0", settings)
            channel = grpc.insecure_channel(server.address)
            running.append((server, channel))
            return server, jobs_pb2_grpc.JobServiceStub(channel)

        yield serving
        for server, channel in running:
            channel.close()
            server.stop(within_s=0)

    def test_a_watch_shows_the_job_now_and_ends_with_its_last_state(self, serve, open_jobs):
        gate = Gate()
        some = open_jobs(gate=gate)
        _, stub = serve(some)
        job_id = some.start("gate", {}).job_id
        states = stub.WatchJob(pb.WatchJobRequest(job_id=job_id), timeout=DEADLINE_S)
        assert next(states).job.state in (pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING)
        gate.go_on.set()
        assert list(states)[-1].job.state == pb.JOB_STATE_SUCCEEDED

    def test_watchers_never_take_all_threads(self, serve, open_jobs):
        gate = Gate()
        some = open_jobs(gate=gate)
        _, stub = serve(some)
        request = pb.WatchJobRequest(job_id=some.start("gate", {}).job_id)
        streams = [stub.WatchJob(request, timeout=DEADLINE_S) for _ in range(30)]
        assert all(next(stream).job.kind == "gate" for stream in streams)
        assert stub.GetJob(pb.GetJobRequest(job_id=request.job_id), timeout=DEADLINE_S).job.kind == "gate"
        gate.go_on.set()
        last = [[message.job.state for message in stream][-1:] for stream in streams]
        assert last.count([pb.JOB_STATE_SUCCEEDED]) == job_service.MAX_WATCHERS

    def test_a_stop_is_not_held_up_by_a_watcher(self, serve, open_jobs, monkeypatch):
        monkeypatch.setattr(job_service, "_WATCH_S", 10_000)
        gate = Gate()
        some = open_jobs(gate=gate)
        server, stub = serve(some)
        states = stub.WatchJob(pb.WatchJobRequest(job_id=some.start("gate", {}).job_id), timeout=10_000)
        next(states)
        server.stop(within_s=1000)
        assert some.list(1, "")[0][0].state == jobs.PENDING

    def test_cancel_and_resume(self, serve, open_jobs):
        gate = Gate()
        some = open_jobs(gate=gate)
        _, stub = serve(some)
        job_id = some.start("gate", {}).job_id
        assert gate.begun.wait(DEADLINE_S)
        stub.CancelJob(pb.CancelJobRequest(job_id=job_id), timeout=DEADLINE_S)
        ended(some, job_id)
        job = stub.ResumeJob(pb.ResumeJobRequest(job_id=job_id), timeout=DEADLINE_S).job
        assert job.state in (pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING)
        assert [one.job_id for one in stub.ListJobs(pb.ListJobsRequest(), timeout=DEADLINE_S).jobs] == [
            job_id
        ]

    def test_an_unknown_job_is_not_found(self, serve, open_jobs):
        _, stub = serve(open_jobs())
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.WatchJob(pb.WatchJobRequest(job_id="none"), timeout=DEADLINE_S))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "no job 'none'; onoma job list shows those there are"


def test_the_table_is_that_of_the_class(engine):
    assert schema_differences(engine, {"job"}) == []
    with Session(engine) as opened:
        assert opened.exec(select(Job)).all() == []
