"""Fixtures that several folders of tests share: servers, and a study that is open for naming."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

from onoma.client import Addresses, Client
from onoma.v1 import inference_pb2, naming_pb2
from services.up import Up, local_settings, start_all
from tests.short_fits import short_fits
from tests.synthetic import tiny_program, write_image_folder

# What else the machine does must not fail an example of a property. Here, before any module makes settings of its own.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")
pytest_plugins = ["tests.minio_fixture", "tests.postgresql_fixture", "tests.ray_fixture"]


def pytest_configure() -> None:
    """The tests' products are small: a second core gains little, and costs tenfold where others use it. So it is in the
    processes that tests start.
    """
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """What is imported by now stays: walking over it again and again is a tenth of the time of tests that export."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def pytest_unconfigure() -> None:
    """At the end it may go: extensions complain of what is left."""
    gc.unfreeze()


@dataclass(frozen=True)
class OpenStudy:
    """What the main job leaves behind, up to naming."""

    running: Up
    client: Client
    study: naming_pb2.Study
    images: Path


@pytest.fixture(scope="session")
def open_study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenStudy]:
    """All services in one process, and the main job done on synthetic pictures."""
    with study_with_maps(tmp_path_factory.mktemp("main-job")) as study:
        yield study


@contextmanager
def study_with_maps(folder: Path, **places: Any) -> Iterator[OpenStudy]:
    """The same in a folder, until the end of the block.

    Args:
        places: settings of where rows and objects are kept; by default in the folder.
    """
    images = write_image_folder(folder / "shapes")
    settings = local_settings(folder / "data", free_ports=True).model_copy(update=places)
    running = start_all(settings, http_port=0)
    try:
        with Client(Addresses(**running.addresses)) as client:
            client.import_dataset("shapes", str(images)).wait()
            client.register_model("tiny", tiny_program(images)).wait()
            short = inference_pb2.XnnSettings(epochs=4, batch_size=24)
            with short_fits():
                client.train_xnn("tiny", "tiny", "shapes", settings=short).wait()
            study = client.create_study("shapes", "tiny", "shapes", "tiny", ["circle", "cross", "square"])
            client.compute_maps(study.study_id).wait()
            yield OpenStudy(running, client, client.open_study(study.study_id), images)
    finally:
        running.stop()
