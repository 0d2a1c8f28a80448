"""How many images go through a network at once."""

import pytest
import torch

from onoma.science.batch_size import FEWEST, MOST_ON_CPU, MOST_ON_GPU, bytes_an_image, images_at_once
from onoma.science.excitation import Explainer, prepare
from onoma.science.program import find_attachment, find_map_layer
from tests.networks import SHAPE, program_of, vgg_like


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    program = program_of(vgg_like(), SHAPE)
    attachment = find_attachment(program)
    return prepare(program, attachment, find_map_layer(program, attachment), "strict")


@pytest.fixture
def on_gpu(explainer: Explainer, monkeypatch: pytest.MonkeyPatch) -> Explainer:
    """As if it were there: what is chosen depends on the kind of device and the free memory alone."""
    monkeypatch.setattr(Explainer, "device", property(lambda _: torch.device("cuda")))
    return explainer


def test_an_image_takes_what_is_kept_above_the_map_layer_and_four_of_the_widest_below(
    explainer: Explainer,
) -> None:
    """Kept: ReLU 16x16x16, pool 16x8x8 (its indices count as none), average pool and flat 256, 24 twice.
    Widest below: 8x32x32.
    """
    kept = 16 * 16 * 16 + 16 * 8 * 8 + 256 + 256 + 24 + 24
    assert bytes_an_image(explainer) == 4 * (kept + 4 * 8 * 32 * 32)


def test_on_a_cpu_a_small_network_takes_as_many_as_bring_something(explainer: Explainer) -> None:
    assert images_at_once(explainer) == MOST_ON_CPU


@pytest.mark.parametrize(
    ("images", "chosen"), [(1, FEWEST), (9, 8), (33, 32), (63, 32), (10**6, MOST_ON_GPU)]
)
def test_on_a_gpu_a_quarter_of_the_free_memory_is_filled_by_a_power_of_two(
    on_gpu: Explainer, images: int, chosen: int
) -> None:
    assert images_at_once(on_gpu, 4 * images * bytes_an_image(on_gpu)) == chosen
