"""The environment of every test that starts Ray, and a cluster of two machines: two sets of processes here."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from services.runtime import ray_engine

STARTS = 3  # tries: Ray gives its processes 30 s to start, however busy the machine is
MACHINE = {"num_cpus": 2, "node_ip_address": "127.0.0.1", "include_dashboard": False}


@pytest.fixture
def ray_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that every process of Ray's asks for, and the tests' modules where its workers find them.

    One for all tests: Ray keeps the token that it read first for as long as its process lives.
    """
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 63 + "1")
    monkeypatch.setenv(
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"
    )  # or it takes 127.0.0.1 for another interface
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))


@contextmanager
def started_cluster(machines: int = 1, **head: Any) -> Iterator[Any]:
    """A cluster of machines on loopback, without dashboard, until the end of the block."""
    from ray import cluster_utils

    for tries_left in reversed(range(STARTS)):
        cluster = cluster_utils.Cluster()
        try:
            cluster.add_node(**MACHINE | head)
            for _ in range(machines - 1):
                cluster.second = cluster.add_node(**MACHINE)
            break
        except Exception:  # what Ray raises where a machine does not start is no narrower
            cluster.shutdown()
            if not tries_left:
                raise
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def cluster(ray_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two machines with a CPU to spare each, `second` is the one without the head; a service finds them."""
    with started_cluster(machines=2) as cluster:
        monkeypatch.setenv("ONOMA_RAY_ADDRESS", cluster.address)
        monkeypatch.setenv("ONOMA_RAY_WORKERS", "3")
        yield cluster


@pytest.fixture
def killing_the_second(cluster: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The workers of the second machine stop at their first shard, and it is killed when one has."""
    at_one, work_through = tmp_path / "at-one", ray_engine.work_through

    def work_through_killing(make_worker: Any, shards: Any) -> None:
        work_through(partial(_stopping_on, cluster.second.node_id, at_one, make_worker), shards)

    def kill() -> None:
        while not at_one.exists():
            if over.wait(0.1):
                return
        cluster.remove_node(cluster.second, allow_graceful=False)

    monkeypatch.setattr(ray_engine, "work_through", work_through_killing)
    over = Event()
    killer = Thread(target=kill)
    killer.start()
    yield
    over.set()
    killer.join()
    assert at_one.exists()


def _stopping_on(machine: str, at_one: Path, make_worker: Any) -> Any:
    import ray

    if ray.get_runtime_context().get_node_id() == machine:
        return partial(_stop, at_one)
    return partial(_work_after, at_one, make_worker())


def _stop(at_one: Path, items: Any) -> None:
    at_one.touch()
    time.sleep(600)


def _work_after(at_one: Path, work: Any, items: Any) -> Any:
    while not at_one.exists():  # or the shards may be done before that machine has a worker
        time.sleep(0.05)
    return work(items)
