"""What the wheel alone leaves out: the packages of its extras, asked for by name where they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Extra = Literal["analysis", "report", "torch", "serve", "ray", "demo"]


@contextmanager
def needs(extra: Extra) -> Iterator[None]:
    """Around code, or above a function, whose packages come with an extra.

    Raises:
        ModuleNotFoundError: a package is missing, and how to get it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("onoma", ""):
            raise
        raise ModuleNotFoundError(
            f"this needs the package '{error.name}', of the extra '{extra}' of the wheel that Onoma was installed "
            f"from: pip install 'WHEEL[{extra}]'",
            name=error.name,
        ) from error
