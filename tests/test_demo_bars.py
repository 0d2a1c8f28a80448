"""The bars of the main job, on real photographs: `make test-slow`, minutes the first time."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from onoma.client import Addresses, Client
from onoma.v1 import types_pb2
from services.up import local_settings, start_all

ROOT = Path(__file__).parents[1]
CLOTHING = ROOT.parent / "shared" / "data" / "clothing"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def _demo(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "onoma", "demo", "--quick", "--folder", str(folder), *arguments]
    subprocess.run(command, check=True, cwd=ROOT)


def _client(folder: Path) -> Iterator[Client]:
    running = start_all(local_settings(folder / "data", free_ports=True), http_port=None)
    try:
        with Client(Addresses(**running.addresses)) as client:
            yield client
    finally:
        running.stop()


@pytest.fixture(scope="module")
def fashion() -> Iterator[Client]:
    """The demo's folder of Fashion-MNIST, made here if `make demo` has not made it."""
    _demo(ROOT / "onoma-demo")
    yield from _client(ROOT / "onoma-demo")


@pytest.fixture(scope="module")
def photographs() -> Iterator[Client]:
    """The demo's road on colour photographs."""
    if not CLOTHING.is_dir():
        pytest.skip(f"no photographs at {CLOTHING}")
    folder = ROOT / "onoma-demo" / "clothing-road"
    _demo(folder, "--data", str(CLOTHING))
    yield from _client(folder)


def test_xnns_are_faithful_on_fashion_mnist(fashion: Client) -> None:
    xnn_set = fashion.get_xnn_set("fashion-mnist")
    relative = [x.rmse / (x.score_max - x.score_min) for x in xnn_set.xnns]
    assert xnn_set.test_image_count == 10_000
    assert np.mean(relative) <= 0.01
    assert max(relative) <= 0.02
    assert xnn_set.argmax_agreement >= 0.985
    assert xnn_set.dnn_accuracy >= 0.88
    assert abs(xnn_set.xnn_accuracy - xnn_set.dnn_accuracy) <= 0.005


def test_one_to_four_x_features_are_significant_an_image(fashion: Client) -> None:
    xnn_set = fashion.get_xnn_set("fashion-mnist")
    total = sum(x.significant_count for x in xnn_set.xnns)
    assert 1 <= total / sum(x.image_count for x in xnn_set.xnns) <= 4


def test_maps_keep_their_mass_in_strict_mode_on_fashion_mnist(fashion: Client) -> None:
    assert fashion.get_model("fashion-mnist").mode == types_pb2.EXCITATION_MODE_STRICT
    sums = fashion.list_activations(next(iter(fashion.list_studies())).study_id).map_sum
    np.testing.assert_allclose(sums, 1, atol=1e-3)


def test_maps_keep_their_mass_in_local_mode_on_efficientnet_lite0(photographs: Client) -> None:
    model = photographs.get_model("clothing")
    assert model.mode == types_pb2.EXCITATION_MODE_LOCAL
    assert model.strict_leak > 0.05
    sums = photographs.list_activations(next(iter(photographs.list_studies())).study_id).map_sum
    np.testing.assert_allclose(sums, 1, atol=1e-3)


def test_the_retrained_network_reaches_83_per_cent_on_photographs(photographs: Client) -> None:
    assert photographs.get_xnn_set("clothing").dnn_accuracy >= 0.83


def test_no_step_takes_4_gb(fashion: Client) -> None:
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    assert children < 4e9
