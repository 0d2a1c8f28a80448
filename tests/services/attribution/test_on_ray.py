"""Maps drawn on a Ray of two machines."""

import pytest
from sqlmodel import Session, col, select

from services.attribution.computing import compute_maps
from services.attribution.tables import Activation, ExplainedImage
from services.runtime import shard_ledger
from services.runtime.shard_ledger import WorkShard
from tests.services.attribution.stand_ins import make_world
from tests.services.attribution.test_computing import job_context

WHAT = (
    "category", "image_id", "x_feature", "x", "contribution", "share", "map_sum", "map_scale", "shard_key",
    "shard_start", "shard_index", "crc32",
)  # fmt: skip


@pytest.fixture
def world(store):
    return make_world(store, pictures_a_class=150)


@pytest.mark.slow
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


def rows_of(of, table):
    with Session(of.engine) as opened:
        return list(opened.exec(select(table)))


def drawn(of):
    """All that was drawn, but the ids, which are salted anew for each run; the shards' names are their hashes."""
    with Session(of.engine) as opened:
        columns = [col(getattr(Activation, name)) for name in WHAT]
        return sorted(map(tuple, opened.exec(select(*columns))))
