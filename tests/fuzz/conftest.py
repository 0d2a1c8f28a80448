"""A server of one's own with a study in it, to be sent nonsense."""

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.conftest import study_with_maps

EXAMPLES = int(os.environ.get("ONOMA_FUZZ_EXAMPLES", "15"))
"""Of each call and each route; `make fuzz` sets many."""

fuzzing = settings(
    max_examples=EXAMPLES,
    database=None,
    derandomize="ONOMA_FUZZ_EXAMPLES" not in os.environ,  # short runs are the same everywhere
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study that is open for naming, which no other module looks at: calls close it."""
    with study_with_maps(tmp_path_factory.mktemp("fuzz")) as made:
        yield made
