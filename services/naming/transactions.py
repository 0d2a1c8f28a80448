"""Transactions that two clients may race for."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from services.runtime.database import session

Result = TypeVar("Result")


def transact(engine: Engine, work: Callable[[Session], Result]) -> Result:
    """What `work` returns, done in one writing transaction.

    On PostgreSQL two that make the same row run at once and the later one fails on its key. It is then
    done again from the start, and finds what the first one made.
    """
    try:
        with session(engine) as opened:
            return work(opened)
    except IntegrityError:
        with session(engine) as opened:
            return work(opened)
