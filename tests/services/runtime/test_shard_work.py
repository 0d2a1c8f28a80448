"""Work in shards: done once whoever dies, on this process or on Ray, and cut down to the item that ends its worker."""

import contextlib
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import psutil
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import text
from sqlmodel import Session, select

from onoma.v1 import types_pb2
from services.runtime import ray_engine, shard_ledger
from services.runtime.database import session
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from services.runtime.job_context import Cancelled, JobContext
from services.runtime.shard_ledger import WorkShard
from services.runtime.shard_work import ShardWork, engine_asked_for, work_through
from tests.ray_fixture import started_cluster
from tests.services.runtime.test_jobs import open_engine

RUN = "run"
ITEMS = [f"item {i}" for i in range(10)]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    """A database with an empty ledger."""
    where = (
        str(tmp_path / "ledger.db")
        if request.param == "sqlite"
        else request.getfixturevalue("postgresql_url")
    )
    engine = open_engine(where)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("CREATE SCHEMA jobs"))
        shard_ledger.create_table(Operations(MigrationContext.configure(connection)))
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite(tmp_path):
    engine = open_engine(str(tmp_path / "ledger.db"))
    with engine.begin() as connection:
        shard_ledger.create_table(Operations(MigrationContext.configure(connection)))
    yield engine
    engine.dispose()


@pytest.fixture
def on_ray(ray_environment, monkeypatch):
    """A Ray of this machine with one worker; each job starts it and ends it."""
    monkeypatch.setenv("ONOMA_RAY_WORKERS", "1")


def test_every_item_is_done_once_in_order(engine):
    work, written = work_of(engine)
    job = context()
    work_through(job, work, "local")
    assert written == ITEMS
    assert job.progress()["done"] == 10


def test_work_that_was_cancelled_goes_on_after_the_shards_that_are_done(engine):
    job = context()

    def cancelling(items, advance):
        if "item 4" in items:
            job.cancelled.set()
        return here(items, advance)

    work, written = work_of(engine, here=cancelling)
    with pytest.raises(Cancelled):
        work_through(job, work, "local")
    assert written == ITEMS[:4]
    assert {row.attempts for row in rows(engine) if row.state == shard_ledger.PENDING} == {0}
    rest, written_then = work_of(engine)
    again = context()
    work_through(again, rest, "local")
    assert written_then == ITEMS[4:]
    assert again.progress()["done"] == 10


def test_another_size_of_shards_does_not_cut_a_run_anew(engine):
    shard_ledger.lay_out(engine, RUN, 10, 4)
    work, _ = work_of(engine, shard_items=3)
    work_through(context(), work, "local")
    assert sorted(row.item_count for row in rows(engine)) == [2, 4, 4]


def test_of_two_jobs_that_lay_a_run_out_at_once_the_second_uses_what_is_there(engine):
    with ThreadPoolExecutor() as pool:
        with session(engine) as first:
            first.add(WorkShard(run=RUN, shard=0, first_item=0, item_count=10))
            first.flush()
            second = pool.submit(shard_ledger.lay_out, engine, RUN, 10, 4)
            with pytest.raises(TimeoutError):
                second.result(0.5)
        second.result(30)
    assert [row.item_count for row in rows(engine)] == [10]


def test_an_item_that_ends_its_process_each_time_is_set_aside_and_the_rest_is_done(engine):
    shard_ledger.lay_out(engine, RUN, 10, 4)
    deaths, done = 0, set()
    while not shard_ledger.is_over(engine, RUN):
        owner = shard_ledger.owner_of("job")  # the job again, in a new process
        shard_ledger.take_up(engine, RUN, owner)
        while (span := shard_ledger.take(engine, RUN, owner)) is not None:
            items = range(span.first_item, span.first_item + span.item_count)
            if 5 in items:
                deaths += 1
                break
            done |= set(items)
            with session(engine) as opened:
                assert shard_ledger.end(opened, RUN, span.shard, owner)
    assert done == set(range(10)) - {5}
    assert deaths == 2 * shard_ledger.MAX_ATTEMPTS
    assert shard_ledger.set_aside(engine, RUN) == [(5, "the process that was at it ended")]
    assert shard_ledger.done_items(engine, RUN) == 10


def test_a_shard_is_one_jobs_until_its_lease_runs_out(engine):
    shard_ledger.lay_out(engine, RUN, 4, 4)
    first, other = shard_ledger.owner_of("first"), shard_ledger.owner_of("other")
    span = shard_ledger.take(engine, RUN, first)
    shard_ledger.take_up(engine, RUN, other)
    assert shard_ledger.take(engine, RUN, other) is None
    with session(engine) as opened:
        opened.exec(select(WorkShard)).one().lease_until = time.time() - 1
    shard_ledger.take_up(engine, RUN, other)
    assert shard_ledger.take(engine, RUN, other) == span
    with session(engine) as opened:
        assert not shard_ledger.end(opened, RUN, span.shard, first)
        assert shard_ledger.end(opened, RUN, span.shard, other)


