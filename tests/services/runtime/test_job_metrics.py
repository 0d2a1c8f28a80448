"""Numbers of jobs: what waits and runs is counted in each database that can be asked."""

from alembic.migration import MigrationContext
from alembic.operations import Operations
from prometheus_client import REGISTRY
from sqlmodel import Session

from services.runtime import database, job_metrics, job_table, jobs

WAITING = {"kind": "knit", "state": jobs.PENDING}


def test_a_database_whose_table_is_gone_hides_no_others_numbers(tmp_path):
    gone, here = (database._sqlite(tmp_path / f"{name}.db", connections=2) for name in ("gone", "here"))
    with here.begin() as connection:
        job_table.create_table(Operations(MigrationContext.configure(connection)))
    with Session(here) as opened:
        opened.add(jobs.Job(job_id="one", kind="knit", params={}))
        opened.commit()
    job_metrics.count_queue(gone)
    job_metrics.count_queue(here)
    try:
        assert REGISTRY.get_sample_value("onoma_jobs", WAITING) == 1
    finally:
        gone.dispose()
        here.dispose()
