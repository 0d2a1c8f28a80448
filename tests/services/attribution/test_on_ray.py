"""Maps drawn on a Ray of two machines, which are two sets of processes here."""

import contextlib
import threading

import psutil
import pytest
from sqlmodel import Session, col, select

from services.attribution.computing import compute_maps
from services.attribution.tables import Activation, ExplainedImage
from services.runtime import shard_ledger
from services.runtime.shard_ledger import WorkShard
from tests.services.attribution.stand_ins import make_world
from tests.services.attribution.test_computing import job_context

pytestmark = pytest.mark.slow  # and Ray takes tokens for a whole process: other tests of Ray have none

WHAT = (
    "category", "image_id", "x_feature", "x", "contribution", "share", "map_sum", "map_scale", "shard_key",
    "shard_start", "shard_index", "crc32",
)  # fmt: skip


@pytest.fixture
def cluster(ray_environment, monkeypatch):
    """Two nodes on loopback with a CPU to spare each, no dashboard."""
    from ray import cluster_utils

    node = {"num_cpus": 2, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    try:
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=node)
    except RuntimeError:  # Ray gives its processes 30 s to start, however busy the machine is
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=node)
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


def test_with_a_machine_killed_over_a_shard_the_maps_are_those_of_the_local_engine(make_computing, cluster):
    on_ray, local = (make_computing(name, map_batch_images=8, map_shard_images=8) for name in ("ray", "here"))
    context = job_context()
    context.params["engine"] = "ray"
    is_over, killed = threading.Event(), []

    def kill_at_work():
        while not is_over.is_set():
            if worker := stopped_at_work(cluster.second):
                cluster.remove_node(cluster.second, allow_graceful=False)
                worker.kill()
                killed.append(worker.pid)
                return

    killer = threading.Thread(target=kill_at_work)
    killer.start()
    try:
        result = compute_maps(context, on_ray)
    finally:
        is_over.set()
        killer.join()
    assert killed
    assert result["images"] == 450
    assert result["images_set_aside"] == 0
    assert context.progress()["warnings"] == []
    shards = rows_of(on_ray, WorkShard)
    assert len(shards) == 57
    assert {row.state for row in shards} == {shard_ledger.DONE}
    assert max(row.attempts for row in shards) == 2  # the worker that was stopped was at one
    assert all(on_ray.store.exists(row.shard_key) for row in rows_of(on_ray, Activation))
    assert compute_maps(job_context(), local) == result
    assert drawn(on_ray) == drawn(local)
    assert len(rows_of(on_ray, ExplainedImage)) == 450


def stopped_at_work(node):
    """A worker of a machine, stopped over a shard, so that the result does not get away; None where none is at one."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in raylet.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if is_at_work(process):
                process.suspend()
                if is_at_work(process):
                    return process
                process.resume()
    return None


def is_at_work(process):
    """Whether a process is at a shard: Ray gives it the name of what it runs."""
    return process.cmdline()[:1] == ["ray::_Worker.work"]


def rows_of(of, table):
    with Session(of.engine) as opened:
        return list(opened.exec(select(table)))


def drawn(of):
    """All that was drawn, but the ids, which are salted anew for each run; the shards' names are their hashes."""
    with Session(of.engine) as opened:
        columns = [col(getattr(Activation, name)) for name in WHAT]
        return sorted(map(tuple, opened.exec(select(*columns))))
