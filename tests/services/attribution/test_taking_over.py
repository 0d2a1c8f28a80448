"""Maps of a study out of one installation into another: the same rows and bytes, and nothing of what does not fit."""

import json
import zlib
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToJson
from safetensors.numpy import load, save
from sqlmodel import Session, select

from onoma.v1 import attribution_pb2 as pb
from onoma.v1 import jobs_pb2
from services.attribution import reading, runs
from services.attribution.tables import Activation, ExplainedImage, MapRun
from services.attribution.taking_over import import_study_maps
from services.runtime.errors import FailedPrecondition, ServiceError
from services.runtime.job_context import JobContext
from tests.services.attribution.conftest import DEADLINE_S, refusal
from tests.services.attribution.stand_ins import STUDY_ID, random_xnn, stored_xnn

Code = grpc.StatusCode
COLUMNS = (
    "activation_id", "category", "image_id", "x_feature", "x", "contribution", "share", "map_sum", "map_scale",
    "shard_key", "shard_start", "shard_index", "crc32",
)  # fmt: skip


def given_out(attribution):
    """The whole of what GetStudyMaps gives."""
    maps = pb.StudyMaps()
    request = pb.GetStudyMapsRequest(study_id=STUDY_ID)
    for response in attribution.calls.GetStudyMaps(request, timeout=DEADLINE_S):
        maps.MergeFrom(response.maps)
    return maps


@pytest.fixture
def maps(attribution, small_shards):
    attribution.result()
    return given_out(attribution)


@pytest.fixture
def taking(make_computing, store):
    """Makes functions that take maps over, each into a database of its own."""

    def making(name, database_url=""):
        of = make_computing(name, database_url)

        def take(maps):
            data = MessageToJson(maps).encode() if isinstance(maps, pb.StudyMaps) else maps
            params = {"study_id": STUDY_ID, "object_key": store.put(data)}
            context = JobContext(SimpleNamespace(job_id="job", params=params, warnings=[]))
            return import_study_maps(context, of)

        take.engine = of.engine
        return take

    return making


@pytest.fixture
def take(taking):
    return taking("elsewhere")


def rows(engine, table, columns):
    with Session(engine) as opened:
        return sorted(tuple(getattr(row, name) for name in columns) for row in opened.exec(select(table)))


def test_rows_are_those_that_were_given_out(attribution, maps, take, world):
    result = take(maps)
    assert result["activations"] == len(maps.activations.activation_id) > 0
    has, had = rows(take.engine, Activation, COLUMNS), rows(attribution.engine, Activation, COLUMNS)
    assert has == had
    images = ("category", "image_id", "dnn_score", "xnn_score", "predicted_class", "significant_count")
    assert rows(take.engine, ExplainedImage, images) == rows(attribution.engine, ExplainedImage, images)
    assert set(world.published) == set(maps.activations.activation_id)


def test_the_same_run_is_told_of_both(attribution, maps, take):
    take(maps)
    [parts, *_] = reading.study_maps(take.engine, STUDY_ID)
    assert parts.provenance == attribution.provenance() == maps.provenance


def test_the_same_again_changes_nothing_and_others_are_refused(attribution, maps, take, world):
    first = take(maps)
    world.published = {}
    assert take(maps) == first
    assert set(world.published) == set(maps.activations.activation_id)
    maps.activations.activation_id[0] = "another"
    with pytest.raises(FailedPrecondition, match="has other maps; a study's maps have one origin"):
        take(maps)


def test_an_import_that_fails_at_its_rows_leaves_nothing(maps, take, monkeypatch):
    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(runs, "insert", full)
    with pytest.raises(OSError, match="disk full"):
        take(maps)
    monkeypatch.undo()
    assert rows(take.engine, MapRun, ("study_id",)) == []
    assert take(maps)["activations"] == len(maps.activations.activation_id)


def test_postgresql_holds_what_sqlite_holds(maps, take, taking, postgresql_url):
    there = taking("postgresql", postgresql_url)
    assert there(maps) == take(maps)
    assert rows(there.engine, Activation, COLUMNS) == rows(take.engine, Activation, COLUMNS)
    assert there(maps) == take(maps)


def test_over_the_wire_it_is_a_job(attribution, maps, store):
    """Into the study that has these maps already, where there is nothing to do."""
    key = store.put(MessageToJson(maps).encode())
    request = pb.ImportStudyMapsRequest(study_id=STUDY_ID, object_key=key, request_id="one")
    job = attribution.ended(attribution.calls.ImportStudyMaps(request, timeout=DEADLINE_S).job)
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
    assert json.loads(job.result_json)["activations"] == len(maps.activations.activation_id)
    missing = pb.ImportStudyMapsRequest(study_id=STUDY_ID, object_key="0" * 64)
    assert refusal(lambda: attribution.calls.ImportStudyMaps(missing))[0] == Code.NOT_FOUND


def test_maps_of_xnns_that_have_changed_are_not_given_out(attribution, maps, world, store):
    world.xnn_set.xnns[0].CopyFrom(stored_xnn(store, "circle", random_xnn(world.model.feature_count, 77)))
    code, details = refusal(lambda: given_out(attribution))
    assert code == Code.FAILED_PRECONDITION
    assert "the maps were made with xnn_hash" in details


