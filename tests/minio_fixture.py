"""A real MinIO server for tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import minio

# Marks of a test that may be the first to need the server: the build takes minutes.
MINIO = [pytest.mark.minio, pytest.mark.timeout(minio.BUILD_S + 300)]


def needs_minio(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test with all of MINIO."""
    for mark in MINIO:
        test = mark(test)
    return test


@pytest.fixture(scope="session")
def minio_binary() -> Path:
    """The server's program; the test is skipped with the reason where it cannot be built."""
    try:
        return minio.minio_binary()
    except minio.NoMinio as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def minio_server(minio_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[minio.MinioServer]:
    """A server that has been seen to write and read; ended at once at the end of the tests."""
    server = minio.start_minio(minio_binary, tmp_path_factory.mktemp("minio"))
    yield server
    server.kill()
