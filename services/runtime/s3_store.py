"""Objects in a bucket of an S3 server, by the minio client."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO

import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.error import MinioException, S3Error

from services.runtime.errors import FailedPrecondition, ResourceExhausted, Unavailable
from services.runtime.object_keys import (
    check_bytes,
    check_key,
    check_length,
    check_range,
    is_key,
    key_of,
    no_object,
)
from services.runtime.settings import RuntimeSettings

_ABSENT = ("NoSuchKey", "NoSuchObject")
_FULL = ("XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded")
_REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed")
# From that age on a put writes what is there again, so that it is not taken for abandoned: S3 has no touch.
_REFRESH_S = 3600
_RETRIES = urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504))
_TIMEOUT = urllib3.Timeout(connect=5, read=60)
_CHECK_TIMEOUT = urllib3.Timeout(connect=2, read=2)


class S3Store:
    """Objects in a bucket of an S3 server; durable as soon as put returns."""

    def __init__(self, settings: RuntimeSettings, *, make: bool = True) -> None:
        self._endpoint = settings.s3_endpoint
        self._bucket = settings.s3_bucket
        self._client = _client(settings, _TIMEOUT, _RETRIES)
        self._impatient = _client(settings, _CHECK_TIMEOUT, urllib3.Retry(total=0))
        with self._translated():
            is_there = self._client.bucket_exists(bucket_name=self._bucket)
            if not is_there and make:
                self._make_bucket()
        if not is_there and not make:
            raise Unavailable(
                f"the object store at {self._endpoint} has no bucket '{self._bucket}'; ONOMA_S3_BUCKET names it",
                "OBJECT_STORE_SILENT",
            )

    def put(self, data: bytes, *, again: bool = False) -> str:
        """See ObjectStore."""
        key = key_of(data)
        known = None if again else self._known(key)
        if known is None or known.size != len(data) or _age_s(known) > _REFRESH_S:
            with self._translated():
                self._client.put_object(
                    bucket_name=self._bucket, object_name=key, data=BytesIO(data), length=len(data)
                )
        return key

    def get(self, key: str) -> bytes:
        """See ObjectStore."""
        data = self._read(key, 0, 0)
        check_bytes(key, data)
        return data

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        """See ObjectStore."""
        check_range(offset, size)
        if size == 0:
            self.size(key)  # an object has to be there all the same
            return b""
        data = self._read(key, offset, size)
        check_length(key, offset, size, len(data))
        return data

    def exists(self, key: str) -> bool:
        """See ObjectStore."""
        if self._known(key) is not None:
            return True
        self.check()
        return False

    def size(self, key: str) -> int:
        """See ObjectStore."""
        known = self._known(key)
        if known is None or known.size is None:
            raise no_object(key)
        return known.size

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        check_key(key)
        with self._translated():
            self._client.remove_object(bucket_name=self._bucket, object_name=key)

    def delete_abandoned(self, key: str, age_s: float) -> bool:
        """See ObjectStore; S3 has no conditional deletion, so a put in the milliseconds of this call is not seen."""
        known = self._known(key)
        if known is not None and _age_s(known) < age_s:
            return False
        self.delete(key)
        return True

    def keys(self) -> Iterator[str]:
        """See ObjectStore."""
        with self._translated():
            for item in self._client.list_objects(bucket_name=self._bucket):
                if item.object_name and is_key(item.object_name):
                    yield item.object_name

    def flush(self) -> None:
        """Nothing to wait for: the server answers a put when it is durable."""

    def prove(self) -> None:
        """See ObjectStore."""
        key = self.put(secrets.token_bytes(64))
        try:
            self.get(key)
        finally:
            self.delete(key)

    def check(self) -> None:
        """See ObjectStore; a bucket that was removed is no empty store."""
        with self._translated():
            if self._impatient.bucket_exists(bucket_name=self._bucket):
                return
        raise Unavailable(
            f"the object store has no bucket {self._bucket} now; put it back, or say which it is with ONOMA_S3_BUCKET",
            "OBJECT_STORE_SILENT",
        )

    def _known(self, key: str) -> Object | None:
        """What the server says of an object; None where it has none."""
        check_key(key)
        with self._translated():
            try:
                return self._client.stat_object(bucket_name=self._bucket, object_name=key)
            except S3Error as error:
                if error.code in _ABSENT:
                    return None
                raise

    def _read(self, key: str, offset: int, size: int) -> bytes:
        """`size` bytes, or all of them for 0: the client's convention."""
        check_key(key)
        with self._translated():
            try:
                response = self._client.get_object(
                    bucket_name=self._bucket, object_name=key, offset=offset, length=size
                )
            except S3Error as error:
                if error.code in _ABSENT:
                    raise no_object(key) from error
                if error.code == "InvalidRange":  # it begins after the end
                    return b""
                raise
            try:
                return response.read()
            finally:
                response.close()
                response.release_conn()

    def _make_bucket(self) -> None:
        try:
            self._client.make_bucket(bucket_name=self._bucket)
        except S3Error as error:
            if error.code != "BucketAlreadyOwnedByYou":  # another service made it first
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Service errors for what the minio client raises."""
        try:
            yield
        except S3Error as error:
            code = error.code or "no reason given"
            if code in _FULL:
                raise ResourceExhausted(
                    f"the object store at {self._endpoint} is full; free space there and resume", "DISK_FULL"
                ) from error
            if code in _REFUSED:
                raise FailedPrecondition(
                    f"the object store at {self._endpoint} refuses bucket '{self._bucket}' ({code}); "
                    "check ONOMA_S3_ACCESS_KEY, ONOMA_S3_SECRET_KEY and ONOMA_S3_REGION",
                    "OBJECT_STORE_REFUSED",
                ) from error
            raise Unavailable(
                f"the object store at {self._endpoint} failed: {code}", "OBJECT_STORE_FAILED"
            ) from error
        except (urllib3.exceptions.HTTPError, MinioException, OSError) as error:
            raise Unavailable(
                f"the object store at {self._endpoint} does not answer ({type(error).__name__}); "
                "check that it runs and that ONOMA_S3_ENDPOINT and ONOMA_S3_SECURE are right",
                "OBJECT_STORE_SILENT",
            ) from error


def _age_s(known: Object) -> float:
    if known.last_modified is None:
        return 0.0
    return (datetime.now(UTC) - known.last_modified).total_seconds()


def _client(settings: RuntimeSettings, timeout: urllib3.Timeout, retries: urllib3.Retry) -> Minio:
    pool = urllib3.PoolManager(maxsize=settings.grpc_workers, timeout=timeout, retries=retries)
    return Minio(
        endpoint=settings.s3_endpoint,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
        region=settings.s3_region,
        secure=settings.s3_secure,
        http_client=pool,
    )
