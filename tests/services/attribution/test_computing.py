"""The job that draws a study's maps: what it stores, what it survives, what it says."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import torch
from safetensors.torch import save as save_tensors
from sqlmodel import Session, select

from onoma.client.columns import map_arrays
from onoma.science.activations import explain
from onoma.science.excitation import look, prepare
from onoma.science.pictures import decode, model_input, normalise
from onoma.science.program import load
from onoma.v1 import attribution_pb2, jobs_pb2, types_pb2
from services.attribution import drawing, explainers, reading, runs
from services.attribution.computing import compute_maps
from services.attribution.plans import chosen_images
from services.attribution.tables import Activation
from services.runtime import shard_ledger
from services.runtime.database import session
from services.runtime.directory_store import DirectoryStore
from services.runtime.errors import FailedPrecondition, ResourceExhausted
from services.runtime.job_context import Cancelled, JobContext
from services.runtime.shard_ledger import WorkShard
from tests.services.attribution.conftest import refusal
from tests.services.attribution.stand_ins import ALL_CLASSES, PREPROCESSING, STUDY_ID, png, stored_xnn
from tests.synthetic import CLASSES, draw


@pytest.fixture
def explained_alone(world, store):
    """Explains one image by the science itself."""
    model = world.model
    explainer = prepare(load(world.program), model.attachment_layer, model.map_layer, "local")

    def explaining(category, image_id, contrastive=True):
        pixels = model_input(decode(store.get(image_id)), PREPROCESSING)
        seen = look(explainer, torch.from_numpy(normalise(pixels[None], PREPROCESSING)))
        class_index = ALL_CLASSES.index(category)
        return explain(explainer, world.xnns[category], class_index, seen, 0.9, contrastive=contrastive)

    return explaining


def test_every_image_is_explained_as_it_is_alone(attribution, world, explained_alone):
    result = attribution.result()
    assert result["images"] == 18
    columns = attribution.activations()
    assert result["activations"] == len(columns.activation_id) > 18
    maps = attribution.maps(columns.activation_id)
    stored = {
        (category, image_id, x_feature): place
        for place, (category, image_id, x_feature) in enumerate(
            zip(columns.category, columns.image_id, columns.x_feature, strict=True)
        )
    }
    for category in CLASSES:
        for _, image_id in world.images[category]:
            alone = explained_alone(category, image_id)
            for i, x_feature in enumerate(alone.x_features):
                place = stored.pop((category, image_id, int(x_feature)))
                assert columns.x[place] == pytest.approx(alone.values[i], rel=1e-4)
                assert columns.contribution[place] == pytest.approx(alone.contributions[i], rel=1e-4)
                assert columns.share[place] == pytest.approx(alone.shares[i], rel=1e-4)
                difference = np.abs(maps[columns.activation_id[place]] - alone.maps[i]).max()
                assert difference <= alone.maps[i].max() * 2**-12 + 1e-5
    assert not stored


def test_every_map_sums_to_one(attribution):
    result = attribution.result()
    columns = attribution.activations()
    assert np.abs(np.array(columns.map_sum) - 1).max() < 1e-3
    assert result["least_map_sum"] == pytest.approx(min(columns.map_sum))
    for array in attribution.maps(columns.activation_id).values():
        assert array.sum() == pytest.approx(1, abs=1e-3)


def test_a_study_made_for_plain_maps_gets_them(attribution, world, explained_alone):
    world.study.settings.contrastive = False
    attribution.result()
    columns = attribution.activations("cross")
    maps = attribution.maps(columns.activation_id)
    image_id = columns.image_id[0]
    contrastive, plain = (explained_alone("cross", image_id, contrastive=kind) for kind in (True, False))
    assert np.abs(contrastive.maps[0] - plain.maps[0]).max() > 0.01
    np.testing.assert_allclose(maps[columns.activation_id[0]], plain.maps[0], atol=1e-4)


@pytest.fixture
def keep_cells(world, store):
    """Keeps the map layer's activations of some images of a category; the pictures are then not needed."""
    model = world.model
    explainer = prepare(load(world.program), model.attachment_layer, model.map_layer, "local")

    def keeping(category, count):
        for _, image_id in world.images[category][:count]:
            pixels = model_input(decode(store.get(image_id)), PREPROCESSING)
            seen = look(explainer, torch.from_numpy(normalise(pixels[None], PREPROCESSING)))
            cells = seen.values[explainer.map_layer][0].contiguous()
            world.cells_keys[image_id] = store.put(save_tensors({"cells": cells}))

    return keeping


