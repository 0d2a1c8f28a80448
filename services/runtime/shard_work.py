"""Long work in shards, here or on Ray: both do what one ledger says, by one function a shard."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from sqlalchemy import Engine

from onoma.v1 import types_pb2
from services.runtime import ray_engine, shard_ledger
from services.runtime.enums import name_of
from services.runtime.errors import ServiceError
from services.runtime.job_context import JobContext
from services.runtime.shard_ledger import LEASE_S, Span

EngineName = Literal["local", "ray"]
_OTHERS_S = 1.0  # between two looks at shards that another job is at
_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class ShardWork(Generic[Item, Result]):
    """What there is to do.

    Attributes:
        engine: database of the ledger.
        run: name of the work; its items stand in the same order whenever it is taken up.
        shard_items: items of a shard, where the run is not laid out yet.
        here: does a shard in this process; it calls its second argument with the number of items done, at each safe
            point, which ends the work by raising.
        make_worker: makes what does a shard in another process; a module's function, or a `partial` of one.
        write: writes the rows of a shard, with `shard_ledger.end` in the same transaction; the last argument is the
            owner to give it. False: they are another's to write.
    """

    engine: Engine
    run: str
    items: Sequence[Item]
    shard_items: int
    here: Callable[[Sequence[Item], Callable[[int], None]], Result]
    make_worker: Callable[[], Callable[[Sequence[Item]], Result]]
    write: Callable[[Span, Result, str], bool]


def engine_asked_for(engine: int) -> EngineName:
    """A request's engine by its name in jobs.

    Raises:
        FailedPrecondition: it is Ray, which is not installed.
        InvalidArgument: there is no such engine.
    """
    name = name_of(types_pb2.Engine, engine, "engine", unsaid="local")
    if name == "ray":
        ray_engine.check_installed()
    return name


def work_through(context: JobContext, work: ShardWork[Item, Result], on: EngineName) -> None:
    """Does every shard that is not done yet; returns when all of them are, whoever did them.

    Raises:
        Cancelled, Released: the shards in hand go back, those that are done stay.
        Unavailable: Ray does not get on.
    """
    engine, run, owner = work.engine, work.run, shard_ledger.owner_of(context.job_id)
    shard_ledger.lay_out(engine, run, len(work.items), work.shard_items)
    context.advance(shard_ledger.done_items(engine, run))
    renewed_at = time.monotonic()

    def check() -> None:
        nonlocal renewed_at
        context.check()
        if time.monotonic() - renewed_at > LEASE_S / 4:
            shard_ledger.renew(engine, run, owner)
            renewed_at = time.monotonic()

    def take() -> Span | None:
        return shard_ledger.take(engine, run, owner)

    def items_of(span: Span) -> Sequence[Item]:
        return work.items[span.first_item : span.first_item + span.item_count]

    def write(span: Span, result: Result) -> None:
        if not work.write(span, result, owner):
            _log.info("shard %d of run %s was written by another job", span.shard, run)

    def write_from_afar(span: Span, result: Result) -> None:
        write(span, result)
        context.advance(span.item_count)

    def worker_ended(span: Span, error: str) -> None:
        shard_ledger.worker_ended(engine, run, span.shard, owner, error)

    def advance(count: int) -> None:
        context.advance(count)
        check()

    try:
        while True:
            shard_ledger.take_up(engine, run, owner)
            if on == "ray":
                shards = ray_engine.Shards(take, items_of, write_from_afar, worker_ended, check)
                ray_engine.work_through(work.make_worker, shards)
            else:
                while (span := take()) is not None:
                    write(span, work.here(items_of(span), advance))
            if shard_ledger.is_over(engine, run):
                return
            check()  # another job is at the rest, or was: its leases run out
            time.sleep(_OTHERS_S)
    except BaseException:
        _give_back(engine, run, owner)
        raise


def _give_back(engine: Engine, run: str, owner: str) -> None:
    try:
        shard_ledger.give_back(engine, run, owner)
    except ServiceError as error:  # what is raised says why the job ended; the leases run out by themselves
        _log.warning("the shards in hand of run %s stay leased: %s", run, error)
