"""What every object store does, on a directory and on a real MinIO server."""

import errno
import hashlib
import os
import time

import pytest

from services.attribution.service import build as build_attribution
from services.inference.service import build as build_inference
from services.runtime import directory_store, s3_store
from services.runtime.directory_store import DirectoryStore
from services.runtime.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from services.runtime.objects import ObjectStore, open_object_store, open_place, store_place
from services.runtime.settings import RuntimeSettings
from tests.minio_fixture import MINIO, needs_minio

ABSENT = "0" * 64


@pytest.fixture(params=["directory", pytest.param("s3", marks=MINIO)])
def store(request: pytest.FixtureRequest, tmp_path) -> ObjectStore:
    if request.param == "directory":
        return open_object_store(RuntimeSettings(data_dir=tmp_path))
    server = request.getfixturevalue("minio_server")
    bucket = f"test-{os.urandom(8).hex()}"
    return open_object_store(server.settings.model_copy(update={"s3_bucket": bucket}))


@pytest.mark.parametrize("build", [build_inference, build_attribution], ids=["inference", "attribution"])
def test_a_service_does_not_start_on_a_store_that_cannot_be_written(build, tmp_path, monkeypatch):
    def broken(_path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(directory_store, "sync", broken)
    with pytest.raises(Unavailable, match=f"{tmp_path}.* cannot be written: Input/output error"):
        build(RuntimeSettings(data_dir=tmp_path))
    assert not list((tmp_path / "objects" / "incoming").iterdir())


def test_a_proof_leaves_nothing(store):
    store.prove()
    assert list(store.keys()) == []


def test_bytes_come_back_by_their_hash(store):
    key = store.put(b"an image")
    assert key == hashlib.sha256(b"an image").hexdigest()
    assert store.get(key) == b"an image"


def test_nothing_at_all_is_an_object_too(store):
    assert store.get(store.put(b"")) == b""


def test_an_object_of_many_parts_comes_back_whole(store):
    data = os.urandom(12_000_000)
    assert store.get(store.put(data)) == data


def test_the_same_bytes_twice_are_kept_once(store):
    assert store.put(b"same") == store.put(b"same")
    assert len(list(store.keys())) == 1


def test_a_range_is_the_bytes_from_there_on(store):
    assert store.get_range(store.put(b"0123456789"), 3, 4) == b"3456"


def test_a_range_of_no_bytes_is_empty(store):
    assert store.get_range(store.put(b"0123456789"), 3, 0) == b""


@pytest.mark.parametrize("offset", [8, 10, 1000])
def test_a_range_beyond_the_end_is_data_loss_that_names_the_key(store, offset):
    key = store.put(b"0123456789")
    with pytest.raises(DataLoss, match=key):
        store.get_range(key, offset, 4)


def test_a_range_before_the_beginning_is_refused(store):
    with pytest.raises(InvalidArgument, match="-1"):
        store.get_range(store.put(b"0123456789"), -1, 4)


def test_an_absent_object_is_not_found_by_any_way_of_reading(store):
    for read in (store.get, store.size, lambda key: store.get_range(key, 0, 1)):
        with pytest.raises(NotFound, match=ABSENT):
            read(ABSENT)
    assert not store.exists(ABSENT)


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "A" * 64, "0" * 63, f"{ABSENT}\n"])
def test_a_key_that_is_none_is_refused_before_anything_is_touched(store, key):
    for use in (store.get, store.exists, store.size, store.delete):
        with pytest.raises(InvalidArgument, match="object key"):
            use(key)


def test_size_and_existence_are_known(store):
    key = store.put(b"four")
    assert store.size(key) == 4
    assert store.exists(key)


def test_a_deleted_object_is_gone_and_may_be_deleted_again(store):
    key = store.put(b"old")
    store.delete(key)
    store.delete(key)
    assert not store.exists(key)
    assert list(store.keys()) == []


def test_an_abandoned_object_goes_unless_it_was_put_of_late(store):
    key = store.put(b"abandoned")
    assert not store.delete_abandoned(key, age_s=60)
    assert store.get(key) == b"abandoned"
    assert store.delete_abandoned(key, age_s=-1)
    assert not store.exists(key)
    assert store.delete_abandoned(key, age_s=60)


def test_an_object_that_is_put_again_is_as_new(store, monkeypatch):
    key = store.put(b"old")
    if isinstance(store, DirectoryStore):
        os.utime(store._file(key), (0, 0))
    else:
        monkeypatch.setattr(s3_store, "_REFRESH_S", 0.5)
        time.sleep(3.1)  # the server tells ages in seconds, of what was just put up to one too many
    assert store.put(b"old") == key
    assert not store.delete_abandoned(key, age_s=2)


def test_keys_are_those_of_all_objects(store):
    keys = {store.put(bytes([number])) for number in range(20)}
    assert set(store.keys()) == keys


def test_what_was_flushed_is_there_for_a_second_store(store, request):
    key = store.put(b"shared")
    store.flush()
    other = DirectoryStore(store._path) if isinstance(store, DirectoryStore) else store
    assert other.get(key) == b"shared"


def test_a_worker_elsewhere_opens_the_services_store_and_no_other(tmp_path):
    settings = RuntimeSettings(data_dir=tmp_path / "service")
    key = open_object_store(settings).put(b"a network")
    assert open_place(store_place(settings), key).get(key) == b"a network"
    other = store_place(RuntimeSettings(data_dir=tmp_path / "other"))
    with pytest.raises(
        FailedPrecondition, match=rf"{tmp_path}/other, has no object {key}.*ONOMA_OBJECT_STORE=s3"
    ):
        open_place(other, key)


def test_a_worker_opens_the_store_from_an_image_that_lets_servers_listen_everywhere(tmp_path, monkeypatch):
    settings = RuntimeSettings(data_dir=tmp_path)
    key = open_object_store(settings).put(b"a network")
    monkeypatch.setenv("ONOMA_HOST", "0.0.0.0")  # as the images do; a worker has no keys of servers
    assert open_place(store_place(settings), key).get(key) == b"a network"


@needs_minio
def test_where_an_s3_store_is_goes_to_other_machines_without_its_secrets(minio_server, monkeypatch):
    settings = minio_server.settings.model_copy(update={"s3_bucket": f"test-{os.urandom(8).hex()}"})
    key, place = open_object_store(settings).put(b"a network"), store_place(settings)
    secrets = {
        "ONOMA_S3_ACCESS_KEY": settings.s3_access_key,
        "ONOMA_S3_SECRET_KEY": settings.s3_secret_key,
    }
    assert not set(secrets.values()) & set(place.values())
    for name, secret in secrets.items():
        monkeypatch.setenv(name, secret)
    assert open_place(place, key).get(key) == b"a network"