def test_maps_are_drawn_from_kept_activations_without_the_pictures(
    attribution, world, store, explained_alone, keep_cells
):
    keep_cells("cross", 3)
    alone = {image_id: explained_alone("cross", image_id) for _, image_id in world.images["cross"]}
    for image_id in world.cells_keys:
        store._file(image_id).unlink()
    attribution.result()
    columns = attribution.activations("cross")
    maps = attribution.maps(columns.activation_id)
    assert set(columns.image_id) == set(alone)
    for place, (image_id, x_feature) in enumerate(zip(columns.image_id, columns.x_feature, strict=True)):
        expected = alone[image_id].maps[list(alone[image_id].x_features).index(x_feature)]
        assert np.abs(maps[columns.activation_id[place]] - expected).max() <= expected.max() * 2**-12 + 1e-5


def test_kept_activations_that_are_lost_are_made_good_by_the_picture(attribution, world, store, keep_cells):
    keep_cells("cross", 3)
    for key in world.cells_keys.values():
        store._file(key).unlink()
    job = attribution.computed()
    assert json.loads(job.result_json)["images"] == 18
    assert not job.warnings


def test_the_study_is_told_its_activations_without_their_x_features(attribution, world):
    attribution.result()
    columns = attribution.activations()
    told = {
        id_: (image_id, category)
        for id_, image_id, category in zip(
            columns.activation_id, columns.image_id, columns.category, strict=True
        )
    }
    assert world.published == told


def test_scores_and_counts_of_every_image_are_kept(attribution, world, explained_alone):
    attribution.result()
    columns = attribution.images("cross")
    assert list(columns.image_id) == sorted(image_id for _, image_id in world.images["cross"])
    assert set(columns.category) == {"cross"}
    for place, image_id in enumerate(columns.image_id):
        alone = explained_alone("cross", image_id)
        assert columns.dnn_score[place] == pytest.approx(float(alone.dnn_scores[0]), rel=1e-4)
        assert columns.xnn_score[place] == pytest.approx(float(alone.xnn_scores[0]), rel=1e-4)
        assert columns.predicted_class[place] == ALL_CLASSES[int(alone.predicted[0])]
        assert columns.significant_count[place] == len(alone.x_features)


def test_a_limit_takes_the_same_images_whatever_the_order_of_the_list(peers, world):
    world.study.settings.max_images_per_category = 2
    chosen = chosen_images(peers, world.study, "circle")
    assert len(chosen) == 2
    world.images["circle"].reverse()
    assert chosen_images(peers, world.study, "circle") == chosen
    assert {(image.path, image_id) for image_id, image in chosen.items()} <= set(world.images["circle"])


def test_another_seed_takes_other_images(peers, world):
    world.study.settings.max_images_per_category = 2
    chosen = set()
    for seed in range(8):
        world.study.settings.seed = seed
        chosen |= chosen_images(peers, world.study, "circle").keys()
    assert len(chosen) > 2


def test_the_same_picture_under_two_paths_is_explained_once(attribution, world):
    world.images["circle"].append(("test/circle/copy.png", world.images["circle"][0][1]))
    assert attribution.result()["images"] == 18


def test_a_broken_picture_is_named_and_the_rest_goes_on(attribution, world, store):
    world.images["cross"].append(("test/cross/torn.png", store.put(png(draw("cross", _rng()))[:200])))
    job = attribution.computed()
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert json.loads(job.result_json)["images"] == 18
    assert json.loads(job.result_json)["images_left_out"] == len(job.warnings) == 1
    assert any("test/cross/torn.png: damaged or truncated" in line for line in job.warnings)


def test_a_lost_picture_stays_out_of_the_study_and_says_the_way_out(attribution, world, store):
    damaged = store.put(png(draw("cross", _rng())))
    world.images["cross"].append(("test/cross/gone.png", "0" * 64))
    world.images["cross"].append(("test/cross/damaged.png", damaged))
    file = store._file(damaged)
    file.write_bytes(bytes(file.stat().st_size))
    job = attribution.computed()
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED
    gone, of_damaged = sorted(job.warnings, key=lambda line: "gone.png" not in line)
    assert gone.startswith(f"test/cross/gone.png: its picture, object {'0' * 64}, is gone, and stays out")
    assert of_damaged.startswith(f"test/cross/damaged.png: its picture, object {damaged}, is damaged")
    for line in (gone, of_damaged):
        assert "the job" not in line
        assert line.endswith("and make a new study; left out")


