"""Installations with a study that is open for naming, on both pairs of database and object store."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from onoma.client import Addresses, Client
from onoma.v1 import inference_pb2
from services.runtime.database import SERVICES_WITH_DATABASE
from services.runtime.objects import open_object_store
from services.runtime.settings import RuntimeSettings
from services.up import local_settings, start_all
from tests.minio_fixture import MINIO
from tests.short_fits import short_fits
from tests.synthetic import tiny_program, write_image_folder

CATEGORY = "circle"
PAIRS = ["sqlite", pytest.param("postgresql", marks=MINIO)]


@contextmanager
def running(settings: RuntimeSettings) -> Iterator[Client]:
    """All services of an installation, and its owner's client."""
    up = start_all(settings, http_port=None)
    try:
        with Client(Addresses(**up.addresses)) as client:
            yield client
    finally:
        up.stop()


def on_postgresql(request: pytest.FixtureRequest, folder: Path, name: str) -> RuntimeSettings:
    """An installation on a database and a bucket of this name, that are made."""
    socket = request.getfixturevalue("postgresql_server")
    store = request.getfixturevalue("minio_server").settings
    with psycopg.connect(host=socket, user="onoma", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    keys = store.model_dump(
        include={"object_store", "s3_endpoint", "s3_access_key", "s3_secret_key", "s3_secure"}
    )
    url = f"postgresql+psycopg://onoma@/{name}?host={socket}"
    return local_settings(folder, free_ports=True).model_copy(
        update={**keys, "database_url": url, "s3_bucket": name.replace("_", "-")}
    )


class Installation:
    """One with a study that is open for naming, and how to make an empty one of the same kind."""

    def __init__(
        self, settings: RuntimeSettings, study_id: str, empty: Callable[[], RuntimeSettings]
    ) -> None:
        self.settings, self.study_id, self.empty = settings, study_id, empty


@pytest.fixture(scope="module", params=PAIRS)
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("backed-up")

    def empty() -> RuntimeSettings:
        name = f"onoma_{uuid.uuid4().hex[:8]}"
        if request.param == "sqlite":
            return local_settings(folder / name, free_ports=True)
        return on_postgresql(request, folder / name, name)

    settings = empty()
    images = write_image_folder(folder / "shapes")
    with running(settings) as client:
        client.import_dataset("shapes", str(images)).wait()
        client.register_model("tiny", tiny_program(images)).wait()
        training = inference_pb2.XnnSettings(epochs=2, batch_size=24)
        with short_fits():
            client.train_xnn("tiny", "tiny", "shapes", settings=training).wait()
        study = client.create_study("shapes", "tiny", "shapes", "tiny", [CATEGORY, "cross"])
        client.compute_maps(study.study_id).wait()
        client.open_study(study.study_id)
    return Installation(settings, study.study_id, empty)


def rows(settings: RuntimeSettings) -> dict[str, list[Any]]:
    """Every row of every table of every service."""
    found = {}
    for name in SERVICES_WITH_DATABASE:
        url = settings.database_url or f"sqlite:///{settings.data_dir / name}.db"
        schema = name if settings.database_url else None
        engine, tables = sa.create_engine(url), sa.MetaData(schema)
        tables.reflect(engine)
        with engine.connect() as connection:
            for table in tables.sorted_tables:
                found[f"{name}.{table.name}"] = sorted(map(repr, connection.execute(sa.select(table))))
        engine.dispose()
    return found


def objects(settings: RuntimeSettings) -> dict[str, bytes]:
    """Every object."""
    store = open_object_store(settings)
    return {key: store.get(key) for key in list(store.keys())}
