"""The ledger of long work in shards: what is to do, who is at it, how often it was tried. The truth, on any engine.

A job takes a shard by a lease that it renews, works on it on whatever engine, and ends it in the transaction that
writes its rows; so a shard that is done twice, here or on two machines, is written once. One whose worker died is
taken up again, and cut into its items when that happens again; an item that ends its worker each time is set aside.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from dataclasses import dataclass

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, Session, SQLModel, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from services.runtime.database import session
from services.runtime.job_context import one_line

PENDING, RUNNING, DONE, SET_ASIDE = "pending", "running", "done", "set_aside"
LEASE_S = 120.0  # a shard stays that long with a job that no longer renews its leases
MAX_ATTEMPTS = 2  # of a shard before it is cut up, and of an item before it is set aside
_log = logging.getLogger(__name__)


class WorkShard(SQLModel, table=True):
    """A shard of a run's items, which stand in an order that does not change: `item_count` from `first_item` on."""

    __tablename__ = "work_shard"

    run: str = Field(primary_key=True)
    shard: int = Field(primary_key=True)
    first_item: int = Field(sa_type=sa.BigInteger)
    item_count: int
    state: str = Field(default=PENDING)
    owner: str = ""  # the job that is at it, and which try of it (`owner_of`)
    lease_until: float = 0.0
    attempts: int = 0
    error: str = ""  # how its worker ended the last time


@dataclass(frozen=True)
class Span:
    """A shard that a job has taken: `item_count` items from `first_item` on."""

    shard: int
    first_item: int
    item_count: int


def owner_of(job_id: str) -> str:
    """A name for this try of a job; an earlier try of it, in a process that died or lost the job, has another."""
    return f"{job_id}/{secrets.token_hex(4)}"


def create_table(op: Operations) -> None:
    """Creates the ledger; called by a migration of each service that works in shards."""
    op.create_table(
        "work_shard",
        sa.Column("run", sa.String, primary_key=True),
        sa.Column("shard", sa.Integer, primary_key=True),
        sa.Column("first_item", sa.BigInteger, nullable=False),
        sa.Column("item_count", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.String, nullable=False),
    )


def lay_out(engine: Engine, run: str, item_count: int, shard_items: int) -> None:
    """Cuts a run's items into shards; one that is laid out stays as it is, whatever the size is now."""
    # Where another job lays the run out at the same time, one of the two comes second, and uses what is there.
    with contextlib.suppress(IntegrityError), session(engine) as opened:
        if opened.get(WorkShard, (run, 0)) is None:
            starts = range(0, item_count, shard_items)
            opened.add_all(
                WorkShard(run=run, shard=i, first_item=start, item_count=min(shard_items, item_count - start))
                for i, start in enumerate(starts)
            )


def take_up(engine: Engine, run: str, owner: str) -> None:
    """Frees what an earlier try of the same job was at when it died, and what no job renews any more."""
    of_earlier_try = sa.and_(
        col(WorkShard.owner).startswith(owner.partition("/")[0] + "/"), col(WorkShard.owner) != owner
    )
    is_free = sa.or_(of_earlier_try, col(WorkShard.lease_until) < time.time())
    with session(engine) as opened:
        for row in opened.exec(_of(run, RUNNING).where(is_free)).all():
            _worker_ended(opened, row, "the process that was at it ended")


def take(engine: Engine, run: str, owner: str) -> Span | None:
    """The next shard that waits, now this job's; None where none does."""
    with session(engine) as opened:
        waiting = _of(run, PENDING).order_by(col(WorkShard.shard)).limit(1)
        row = opened.exec(waiting.with_for_update(skip_locked=True)).first()
        if row is None:
            return None
        row.state, row.owner, row.attempts = RUNNING, owner, row.attempts + 1
        row.lease_until = time.time() + LEASE_S
        return Span(row.shard, row.first_item, row.item_count)