def test_a_study_without_maps_gives_nothing_out(attribution):
    code, details = refusal(lambda: given_out(attribution))
    assert code == Code.FAILED_PRECONDITION
    assert "has no maps yet" in details


def _other_model(maps, store, world):
    maps.provenance.model_hash = "0" * 64


def _other_layer(maps, store, world):
    maps.provenance.map_layer = "conv0"


def _other_threshold(maps, store, world):
    maps.provenance.significant_share = 0.5


def _no_size(maps, store, world):
    maps.provenance.map_height = 0


def _column_too_short(maps, store, world):
    del maps.activations.share[-1]


def _no_place(maps, store, world):
    del maps.shard_index[-1]


def _id_twice(maps, store, world):
    maps.activations.activation_id[1] = maps.activations.activation_id[0]


def _unit_twice(maps, store, world):
    for name in ("category", "image_id", "x_feature"):
        getattr(maps.activations, name)[1] = getattr(maps.activations, name)[0]
    counts = maps.images.significant_count
    pairs = list(zip(maps.activations.category, maps.activations.image_id, strict=True))
    for i, pair in enumerate(zip(maps.images.category, maps.images.image_id, strict=True)):
        counts[i] = pairs.count(pair)


def _not_finite(maps, store, world):
    maps.activations.contribution[0] = np.nan


def _no_such_shard(maps, store, world):
    maps.shard[0] = len(maps.shard_keys)


def _place_outside(maps, store, world):
    maps.shard_index[0] = 10_000


def _shard_not_there(maps, store, world):
    maps.shard_keys[0] = "0" * 64


def _no_shard(maps, store, world):
    maps.shard_keys[0] = store.put(b"no safetensors file")


def _reshaped(given, store, **changes):
    tensors = load(store.get(given.shard_keys[0]))
    given.shard_keys[0] = store.put(
        save({**tensors, **{name: change(tensors) for name, change in changes.items()}})
    )


def _shard_of_other_sizes(maps, store, world):
    _reshaped(maps, store, maps=lambda tensors: tensors["maps"][:, :-1].copy())


def _shard_with_infinity(maps, store, world):
    _reshaped(maps, store, maps=lambda tensors: np.full_like(tensors["maps"], np.inf))


def _shard_with_negative_scale(maps, store, world):
    _reshaped(maps, store, scales=lambda tensors: -1 - tensors["scales"])


def _shard_of_other_units(maps, store, world):
    _reshaped(maps, store, x_features=lambda tensors: tensors["x_features"] + 1)


def _image_not_here(maps, store, world):
    gone = maps.images.image_id[0]
    for name, images in world.images.items():
        world.images[name] = [one for one in images if one[1] != gone]


def _count_that_is_not(maps, store, world):
    maps.images.significant_count[0] += 1


def _score_not_finite(maps, store, world):
    maps.images.dnn_score[0] = np.inf


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_other_model, "the maps were made with model_hash '000"),
        (_other_layer, "the maps were made with map_layer 'conv0'"),
        (_other_threshold, "the maps were made with significant_share 0.5"),
        (_no_size, "maps of 0 x"),
        (_column_too_short, "column share has"),
        (_no_place, "places in them"),
        (_id_twice, "activation id .* comes twice"),
        (_unit_twice, "X-feature .* comes twice"),
        (_not_finite, r"\(number 1\) has an id, value or shard that cannot be"),
        (_no_such_shard, "has an id, value or shard that cannot be"),
        (_place_outside, "is said to be map 10000 of shard"),
        (_shard_not_there, "no object has the key 000.*upload the shards first"),
        (_no_shard, "is no shard of these maps: it is no safetensors file"),
        (_shard_of_other_sizes, "is no shard of these maps: its maps are"),
        (_shard_with_infinity, r"a map has a value outside \[0, 1\]"),
        (_shard_with_negative_scale, "the scale of a map is negative"),
        (_shard_of_other_units, "has no such map of its X-feature"),
        (_image_not_here, "has no image .* its data set 'shapes' lacks it"),
        (_count_that_is_not, "significant activations; it has another number of them"),
        (_score_not_finite, "a score of an image is NaN or infinite"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_leaves_nothing(maps, take, store, world, spoil, words):
    spoil(maps, store, world)
    with pytest.raises(ServiceError, match=words):
        take(maps)
    assert rows(take.engine, MapRun, ("study_id",)) == []


@pytest.mark.parametrize("data", [b"\xff", b"[1]", b'{"colour": 1}', b"[" * 100_000])
def test_what_is_no_json_of_the_message_is_refused(maps, take, data):
    with pytest.raises(ServiceError, match="is no StudyMaps in protobuf's JSON"):
        take(data)


def test_a_checksum_is_of_the_bytes_that_came(maps, take, store):
    take(maps)
    with Session(take.engine) as opened:
        row = opened.exec(select(Activation)).first()
    size = maps.provenance.map_height * maps.provenance.map_width * 2
    begin = row.shard_start + row.shard_index * size
    assert zlib.crc32(store.get_range(row.shard_key, begin, size)) == row.crc32
