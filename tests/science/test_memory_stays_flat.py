"""The small form of `make soak`: memory in use does not grow with the number of images explained."""

from collections.abc import Iterator

import pytest
import torch

from onoma.science.excitation import Explainer
from tests.bench.soak import explaining, growth, small_explainer

IMAGES, BATCH = 1000, 4
BOUND_KB = 4.0  # an image; what else goes on in the process comes to about 1


@pytest.fixture(scope="module")
def explainer() -> Iterator[Explainer]:
    """On one thread: the layers are too small to share out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield small_explainer()
    torch.set_num_threads(threads)


def test_memory_stays_flat_over_many_images(explainer: Explainer) -> None:
    (resident,) = growth(explaining(explainer), IMAGES, BATCH, explainer.device)
    assert resident.kb_an_image < BOUND_KB


def test_a_leak_of_16_kb_an_image_is_seen(explainer: Explainer) -> None:
    (resident,) = growth(explaining(explainer, leaked_kb=16), IMAGES, BATCH, explainer.device)
    assert resident.kb_an_image == pytest.approx(16, abs=BOUND_KB)