def test_a_category_without_images_is_named_and_the_rest_goes_on(attribution, world):
    world.study.categories.append("nothing")
    job = attribution.computed()
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert list(job.warnings) == ["category 'nothing' has no image in this part of data set 'shapes'"]


def test_an_image_without_a_positive_term_has_no_activation(attribution, world, store):
    negative = replace(world.xnns["square"], read_out=-torch.ones(5))
    del world.xnn_set.xnns[ALL_CLASSES.index("square")]
    world.xnn_set.xnns.append(stored_xnn(store, "square", negative))
    result = attribution.result()
    assert result["images_without_significant"] == 6
    assert list(attribution.images("square").significant_count) == [0] * 6
    assert not attribution.activations("square").activation_id


def test_a_study_without_any_activation_says_so(attribution, world, store):
    del world.study.categories[:2]
    negative = replace(world.xnns["square"], read_out=-torch.ones(5))
    del world.xnn_set.xnns[:]
    world.xnn_set.xnns.append(stored_xnn(store, "square", negative))
    job = attribution.computed()
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert list(job.warnings) == ["no image of study 'shapes' has a significant activation: nothing to name"]
    assert world.publish_count == 0


def test_a_map_without_mass_is_kept_as_empty(attribution, monkeypatch):
    explain = explainers.explain

    def explain_with_one_empty(*arguments, **options):
        found = explain(*arguments, **options)
        found.maps[0], found.map_sums[0] = 0, 0
        return found

    monkeypatch.setattr(explainers, "explain", explain_with_one_empty)
    job = attribution.computed()
    columns = attribution.activations()
    empty = [id_ for id_, total in zip(columns.activation_id, columns.map_sum, strict=True) if total == 0]
    assert json.loads(job.result_json)["empty_maps"] == len(empty) == len(CLASSES)  # one a batch
    assert all("a map is empty" in line for line in job.warnings)
    assert all(not array.any() for array in attribution.maps(empty).values())


def test_a_batch_that_ends_memory_is_halved_and_a_picture_that_fails_is_left_out(world, store, monkeypatch):
    pictures = {
        image_id: model_input(decode(store.get(image_id)), PREPROCESSING)
        for _, image_id in world.images["circle"]
    }
    bad = next(iter(pictures))
    sizes, left_out = [], []

    def explain_some(some):
        sizes.append(len(some))
        if len(some) > 2:
            raise torch.OutOfMemoryError("no memory left")
        if any(np.array_equal(one, pictures[bad]) for one in some):
            raise ValueError("a score of the network is NaN or infinite")
        return len(some)

    found = list(
        drawing._halving(explain_some, pictures, lambda id_, error: left_out.append((id_, str(error))))
    )
    assert [id_ for ids, _ in found for id_ in ids] == list(pictures)[1:]
    assert left_out == [(bad, "a score of the network is NaN or infinite")]
    assert sizes[0] == 6


def test_a_device_without_memory_for_one_image_is_waited_for_and_none_is_left_out(attribution, monkeypatch):
    explain = explainers.explain
    refusals = iter(range(4))  # of six images, of three, of one, and of six once more

    def explain_later(*arguments, **options):
        if next(refusals, None) is not None:
            raise torch.OutOfMemoryError("no memory left")
        return explain(*arguments, **options)

    monkeypatch.setattr(explainers, "explain", explain_later)
    job = attribution.computed()
    result = json.loads(job.result_json)
    assert (result["images"], result["images_left_out"]) == (18, 0)
    assert not job.warnings
    assert next(refusals, None) is None


def test_computing_again_writes_nothing_and_tells_the_same(attribution, world):
    attribution.result()
    before, told = attribution.rows(), dict(world.published)
    attribution.result()
    assert attribution.rows() == before
    assert world.published == told
    assert world.publish_count == 2


def test_the_same_request_is_one_job(attribution):
    assert attribution.start_computing("once").job_id == attribution.start_computing("once").job_id


