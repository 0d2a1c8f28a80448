"""All services on PostgreSQL and MinIO, on this machine, without containers: `make up-local`.

The servers of both are started beside this process and end with it; what they hold stays in the folder.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.local.minio import MinioServer, NoMinio, minio_binary, start_minio
from deploy.local.postgresql import NoPostgresql, PostgresqlServer, running_postgresql
from services.runtime.settings import RuntimeSettings
from services.up import local_settings, start_all, wait_for_signal

_OF_THE_STORE = {"object_store", "s3_endpoint", "s3_access_key", "s3_secret_key", "s3_secure"}


def main() -> None:
    """Runs all of it until Ctrl-C or SIGTERM; a second start goes on with what the first kept."""
    arguments = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    arguments.add_argument(
        "--data", type=Path, default=Path("onoma-local"), help="folder of all that is kept"
    )
    arguments.add_argument("--port", type=int, default=8080, help="of the page; 0 takes any free one")
    arguments.add_argument("--free-ports", action="store_true", help="the services take any free ports too")
    given = arguments.parse_args()
    try:
        with _alone(given.data) as lock, _storage(given.data, lock) as (postgresql, store):
            settings = _settings(given.data, postgresql, store, free_ports=given.free_ports)
            running = start_all(settings, http_port=given.port)
            try:
                print(f"Onoma is up on PostgreSQL and MinIO: {running.page_url}")
                for service, address in running.addresses.items():
                    print(f"  {service} at {address}")
                print(f"{running.reach} Ctrl-C ends it.", flush=True)
                wait_for_signal()
            finally:
                running.stop()
    except (NoMinio, NoPostgresql, OSError, ValueError) as error:
        sys.exit(f"up-local: {error}")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Keeps a second one off the folder; gives the lock's file, which MinIO holds on to as well.

    Raises:
        OSError: there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(
                f"{folder} is in use by another `make up-local`, or by the MinIO of one that was killed: end it "
                f"(fuser {folder}/lock names it), or take another folder with --data"
            ) from None
        yield lock.fileno()


@contextlib.contextmanager
def _storage(folder: Path, lock: int) -> Iterator[tuple[PostgresqlServer, MinioServer]]:
    binary = minio_binary()
    with running_postgresql(folder / "postgresql", is_durable=True) as postgresql:
        store = start_minio(binary, folder / "minio", [lock])
        try:
            yield postgresql, store
        finally:
            store.stop()


def _settings(
    folder: Path, postgresql: PostgresqlServer, store: MinioServer, *, free_ports: bool
) -> RuntimeSettings:
    places = store.settings.model_dump(include=_OF_THE_STORE) | {"database_url": postgresql.url}
    return local_settings(folder / "onoma", free_ports=free_ports).model_copy(update=places)


if __name__ == "__main__":
    main()
