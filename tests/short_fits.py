"""Trainings that are over in a moment, for tests of what is around them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from onoma.science import xnn_fitting, xnn_training


@contextmanager
def short_fits() -> Iterator[None]:
    """In this process, until the end of the block, xNNs take few steps and rounds: they are no good, and soon there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xnn_fitting, "_WARM_STEPS", 10)
        patch.setattr(xnn_fitting, "_LEAST_STEPS", 10)
        patch.setattr(xnn_training, "MAX_ROUNDS", 1)
        yield
