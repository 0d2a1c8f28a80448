"""The bars of the main job, on real photographs: `make test-slow`, minutes the first time."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from onoma.client import Addresses, Client
from onoma.v1 import types_pb2
from services.up import local_settings, start_all

ROOT = Path(__file__).parents[1]
PHOTOGRAPHS = ROOT / "onoma-demo" / "clothing-road"
CLOTHING = ROOT.parent / "shared" / "data" / "clothing"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


# Runs a command and says at the end how much memory it or a process of its own held at most: what the tests
# themselves hold, and what other tests started, would count as theirs otherwise.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
sys.exit(code)
"""


def _demo(folder: Path, *arguments: str) -> int:
    """Makes the demo's folder where it is not there; the bytes of memory that it took at most."""
    command = [sys.executable, "-m", "onoma", "demo", "--quick", "--folder", str(folder), *arguments]
    with tempfile.NamedTemporaryFile("r") as said:
        subprocess.run([sys.executable, "-c", MEASURED, said.name, *command], check=True, cwd=ROOT)
        return int(said.read())


def _client(folder: Path) -> Iterator[Client]:
    running = start_all(local_settings(folder / "data", free_ports=True), http_port=None)
    try:
        with Client(Addresses(**running.addresses)) as client:
            yield client
    finally:
        running.stop()


@pytest.fixture(scope="module")
def fashion_bytes() -> int:
    """Memory that the demo of Fashion-MNIST took, if `make demo` has not made it; its folder is there."""
    return _demo(ROOT / "onoma-demo")


@pytest.fixture(scope="module")
def fashion(fashion_bytes: int) -> Iterator[Client]:
    """The demo's folder of Fashion-MNIST."""
    yield from _client(ROOT / "onoma-demo")


@pytest.fixture(scope="module")
def photographs_bytes() -> int:
    """Memory that the demo's road on colour photographs took, if it was not made before."""
    if not CLOTHING.is_dir():
        pytest.skip(f"no photographs at {CLOTHING}")
    return _demo(PHOTOGRAPHS, "--data", str(CLOTHING))


@pytest.fixture(scope="module")
def photographs(photographs_bytes: int) -> Iterator[Client]:
    """What the demo made of colour photographs."""
    yield from _client(PHOTOGRAPHS)


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


def test_no_process_of_the_demo_takes_4_gb(fashion_bytes: int, photographs_bytes: int) -> None:
    assert 0 < fashion_bytes < 4e9
    assert 0 < photographs_bytes < 4e9
