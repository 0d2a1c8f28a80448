"""Buckets that fill with time."""

import pytest

from services.runtime import rates
from services.runtime.rates import Buckets


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(rates.time, "monotonic", lambda: now[0])
    return now


def test_a_burst_passes_and_then_the_rate(clock):
    buckets = Buckets(per_s=2, burst=3)
    assert [buckets.take("ada") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock[0] += 0.5
    assert [buckets.take("ada"), buckets.take("ada")] == [0.0, 0.5]
    clock[0] += 1000
    assert [buckets.take("ada") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_one_persons_haste_is_nobody_elses(clock):
    buckets = Buckets(per_s=1, burst=1)
    buckets.take("ada")
    assert buckets.take("ada") > 0
    assert buckets.take("bob") == 0


def test_looking_takes_nothing(clock):
    buckets = Buckets(per_s=1, burst=1)
    assert [buckets.wait_s("ada") for _ in range(3)] == [0.0] * 3
    buckets.take("ada")
    assert buckets.wait_s("ada") == 1.0


def test_no_flood_of_strangers_fills_the_memory(clock, monkeypatch):
    monkeypatch.setattr(rates, "_MOST", 100)
    buckets = Buckets(per_s=1, burst=1)
    for number in range(1000):
        buckets.take(number)
    assert len(buckets._left) == 100