def renew(engine: Engine, run: str, owner: str) -> None:
    """Keeps what a job has taken for another lease."""
    statement = sa.update(WorkShard).where(
        col(WorkShard.run) == run, col(WorkShard.owner) == owner, col(WorkShard.state) == RUNNING
    )
    with session(engine) as opened:
        opened.execute(statement.values(lease_until=time.time() + LEASE_S))


def end(opened: Session, run: str, shard: int, owner: str) -> bool:
    """Marks a shard as done in the transaction that writes its rows.

    Returns:
        False where it is no longer this job's: its rows are another's to write.
    """
    statement = sa.update(WorkShard).where(
        col(WorkShard.run) == run,
        col(WorkShard.shard) == shard,
        col(WorkShard.owner) == owner,
        col(WorkShard.state) == RUNNING,
    )
    return opened.connection().execute(statement.values(state=DONE, lease_until=0.0)).rowcount == 1


def give_back(engine: Engine, run: str, owner: str) -> None:
    """Puts back what a job has taken and will not finish now; that is no failed attempt."""
    with session(engine) as opened:
        for row in opened.exec(_of(run, RUNNING).where(WorkShard.owner == owner)):
            row.state, row.owner, row.attempts = PENDING, "", row.attempts - 1


def worker_ended(engine: Engine, run: str, shard: int, owner: str, error: str) -> None:
    """A worker died over a shard: it is tried again, then in single items, then what is left is set aside."""
    with session(engine) as opened:
        row = opened.get(WorkShard, (run, shard), with_for_update=True)
        if row is not None and (row.state, row.owner) == (RUNNING, owner):
            _worker_ended(opened, row, error)


def done_items(engine: Engine, run: str) -> int:
    """How many items are done or set aside."""
    over = col(WorkShard.state).in_((DONE, SET_ASIDE))
    with Session(engine) as opened:
        return int(
            opened.exec(select(func.sum(WorkShard.item_count)).where(WorkShard.run == run, over)).one() or 0
        )


def forget(opened: Session, run: str) -> None:
    """Removes a run that is deleted."""
    opened.exec(sa.delete(WorkShard).where(col(WorkShard.run) == run))


def is_over(engine: Engine, run: str) -> bool:
    """Whether nothing waits and nobody is at anything."""
    going_on = col(WorkShard.state).in_((PENDING, RUNNING))
    with Session(engine) as opened:
        return opened.exec(select(WorkShard.shard).where(WorkShard.run == run, going_on)).first() is None


def set_aside(engine: Engine, run: str) -> list[tuple[int, str]]:
    """Items that ended their worker each time, and how, in order."""
    columns = (WorkShard.first_item, WorkShard.error)
    query = select(*columns).where(WorkShard.run == run, WorkShard.state == SET_ASIDE)
    with Session(engine) as opened:
        return [(item, error) for item, error in opened.exec(query.order_by(col(WorkShard.first_item)))]


def _worker_ended(opened: Session, row: WorkShard, error: str) -> None:
    row.owner, row.error = "", one_line(error)
    _log.warning("shard %d of run %s, attempt %d: %s", row.shard, row.run, row.attempts, error)
    if row.attempts < MAX_ATTEMPTS:
        row.state = PENDING
    elif row.item_count == 1:
        row.state = SET_ASIDE
    else:
        free = opened.exec(select(func.max(WorkShard.shard)).where(WorkShard.run == row.run)).one() + 1
        first, count = row.first_item, row.item_count
        # The row stays as the first of its items, so that shard 0 says for ever that the run is laid out.
        row.state, row.item_count, row.attempts = PENDING, 1, 0
        opened.add_all(
            WorkShard(run=row.run, shard=free + i, first_item=first + 1 + i, item_count=1)
            for i in range(count - 1)
        )


def _of(run: str, state: str) -> SelectOfScalar[WorkShard]:
    return select(WorkShard).where(WorkShard.run == run, WorkShard.state == state)
