"""Pages of lists: sizes, and tokens that say where the page before ended."""

import base64
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from services.runtime.errors import InvalidArgument

Row = TypeVar("Row")


def checked_page_size(page_size: int, *, default: int, largest: int) -> int:
    """`page_size`, or `default` for 0.

    Raises:
        InvalidArgument: negative or over `largest`.
    """
    if not 0 <= page_size <= largest:
        raise InvalidArgument(f"page_size {page_size}: use 1 to {largest}, or 0 for {default}")
    return page_size or default


def cut(
    rows: Sequence[Row], size: int, place: Callable[[Row], Sequence[str | int | float]]
) -> tuple[Sequence[Row], str]:
    """A page out of what was read with one row more, and the token of the next page; empty on the last.

    Args:
        place: of a row, in the list's order.
    """
    if len(rows) <= size:
        return rows, ""
    return rows[:size], make_token(*place(rows[size - 1]))


def make_token(*position: str | int | float) -> str:
    """A page token: where the page before ended."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def read_token(token: str, *types: type) -> list[Any]:
    """What `make_token` was given.

    Raises:
        InvalidArgument: the token is not one of those.
    """
    try:
        position = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, RecursionError):
        position = None
    if (
        not isinstance(position, list)
        or [type(value) for value in position] != list(types)
        or not all(map(_has_a_place, position))
    ):
        raise InvalidArgument("page_token is not one that this list gave: start without one")
    return position


def _has_a_place(value: str | int | float) -> bool:
    """Whether a column of a database can be compared with it."""
    if isinstance(value, str):
        return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value)
    return math.isfinite(value) and abs(value) < 2**63
