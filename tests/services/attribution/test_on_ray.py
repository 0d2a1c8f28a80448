"""Maps drawn on a Ray of two machines, which are two sets of processes here."""

import os
import threading
import time
from pathlib import Path

import pytest
from sqlmodel import Session, col, select

from services.attribution.computing import compute_maps
from services.attribution.tables import Activation, ExplainedImage
from services.runtime import shard_ledger
from services.runtime.shard_ledger import WorkShard
from tests.services.attribution.stand_ins import STUDY_ID, make_world
from tests.services.attribution.test_computing import job_context

pytestmark = pytest.mark.slow  # and Ray takes tokens for a whole process: other tests of Ray have none

WHAT = (
    "category", "image_id", "x_feature", "x", "contribution", "share", "map_sum", "map_scale", "shard_key",
    "shard_start", "shard_index", "crc32",
)  # fmt: skip


@pytest.fixture(scope="module")
def ray_token(tmp_path_factory):
    """A token that every process of the cluster asks for; set before Ray is first imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", "0" * 63 + "1")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # or it takes 127.0.0.1 for another interface
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
        yield


@pytest.fixture
def cluster(ray_token, monkeypatch):
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


def test_with_a_machine_killed_half_way_the_maps_are_those_of_the_local_engine(make_computing, cluster):
    on_ray, local = (make_computing(name, map_batch_images=8, map_shard_images=8) for name in ("ray", "here"))
    context = job_context()
    context.params["engine"] = "ray"

    def kill_half_way():
        while shard_ledger.done_items(on_ray.engine, STUDY_ID) < 100:
            time.sleep(0.02)
        cluster.remove_node(cluster.second, allow_graceful=False)

    killer = threading.Thread(target=kill_half_way, daemon=True)
    killer.start()
    result = compute_maps(context, on_ray)
    killer.join()
    assert result["images"] == 450
    assert result["images_set_aside"] == 0
    assert context.progress()["warnings"] == []
    shards = rows_of(on_ray, WorkShard)
    assert len(shards) == 57
    assert {row.state for row in shards} == {shard_ledger.DONE}
    assert max(row.attempts for row in shards) == 2  # the worker on that machine was at one
    assert all(on_ray.store.exists(row.shard_key) for row in rows_of(on_ray, Activation))
    assert compute_maps(job_context(), local) == result
    assert drawn(on_ray) == drawn(local)
    assert len(rows_of(on_ray, ExplainedImage)) == 450


def rows_of(of, table):
    with Session(of.engine) as opened:
        return list(opened.exec(select(table)))


def drawn(of):
    """All that was drawn, but the ids, which are salted anew for each run; the shards' names are their hashes."""
    with Session(of.engine) as opened:
        columns = [col(getattr(Activation, name)) for name in WHAT]
        return sorted(map(tuple, opened.exec(select(*columns))))
