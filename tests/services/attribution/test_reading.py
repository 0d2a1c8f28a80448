"""What a computed study gives out: lists in their order, maps in the order asked for, and only whole ones."""

import json
from importlib.metadata import version

import grpc
import numpy as np
from google.protobuf.json_format import ParseDict
from sqlmodel import select

from onoma.science.excitation import RULES_REVISION
from onoma.v1 import attribution_pb2 as pb
from onoma.v1 import types_pb2
from services.attribution import reading
from services.attribution.tables import Activation, MapRun
from services.runtime.database import session
from tests.services.attribution.conftest import refusal

Code = grpc.StatusCode


def test_activations_come_by_category_image_and_x_feature(attribution):
    attribution.result()
    columns = attribution.activations()
    keys = list(zip(columns.category, columns.image_id, columns.x_feature, strict=True))
    assert keys == sorted(keys)
    assert set(columns.category) == {"circle", "cross", "square"}


def test_activations_of_one_category_are_those_of_the_list(attribution):
    attribution.result()
    whole, part = attribution.activations(), attribution.activations("cross")
    expected = [
        id_ for id_, category in zip(whole.activation_id, whole.category, strict=True) if category == "cross"
    ]
    assert list(part.activation_id) == expected
    assert not attribution.activations("no such category").activation_id


def test_shares_of_an_image_hold_nine_tenths_and_not_more_than_needed(attribution):
    attribution.result()
    columns = attribution.activations()
    by_image = {}
    for category, image_id, share in zip(columns.category, columns.image_id, columns.share, strict=True):
        by_image.setdefault((category, image_id), []).append(share)
    for shares in by_image.values():
        assert sum(shares) >= 0.9 - 1e-6
        assert sum(shares) - min(shares) < 0.9


def test_ids_are_opaque_and_another_study_has_others(attribution):
    attribution.result()
    ids = list(attribution.activations().activation_id)
    assert len(set(ids)) == len(ids)
    assert all(len(id_) == 16 and set(id_) <= set("0123456789abcdef") for id_ in ids)
    with session(attribution.engine) as opened:
        salt = opened.get(MapRun, "study1").salt
    assert len(bytes.fromhex(salt)) == 16


def test_maps_come_in_the_order_asked_for(attribution):
    attribution.result()
    ids = list(attribution.activations().activation_id)
    asked = [*ids[::-1], ids[0]]
    batches = attribution.map_columns(asked)
    assert [id_ for columns in batches for id_ in columns.activation_id] == asked
    whole = attribution.maps(ids)
    for id_ in ids[:3]:
        np.testing.assert_array_equal(attribution.maps([id_])[id_], whole[id_])


def test_many_maps_come_in_several_messages(attribution, monkeypatch):
    monkeypatch.setattr(reading, "_BYTES_AT_ONCE", 4 * 16 * 16 * 2)
    attribution.result()
    ids = list(attribution.activations().activation_id)
    batches = attribution.map_columns(ids)
    assert {len(columns.activation_id) for columns in batches[:-1]} == {4}
    assert [id_ for columns in batches for id_ in columns.activation_id] == ids


def test_an_unknown_map_refuses_the_whole_call(attribution):
    attribution.result()
    known = attribution.activations().activation_id[0]
    assert refusal(lambda: attribution.map_columns([known, "0" * 16])) == (
        Code.NOT_FOUND,
        f"study 'study1' has no activation '{'0' * 16}'",
    )


def test_too_many_maps_are_refused(attribution):
    attribution.result()
    code, message = refusal(lambda: attribution.map_columns(["a"] * 10_001))
    assert (code, message) == (Code.INVALID_ARGUMENT, "10001 maps in one call; at most 10000 are given")


def test_nothing_is_given_out_before_the_maps_are_computed(attribution):
    for call in (attribution.activations, attribution.images, lambda: attribution.map_columns(["a"])):
        code, message = refusal(call)
        assert code == Code.FAILED_PRECONDITION
        assert message == "study 'study1' has no maps yet (onoma maps compute STUDY, or onoma maps import)"


def test_nothing_is_given_out_while_maps_are_being_drawn(attribution):
    attribution.result()
    with session(attribution.engine) as opened:
        opened.get(MapRun, "study1").is_complete = False
    for call in (attribution.activations, attribution.images, lambda: attribution.map_columns(["a"])):
        code, message = refusal(call)
        assert code == Code.FAILED_PRECONDITION
        assert "are still being drawn" in message


def test_a_damaged_shard_is_never_given_out(attribution, tmp_path):
    attribution.result()
    first = attribution.rows()[0]
    [path] = tmp_path.glob(f"objects/**/{first.shard_key}*")
    content = bytearray(path.read_bytes())
    content[first.shard_start] ^= 64
    path.chmod(0o600)
    path.write_bytes(content)
    ids = attribution.activations().activation_id
    code, message = refusal(lambda: attribution.map_columns(ids))
    assert code == Code.DATA_LOSS
    assert "with maps is damaged; restore it from a backup" in message


def test_a_shard_that_is_gone_is_named(attribution, store):
    attribution.result()
    key = attribution.rows()[0].shard_key
    store.delete(key)
    code, message = refusal(lambda: attribution.map_columns(attribution.activations().activation_id))
    assert code == Code.DATA_LOSS
    assert message.startswith(f"object {key} with maps is gone")


def test_what_made_the_maps_is_given_out(attribution, world):
    attribution.result()
    found = attribution.provenance()
    model = world.model
    assert (found.method, found.model, found.model_hash) == ("Excitation Backprop", "net", model.model_hash)
    assert (found.attachment_layer, found.map_layer) == (model.attachment_layer, model.map_layer)
    assert (found.map_height, found.map_width) == (model.map_height, model.map_width)
    assert (found.mode, found.contrastive) == (types_pb2.EXCITATION_MODE_LOCAL, True)
    assert (found.xnn_set, found.dataset, found.dataset_hash) == ("xnns", "shapes", "first")
    assert (found.significant_share, found.onoma_version) == (0.9, version("onoma"))
    assert (found.archive_hash, found.parameters_json) == (
        "",
        f'{{"precision": "float32", "rules": {RULES_REVISION}}}',
    )


def test_a_shard_says_what_made_its_maps_and_what_they_are_of(attribution, store):
    attribution.result()
    rows = attribution.rows()
    data = store.get(rows[0].shard_key)
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    assert metadata["study_id"] == "study1"
    assert ParseDict(json.loads(metadata["provenance"]), pb.MapProvenance()) == attribution.provenance()
    image_ids, categories = json.loads(metadata["image_ids"]), json.loads(metadata["categories"])
    for row in rows:
        assert image_ids[row.shard_index] == row.image_id
        assert categories[row.shard_index] == row.category


def test_shards_of_before_they_had_a_header_are_read(attribution, store):
    attribution.result()
    ids = list(attribution.activations().activation_id)
    whole = attribution.maps(ids)
    [start], [key] = (
        {getattr(row, name) for row in attribution.rows()} for name in ("shard_start", "shard_key")
    )
    bare = store.put(store.get(key)[start:])
    with session(attribution.engine) as opened:
        for row in opened.exec(select(Activation)):
            row.shard_key, row.shard_start = bare, 0
    for id_, array in attribution.maps(ids).items():
        np.testing.assert_array_equal(array, whole[id_])
