"""A few kills at random over the main job; `make soak-kills` does a thousand."""

import pytest

from tests.bench import kills


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_that_was_acknowledged_is_lost_and_every_job_is_done(database):
    found = kills.run(6, database, pause_s=(1.0, 5.0), seed=0)
    assert found.wrong == []
    assert found.kills.total() == 6
    assert found.rounds >= 2
    assert len(found.acknowledged) == found.rounds * len(kills.CLASSES) * kills.ACTS
