"""Fixtures that several folders of tests share: servers, and a study that is open for naming."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from onoma.client import Addresses, Client
from onoma.v1 import inference_pb2, naming_pb2
from services.up import Up, local_settings, start_all
from tests.synthetic import tiny_program, write_image_folder

pytest_plugins = ["tests.minio_fixture", "tests.postgresql_fixture"]


def pytest_configure() -> None:
    """The tests' products are small: a second core gains little, and costs tenfold where others use it."""
    torch.set_num_threads(1)


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
    folder = tmp_path_factory.mktemp("main-job")
    images = write_image_folder(folder / "shapes")
    running = start_all(local_settings(folder / "data", free_ports=True), http_port=0)
    try:
        with Client(Addresses(**running.addresses)) as client:
            client.import_dataset("shapes", str(images)).wait()
            client.register_model("tiny", tiny_program(images)).wait()
            settings = inference_pb2.XnnSettings(epochs=4, batch_size=24)
            client.train_xnn("tiny", "tiny", "shapes", settings=settings).wait()
            study = client.create_study("shapes", "tiny", "shapes", "tiny", ["circle", "cross", "square"])
            client.compute_maps(study.study_id).wait()
            yield OpenStudy(running, client, client.open_study(study.study_id), images)
    finally:
        running.stop()
