"""Maps drawn on a Ray of two machines, which are two sets of processes here."""

import psutil
import pytest
from sqlmodel import Session, col, select

from services.attribution.computing import compute_maps
from services.attribution.tables import Activation, ExplainedImage
from services.runtime import ray_engine, shard_ledger
from services.runtime.shard_ledger import WorkShard
from tests.services.attribution.stand_ins import make_world
from tests.services.attribution.test_computing import job_context

RAY_STARTS = 3  # tries: Ray gives its processes 30 s to start, however busy the machine is

WHAT = (
    "category", "image_id", "x_feature", "x", "contribution", "share", "map_sum", "map_scale", "shard_key",
    "shard_start", "shard_index", "crc32",
)  # fmt: skip


@pytest.fixture
def cluster(ray_environment, monkeypatch):
    """Two nodes on loopback with a CPU to spare each, no dashboard."""
    from ray import cluster_utils

    node = {"num_cpus": 2, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    for tries_left in reversed(range(RAY_STARTS)):
        try:
            cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=node)
            break
        except RuntimeError:
            if not tries_left:
                raise
    try:
        cluster.second = cluster.add_node(**node)
        monkeypatch.setenv("ONOMA_RAY_ADDRESS", cluster.address)
        monkeypatch.setenv("ONOMA_RAY_WORKERS", "3")
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def world(store):
    return make_world(store, pictures_a_class=150)


@pytest.fixture
def killing_the_second(cluster, monkeypatch):
    """Kills the second machine over the first shards: all workers have begun by then, and its own are stopped."""
    hand_out, stopped = ray_engine._Workers._hand_out, []

    def hand_out_and_kill(workers):
        if stopped:
            hand_out(workers)
            return
        for reference in list(workers._at):
            workers._receive(reference)  # waits until that worker has begun
        stopped.extend(workers_on(cluster.second))
        for process in stopped:
            process.suspend()  # or a shard is done before the machine is gone
        hand_out(workers)
        cluster.remove_node(cluster.second, allow_graceful=False)
        for process in stopped:
            process.kill()

    monkeypatch.setattr(ray_engine._Workers, "_hand_out", hand_out_and_kill)
    yield
    assert stopped


def test_with_a_machine_killed_over_its_shards_the_maps_are_those_of_the_local_engine(
    make_computing, killing_the_second
):
    on_ray, local = (make_computing(name, map_batch_images=8, map_shard_images=8) for name in ("ray", "here"))
    context = job_context()
    context.params["engine"] = "ray"
    result = compute_maps(context, on_ray)
    assert result["images"] == 450
    assert result["images_set_aside"] == 0
    assert context.progress()["warnings"] == []
    shards = rows_of(on_ray, WorkShard)
    assert len(shards) == 57
    assert {row.state for row in shards} == {shard_ledger.DONE}
    assert max(row.attempts for row in shards) == 2  # a worker of that machine was at one
    assert all(on_ray.store.exists(row.shard_key) for row in rows_of(on_ray, Activation))
    assert compute_maps(job_context(), local) == result
    assert drawn(on_ray) == drawn(local)
    assert len(rows_of(on_ray, ExplainedImage)) == 450


def workers_on(node):
    """Processes of a machine that hold a worker: Ray gives them its name."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [
        process
        for process in raylet.children(recursive=True)
        if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::_Worker")
    ]


def rows_of(of, table):
    with Session(of.engine) as opened:
        return list(opened.exec(select(table)))


def drawn(of):
    """All that was drawn, but the ids, which are salted anew for each run; the shards' names are their hashes."""
    with Session(of.engine) as opened:
        columns = [col(getattr(Activation, name)) for name in WHAT]
        return sorted(map(tuple, opened.exec(select(*columns))))
