"""The table of jobs, one in the database of each service that has any."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from sqlmodel import JSON, Column, Field, SQLModel

PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED = "pending", "running", "succeeded", "failed", "cancelled"


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
