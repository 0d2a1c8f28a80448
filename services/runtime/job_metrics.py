"""Numbers of jobs for Prometheus: how many wait and run, as the tables have it when asked, and how they ended."""

from __future__ import annotations

import logging
from collections import Counter as Count
from collections.abc import Iterable
from weakref import WeakSet

from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, func, select

from services.runtime.errors import ServiceError
from services.runtime.job_table import PENDING, RUNNING, Job

ended = Counter("onoma_jobs_ended_total", "Jobs that this process ended, or put back.", ["kind", "state"])
seconds = Histogram(
    "onoma_job_seconds",
    "Seconds that this process was at a job.",
    ["kind"],
    buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10_000),
)
waits = Counter("onoma_job_waits_total", "Times that a job waited for something that was away.", ["kind"])
_log = logging.getLogger(__name__)


class _Queues(Collector):
    """Jobs that wait and run in the databases of this process's services."""

    def __init__(self) -> None:
        self.engines: WeakSet[Engine] = WeakSet()

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The family without its numbers, so that registering asks no database."""
        return [GaugeMetricFamily("onoma_jobs", "Jobs that wait or run.", labels=["kind", "state"])]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The numbers now; those of a database that is away are missing."""
        (family,) = self.describe()
        query = (
            select(Job.kind, Job.state, func.count())
            .where(col(Job.state).in_((PENDING, RUNNING)))
            .group_by(Job.kind, Job.state)
        )
        found: Count[tuple[str, str]] = Count()
        for engine in list(self.engines):
            try:
                with Session(engine) as opened:
                    for kind, state, count in opened.exec(query):
                        found[kind, state] += count
            except (ServiceError, SQLAlchemyError) as error:  # other numbers are shown all the same
                _log.warning("the queue of jobs cannot be counted now: %s", error)
        for labels, count in found.items():
            family.add_metric(labels, count)
        return [family]


_queues = _Queues()
REGISTRY.register(_queues)


def count_queue(engine: Engine) -> None:
    """Counts the jobs of this database from now on, for as long as the engine is used."""
    _queues.engines.add(engine)
