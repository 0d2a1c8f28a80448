"""The environment of every test that starts Ray, and a cluster of two machines: two sets of processes here."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
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
def killing_the_second(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kills the second machine over the first shards: all workers have begun by then, and its own are stopped."""
    hand_out, stopped = ray_engine._Workers._hand_out, []

    def hand_out_and_kill(workers: Any) -> None:
        if stopped:
            hand_out(workers)
            return
        for reference in list(workers._at):
            workers._receive(reference)  # waits until that worker has begun
        stopped.extend(_workers_on(cluster.second))
        for process in stopped:
            process.suspend()  # or a shard is done before the machine is gone
        hand_out(workers)
        cluster.remove_node(cluster.second, allow_graceful=False)
        for process in stopped:
            process.kill()

    monkeypatch.setattr(ray_engine._Workers, "_hand_out", hand_out_and_kill)
    yield
    assert stopped


def _workers_on(node: Any) -> list[psutil.Process]:
    """Processes of a machine that hold a worker: Ray gives them its name."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [
        process
        for process in raylet.children(recursive=True)
        if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::_Worker")
    ]