def test_an_engine_that_there_is_not_is_refused_and_starts_no_job(attribution, monkeypatch):
    request = attribution_pb2.ComputeMapsRequest(study_id=STUDY_ID, request_id="r")
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    refusals = []
    for engine in (7, types_pb2.ENGINE_RAY):
        request.engine = engine
        refusals.append(refusal(lambda: attribution.calls.ComputeMaps(request, timeout=60)))
    assert refusals == [
        (grpc.StatusCode.INVALID_ARGUMENT, "engine 7 is none of ENGINE_LOCAL, ENGINE_RAY"),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "--engine ray needs Ray where the service runs: pip install 'WHEEL[ray]' there, of the wheel that Onoma "
            "was installed from, or take --engine local, which does the same work",
        ),
    ]
    assert not attribution.jobs.ListJobs(jobs_pb2.ListJobsRequest(), timeout=60).jobs


def test_a_full_disk_fails_the_job_and_resuming_completes_it(small_shards, open_server, world, monkeypatch):
    attribution = open_server()
    put = DirectoryStore.put
    stored = []

    def put_until_full(self, data):
        if len(stored) == 2:
            raise ResourceExhausted("the disk of /data/objects is full", "DISK_FULL")
        stored.append(data)
        return put(self, data)

    monkeypatch.setattr(DirectoryStore, "put", put_until_full)
    job = attribution.computed()
    assert job.state == jobs_pb2.JOB_STATE_FAILED
    assert job.error == "the disk of /data/objects is full"
    assert world.publish_count == 0
    done = attribution.rows()
    assert len({row.shard_key for row in done}) == 2
    monkeypatch.setattr(DirectoryStore, "put", put)
    resumed = attribution.resumed(job)
    assert resumed.state == jobs_pb2.JOB_STATE_SUCCEEDED, resumed.error
    assert json.loads(resumed.result_json)["images"] == 18
    kept = {row.activation_id: row for row in attribution.rows()}
    assert all(kept[row.activation_id] == row for row in done)


def test_no_row_names_an_object_that_is_not_durable_yet(small_shards, open_server, monkeypatch):
    attribution = open_server()

    def fail(_store):
        raise ResourceExhausted("the disk of /data/objects is full", "DISK_FULL")

    monkeypatch.setattr(DirectoryStore, "flush", fail)
    assert attribution.computed().state == jobs_pb2.JOB_STATE_FAILED
    assert attribution.rows() == []


def test_a_cancelled_job_keeps_the_shards_it_did_and_goes_on_from_there(make_computing, monkeypatch):
    of = make_computing(map_batch_images=4, map_shard_images=4)
    explain = explainers.explain
    first = job_context()

    explained = []

    def explain_then_cancel(*arguments, **options):
        explained.append(explain(*arguments, **options))
        if len(explained) == 2:
            first.cancelled.set()
        return explained[-1]

    monkeypatch.setattr(explainers, "explain", explain_then_cancel)
    with pytest.raises(Cancelled):
        compute_maps(first, of)
    assert len(runs.explained_ids(of.engine, STUDY_ID, "circle")) == 4
    monkeypatch.setattr(explainers, "explain", explain)
    assert compute_maps(job_context(), of)["images"] == 18


def test_the_size_of_batches_and_shards_changes_nothing(make_computing):
    """But the last of float16's 11 digits, where two sums of float32 round to either side."""
    first, *others = (
        make_computing(f"of{size}", map_batch_images=size, map_shard_images=size) for size in (1, 3, 16, 64)
    )
    compute_maps(job_context(), first)
    one = maps_of(first)
    for of in others:
        compute_maps(job_context(), of)
        other = maps_of(of)
        assert one.keys() == other.keys()
        for key, array in one.items():
            np.testing.assert_allclose(array, other[key], atol=1e-5, rtol=2**-10)


def test_without_a_size_of_batches_it_is_chosen_by_the_device(make_computing, monkeypatch):
    of = make_computing(map_batch_images=0)
    monkeypatch.setattr("services.attribution.drawing.images_at_once", lambda _: 5)
    sizes = []
    look_at = explainers.look_at

    def counting(explainer, pictures, preprocessing):
        sizes.append(len(pictures))
        return look_at(explainer, pictures, preprocessing)

    monkeypatch.setattr(explainers, "look_at", counting)
    assert compute_maps(job_context(), of)["images"] == sum(sizes)
    assert max(sizes) == 5


