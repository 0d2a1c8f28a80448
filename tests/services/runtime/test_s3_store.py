"""What only an S3 server can do to its clients."""

from io import BytesIO

import pytest

from deploy.local.minio import start_minio
from services.runtime.errors import DataLoss, FailedPrecondition, Unavailable
from services.runtime.objects import open_object_store
from services.runtime.s3_store import S3Store
from services.runtime.settings import RuntimeSettings
from tests.minio_fixture import needs_minio


@needs_minio
def test_a_damaged_object_is_data_loss_that_names_the_key(minio_server):
    store = S3Store(minio_server.settings)
    key = store.put(b"original")
    store._client.put_object(bucket_name="onoma", object_name=key, data=BytesIO(b"0riginal"), length=8)
    with pytest.raises(DataLoss, match=key):
        store.get(key)


@needs_minio
def test_wrong_credentials_are_named_at_the_start(minio_server):
    with pytest.raises(FailedPrecondition, match="ONOMA_S3_SECRET_KEY"):
        S3Store(minio_server.settings.model_copy(update={"s3_secret_key": "wrong-secret"}))


@needs_minio
def test_a_server_that_went_away_is_unavailable_and_named(minio_binary, tmp_path):
    server = start_minio(minio_binary, tmp_path)
    try:
        store = S3Store(server.settings)
        key = store.put(b"kept")
        server.process.kill()
        server.process.wait()
        with pytest.raises(Unavailable, match=server.settings.s3_endpoint):
            store.get(key)
    finally:
        server.kill()


@needs_minio
def test_a_bucket_that_was_removed_is_no_empty_store(minio_server):
    store = S3Store(minio_server.settings.model_copy(update={"s3_bucket": "here-and-gone"}))
    store._client.remove_bucket(bucket_name="here-and-gone")
    for look in (store.check, lambda: store.exists("0" * 64)):
        with pytest.raises(Unavailable, match="no bucket here-and-gone now"):
            look()


def test_a_server_that_is_not_there_is_unavailable_and_named():
    settings = RuntimeSettings(
        object_store="s3",
        s3_endpoint="127.0.0.1:1",
        s3_access_key="someone",
        s3_secret_key="something",
        s3_secure=False,
    )
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 does not answer"):
        open_object_store(settings)