def test_two_jobs_share_the_shards_and_both_end_when_all_are_done(engine):
    works = [work_of(engine, shard_items=1) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(work_through, context(f"job{i}"), work, "local") for i, (work, _) in enumerate(works)
        ]
    for job in jobs:
        job.result()
    assert sorted(works[0][1] + works[1][1]) == ITEMS


def test_without_ray_its_engine_says_how_to_get_it(sqlite, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        FailedPrecondition, match=r"pip install 'WHEEL\[ray\]' there.* or take --engine local"
    ):
        engine_asked_for(types_pb2.ENGINE_RAY)
    work, written = work_of(sqlite)
    with pytest.raises(FailedPrecondition, match="needs Ray where the service runs"):
        work_through(context(), work, "ray")
    assert written == []
    assert engine_asked_for(types_pb2.ENGINE_UNSPECIFIED) == "local"


def test_an_engine_of_a_later_version_is_refused():
    with pytest.raises(InvalidArgument, match="engine 7 is none of ENGINE_LOCAL, ENGINE_RAY"):
        engine_asked_for(7)


def test_on_ray_an_item_that_ends_its_worker_each_time_is_set_aside(sqlite, on_ray):
    work, written = work_of(sqlite, make_worker=partial(worker_that_dies_of, "item 5"))
    work_through(context(), work, "ray")
    assert sorted(written) == sorted({*ITEMS} - {"item 5"})
    [(item, error)] = shard_ledger.set_aside(sqlite, RUN)
    assert item == 5
    assert error.startswith("a worker on Ray ended (Actor")


def test_on_ray_the_error_of_a_shard_is_the_services_own(sqlite, on_ray):
    work, written = work_of(sqlite, make_worker=worker_that_misses_an_object)
    with pytest.raises(NotFound, match="no object abc") as caught:
        work_through(context(), work, "ray")
    assert (caught.value.reason, written) == ("NO_OBJECT", [])
    assert {(row.state, row.attempts) for row in rows(sqlite)} == {(shard_ledger.PENDING, 0)}


def test_on_ray_work_that_does_not_get_on_fails_with_what_the_cluster_has(sqlite, on_ray, monkeypatch):
    monkeypatch.setenv("ONOMA_RAY_STALL_S", "4")
    work, _ = work_of(sqlite, make_worker=worker_that_never_ends)
    with pytest.raises(
        Unavailable, match=r"has not got on for 4 s: [01] shards are in hand, .* CPU 1 of 2"
    ) as caught:
        work_through(context(), work, "ray")
    assert "ONOMA_RAY_STALL_S" in str(caught.value)


def test_ray_that_ends_its_process_at_the_start_is_started_again(sqlite, on_ray, tmp_path):
    work, written = work_of(sqlite, make_worker=EndsItsProcess(tmp_path / "ended", times=1))
    work_through(context(), work, "ray")
    assert sorted(written) == ITEMS


def test_ray_that_ends_its_process_each_time_fails_the_job_and_not_the_service(sqlite, tmp_path):
    work, written = work_of(sqlite, make_worker=EndsItsProcess(tmp_path / "ended", times=9))
    with pytest.raises(
        Unavailable, match=r"this machine: the process that uses it ended \(exit status 1\)"
    ) as caught:
        work_through(context(), work, "ray")
    assert (caught.value.reason, written) == ("NO_RAY_CLUSTER", [])
    assert len((tmp_path / "ended").read_text()) == 3


def test_ray_that_ends_its_process_amid_the_work_leaves_what_is_done(sqlite, on_ray):
    work, written = work_of(sqlite, shard_items=1, make_worker=worker_that_does_it)
    write = work.write

    def write_and_kill(span, result, owner):
        [of_ray] = [one for one in psutil.Process().children() if "use_ray" in " ".join(one.cmdline())]
        of_ray.kill()
        return write(span, result, owner)

    with pytest.raises(Unavailable, match=r"the process that uses it ended \(exit status -9\)"):
        work_through(context(), replace(work, write=write_and_kill), "ray")
    assert written == ITEMS[:1]
    work_through(context(), work, "local")
    assert written == ITEMS


