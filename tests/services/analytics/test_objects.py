"""Where concepts lie, over the real inference service: boxes and part points of CUB-200-2011's form."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from onoma.v1 import analytics_pb2 as pb
from onoma.v1 import analytics_pb2_grpc, attribution_pb2_grpc, jobs_pb2, naming_pb2_grpc
from services.analytics.service import build
from services.runtime.server import start
from services.runtime.settings import RuntimeSettings
from tests import synthetic
from tests.services.analytics.stand_ins import STUDY_ID, StandInAttribution, StandInNaming, World
from tests.services.inference.conftest import serving
from tests.services.inference.folders import png

BIRD = "001.Bird"
HEIGHT, WIDTH = 20, 40
NEAR, FAR = (5.0, 5.0), (35.0, 15.0)
DEADLINE_S = 60


def cub_folder(folder: Path, *, boxes: bool) -> Path:
    """Four pictures: the first two show a part at NEAR, the third and fourth none."""
    files = {
        "classes.txt": [f"1 {BIRD}", "2 002.Other"],
        "images.txt": [f"{n} {BIRD}/{n}.png" for n in range(1, 5)],
        "image_class_labels.txt": [f"{n} 1" for n in range(1, 5)],
        "train_test_split.txt": [f"{n} 0" for n in range(1, 5)],
        "parts/parts.txt": ["1 beak", "2 tail"],
        "parts/part_locs.txt": [
            f"{n} {part} {NEAR[0]} {NEAR[1]} {int(n < 3 and part == 1)}"
            for n in range(1, 5)
            for part in (1, 2)
        ],
    }
    if boxes:
        files["bounding_boxes.txt"] = [f"{n} 20 0 20 20" for n in range(1, 5)]
    (folder / "parts").mkdir(parents=True)
    (folder / "images" / BIRD).mkdir(parents=True)
    for name, lines in files.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    for n in range(1, 5):
        (folder / "images" / BIRD / f"{n}.png").write_bytes(png(n, HEIGHT, WIDTH))
    return folder


def a_map_at(point: tuple[float, float]) -> np.ndarray:
    """All of the mass in the cell of a picture's point, (10, 20) cells of two pixels."""
    values = np.zeros((HEIGHT // 2, WIDTH // 2))
    values[int(point[1]) // 2, int(point[0]) // 2] = 1
    return values


def birds() -> World:
    """Concept 'beak' looks at NEAR and 'sky' at FAR, each on the four images."""
    names = [f"images/{BIRD}/{n}.png" for n in range(1, 5)]
    activations = {f"{concept}{n}": [names[n - 1], "x0"] for concept in ("beak", "sky") for n in range(1, 5)}
    concepts = [
        {"name": concept, "activations": [f"{concept}{n}" for n in range(1, 5)]}
        for concept in ("beak", "sky")
    ]
    return World(
        namings={"A1": {BIRD: {"concepts": concepts, "discarded": []}}},
        annotators=["A1"],
        categories={BIRD: {"images": names, "activations": activations}},
        maps={id_: a_map_at(NEAR if id_.startswith("beak") else FAR) for id_ in activations},
    )


@pytest.fixture
def places_of(tmp_path: Path) -> Callable[[Path], dict[str, dict[str, Any]]]:
    """Imports a CUB-like folder, and asks the analytics service where the concepts of `birds` lie."""
    shapes = synthetic.write_image_folder(tmp_path / "shapes", train=2, test=1)

    def ask(folder: Path) -> dict[str, dict[str, Any]]:
        with serving(tmp_path / "onoma-data", tmp_path) as inference:
            inference.dataset(folder, "d")
            job = inference.registered(synthetic.tiny_program(shapes, steps=1), "m")
            assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
            world = birds()
            world.image_ids.update({image.path: image.image_id for image in inference.images("d")})
            return ask_analytics(world, inference.address)

    return ask


def ask_analytics(world: World, inference_address: str) -> dict[str, dict[str, Any]]:
    peers = grpc.server(ThreadPoolExecutor(4))
    attribution_pb2_grpc.add_AttributionServiceServicer_to_server(StandInAttribution(world), peers)
    naming_pb2_grpc.add_NamingServiceServicer_to_server(StandInNaming(world, dataset="d"), peers)
    address = f"127.0.0.1:{peers.add_insecure_port('127.0.0.1:0')}"
    peers.start()
    settings = RuntimeSettings(
        inference_address=inference_address, attribution_address=address, naming_address=address
    )
    server = start(build(settings), "127.0.0.1:0", settings)
    try:
        with grpc.insecure_channel(server.address) as channel:
            stub = analytics_pb2_grpc.AnalyticsServiceStub(channel)
            request = pb.AnalyseStudyRequest(study_id=STUDY_ID, shuffles=0)
            answers = list(stub.AnalyseStudy(request, timeout=DEADLINE_S))
    finally:
        server.stop()
        peers.stop(None)
    [part] = [json.loads(answer.json)["expected"] for answer in answers if answer.category]
    return {place["name"]: place for place in part["concept_places"]["name of A1"]}


def test_pictures_without_boxes_say_by_their_part_points_where_the_bird_is(
    places_of: Any, tmp_path: Path
) -> None:
    found = places_of(cub_folder(tmp_path / "points", boxes=False))
    assert found["beak"] == {"name": "beak", "inside": 1.0, "n": 2, "n_by_points": 2, "outside": False}
    assert found["sky"] == {"name": "sky", "inside": 0.0, "n": 2, "n_by_points": 2, "outside": True}


def test_boxes_come_before_part_points(places_of: Any, tmp_path: Path) -> None:
    found = places_of(cub_folder(tmp_path / "boxes", boxes=True))  # the right half of each picture
    assert found["beak"] == {"name": "beak", "inside": 0.0, "n": 4, "n_by_points": 0, "outside": True}
    assert found["sky"] == {"name": "sky", "inside": 1.0, "n": 4, "n_by_points": 0, "outside": False}