def test_postgresql_holds_what_sqlite_holds(make_computing, postgresql_url):
    sqlite, postgresql = make_computing("sqlite"), make_computing("postgresql", postgresql_url)
    assert compute_maps(job_context(), postgresql) == compute_maps(job_context(), sqlite)
    one, other = maps_of(sqlite), maps_of(postgresql)
    assert list(one) == list(other)
    assert all(np.array_equal(one[key], other[key]) for key in one)


def test_a_shard_that_another_job_took_over_is_not_written_twice(make_computing, monkeypatch):
    of = make_computing()
    explain, fast = explainers.explain, []

    def explain_slowly(*arguments, **options):
        if not fast:  # the lease runs out meanwhile, and another job does it all
            fast.append(True)
            with session(of.engine) as opened:
                for row in opened.exec(select(WorkShard)):
                    row.lease_until = 0.0
            compute_maps(job_context("other"), of)
            fast.append(maps_of_any_run(of))
        return explain(*arguments, **options)

    monkeypatch.setattr(explainers, "explain", explain_slowly)
    assert compute_maps(job_context(), of)["images"] == 18
    assert maps_of_any_run(of) == fast[1]


def test_a_picture_that_ends_every_worker_is_set_aside_and_named(make_computing, world, monkeypatch):
    """A process that dies leaves its shard in the ledger as it was: here an exception that nothing catches does."""
    of = make_computing(map_batch_images=4)
    path, bad = world.images["circle"][2]
    picture_seen = drawing.picture_seen
    monkeypatch.setattr(shard_ledger, "give_back", lambda *_: None)

    def die_of_one(content, *arguments):
        if content == of.store.get(bad):
            raise Died
        return picture_seen(content, *arguments)

    monkeypatch.setattr(drawing, "picture_seen", die_of_one)
    for _ in range(2 * shard_ledger.MAX_ATTEMPTS):  # the shard, then the picture alone
        with pytest.raises(Died):
            compute_maps(job_context(), of)
    context = job_context()
    result = compute_maps(context, of)
    assert (result["images"], result["images_set_aside"]) == (17, 1)
    assert context.progress()["warnings"] == [f"{path}: set aside: the process that was at it ended"]


def test_maps_of_other_xnns_are_not_mixed_in(make_computing, world, store):
    of = make_computing()
    compute_maps(job_context(), of)
    world.xnn_set.xnns[0].weights_key = store.put(b"another")
    with pytest.raises(FailedPrecondition, match="maps of another set of xNNs than there is now"):
        compute_maps(job_context(), of)


def test_maps_of_a_data_set_that_has_changed_are_not_mixed_in(make_computing, world):
    of = make_computing()
    compute_maps(job_context(), of)
    world.dataset.content_hash = "second"
    with pytest.raises(FailedPrecondition, match="maps of another data set than there is now"):
        compute_maps(job_context(), of)


def test_a_set_of_xnns_of_another_model_is_refused_at_once(attribution, world):
    world.xnn_set.model = "other"
    assert refusal(attribution.start_computing) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "set 'xnns' explains model 'other', not 'net'",
    )


def test_a_category_without_an_xnn_is_refused_at_once(attribution, world):
    del world.xnn_set.xnns[1:]
    code, message = refusal(attribution.start_computing)
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert message == "set 'xnns' has no xNN of class 'cross', it has: 'circle' (onoma xnn train)"


class Died(BaseException):
    """As a process does that is killed."""


def job_context(job_id="job"):
    """The context of a job that nobody else looks at."""
    return JobContext(SimpleNamespace(job_id=job_id, params={"study_id": STUDY_ID}, warnings=[]))


def maps_of(of):
    """Map of each activation by what it is of; ids are salted anew for each run."""
    names = {}
    for columns in reading.activations(of.engine, STUDY_ID, ""):
        keys = zip(columns.category, columns.image_id, columns.x_feature, strict=True)
        names |= dict(zip(columns.activation_id, keys, strict=True))
    found = {}
    for columns in reading.maps(of.engine, of.store, STUDY_ID, list(names)):
        found |= dict(zip((names[id_] for id_ in columns.activation_id), map_arrays(columns), strict=True))
    return found


def maps_of_any_run(of):
    """Where every map is, of complete runs and others."""
    with Session(of.engine) as opened:
        query = select(Activation.activation_id, Activation.shard_key, Activation.shard_index)
        return sorted(map(tuple, opened.exec(query)))


def _rng():
    return np.random.default_rng(99)