def is_of_ray(process: psutil.Process) -> bool:
    """Whether it is; False where it has ended meanwhile."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return "ray" in process.name()
    return False


def test_a_job_that_is_cancelled_ends_ray(sqlite, on_ray):
    work, _ = work_of(sqlite, make_worker=worker_that_never_ends)
    job = context()
    with ThreadPoolExecutor() as pool:
        working = pool.submit(work_through, job, work, "ray")
        while not any(row.state == shard_ledger.RUNNING for row in rows(sqlite)) and not working.done():
            time.sleep(0.1)
        of_ray = [one for one in psutil.Process().children(recursive=True) if is_of_ray(one)]
        job.cancelled.set()
        with pytest.raises(Cancelled):
            working.result(60)
    assert of_ray
    assert psutil.wait_procs(of_ray, timeout=30)[1] == []


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("listens", [False, True], ids=["nobody there", "it never answers"])
def test_a_cluster_that_does_not_answer_is_named_within_seconds(sqlite, monkeypatch, scheme, listens):
    monkeypatch.setattr(ray_engine, "ANSWER_S", 1.0)
    with contextlib.closing(socket.socket()) as there:
        there.bind(("127.0.0.1", 0))
        if listens:
            there.listen()
        address = f"{scheme}127.0.0.1:{there.getsockname()[1]}"
        monkeypatch.setenv("ONOMA_RAY_ADDRESS", address)
        work, written = work_of(sqlite)
        begun_at = time.monotonic()
        with pytest.raises(Unavailable, match=f"no Ray answers at {address} within 1 s") as caught:
            work_through(context(), work, "ray")
    assert time.monotonic() - begun_at < 10
    assert "ONOMA_RAY_ADDRESS" in str(caught.value)
    assert "--engine local" in str(caught.value)
    assert (caught.value.reason, written) == ("NO_RAY_CLUSTER", [])


@pytest.mark.slow
def test_the_two_ports_of_a_cluster_do_the_work_and_are_not_taken_for_each_other(
    sqlite, server, ray_environment, monkeypatch
):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        client = f"127.0.0.1:{free.getsockname()[1]}"
    with started_cluster(ray_client_server_port=int(client.rpartition(":")[2])) as cluster:
        for address, answer in (
            (client, f"that is the port of ray://{client}"),
            (f"ray://{cluster.address}", f"that is the port of {cluster.address}"),
            (server.address, "no Ray listens there"),
            (f"ray://{server.address}", "no Ray listens there"),
        ):
            monkeypatch.setenv("ONOMA_RAY_ADDRESS", address)
            work, written = work_of(sqlite)
            begun_at = time.monotonic()
            with pytest.raises(FailedPrecondition, match=f"ONOMA_RAY_ADDRESS={address}: {answer}"):
                work_through(context(), work, "ray")
            assert (time.monotonic() - begun_at < 5, written) == (True, [])
        for run, address in enumerate((f"ray://{client}", cluster.address)):
            monkeypatch.setenv("ONOMA_RAY_ADDRESS", address)
            work, written = work_of(sqlite, run=str(run), make_worker=worker_that_does_it)
            work_through(context(), work, "ray")
            assert sorted(written) == ITEMS


def test_an_address_that_is_none_is_refused(sqlite, monkeypatch):
    monkeypatch.setenv("ONOMA_RAY_ADDRESS", "head:port")
    work, _ = work_of(sqlite)
    with pytest.raises(
        FailedPrecondition, match="ONOMA_RAY_ADDRESS=head:port is no address: HOST:6379 or ray://"
    ):
        work_through(context(), work, "ray")


def work_of(engine, *, run=RUN, shard_items=4, **given):
    """Work that notes what is written."""
    written = []

    def write(span, result, owner):
        with session(engine) as opened:
            if not shard_ledger.end(opened, run, span.shard, owner):
                return False
        written.extend(result)
        return True

    functions = {"here": here, "make_worker": None} | given
    return ShardWork(engine, run, ITEMS, shard_items, write=write, **functions), written


def here(items, advance):
    for _ in items:
        advance(1)
    return list(items)


class EndsItsProcess:
    """`worker_that_does_it`, but the first times that it is read from a pickle it ends the process that does."""

    def __init__(self, noted, times):
        self.noted, self.times = noted, times

    def __reduce__(self):
        return read_from_a_pickle, (self.noted, self.times)


def read_from_a_pickle(noted, times):
    if not noted.exists() or len(noted.read_text()) < times:
        with noted.open("a") as file:
            file.write(".")
        os._exit(1)
    return worker_that_does_it


def worker_that_does_it():
    return list


def worker_that_dies_of(item):
    def work(items):
        if item in items:
            os._exit(1)
        return list(items)

    return work


def worker_that_misses_an_object():
    def work(items):
        raise NotFound("no object abc", "NO_OBJECT")

    return work


def worker_that_never_ends():
    return lambda items: time.sleep(600)


def context(job_id="job"):
    return JobContext(SimpleNamespace(job_id=job_id, params={}, warnings=[]))


def rows(engine):
    with Session(engine) as opened:
        return list(opened.exec(select(WorkShard)))
