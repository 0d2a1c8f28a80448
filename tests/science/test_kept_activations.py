"""A forward pass that starts from activations kept of the map layer equals the one from the images."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from onoma.science.excitation import Explainer, draw, look, look_from, prepare
from onoma.science.program import Program, find_attachment, find_map_layer
from tests.networks import SHAPE, MobileLike, ModernLike, images, program_of, vgg_like

NETWORKS = {"vgg": vgg_like, "mobile": MobileLike, "modern": ModernLike}


def explainer_of(program: Program) -> Explainer:
    attachment = find_attachment(program)
    return prepare(program, attachment, find_map_layer(program, attachment), "local")


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return explainer_of(program_of(vgg_like(), SHAPE))


def uniform_mass(features: Tensor) -> Tensor:
    return torch.full_like(features, 1 / features.shape[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_kept_activations_give_what_the_images_give(name: str) -> None:
    explainer = explainer_of(program_of(NETWORKS[name](), SHAPE))
    seen = look(explainer, images(5, SHAPE))
    kept = look_from(explainer, seen.values[explainer.map_layer].clone())
    torch.testing.assert_close(kept.scores, seen.scores, atol=1e-6, rtol=0)
    torch.testing.assert_close(kept.features, seen.features, atol=1e-6, rtol=0)
    mass, rows = uniform_mass(seen.features), torch.arange(5)
    expected = draw(explainer, seen, mass, rows)
    torch.testing.assert_close(draw(explainer, kept, mass, rows), expected, atol=1e-6, rtol=0)


def test_nothing_below_the_map_layer_is_run(explainer: Explainer) -> None:
    """The map layer is the last ReLU: above it a pool and two linear layers, 16 * 16 x 24 and 24 x 4."""
    cells = look(explainer, images(2, SHAPE)).values[explainer.map_layer]
    with FlopCounterMode(display=False) as counted:
        look_from(explainer, cells)
    assert counted.get_total_flops() == 2 * 2 * (16 * 16 * 24 + 24 * 4)


def test_half_precision_and_double_are_computed_in_single(explainer: Explainer) -> None:
    cells = look(explainer, images(2, SHAPE)).values[explainer.map_layer].half()
    expected = look_from(explainer, cells.float())
    for kept in (look_from(explainer, cells), look_from(explainer, cells.double())):
        assert kept.scores.dtype == kept.features.dtype == torch.float32
        torch.testing.assert_close(kept.scores, expected.scores, atol=0, rtol=0)


@pytest.mark.parametrize("shape", [(2, 16, 16), (2, 16, 16, 15), (2, 8, 16, 16)])
def test_activations_of_another_shape_are_refused(explainer: Explainer, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"layer 'relu_\d' wants \(16, 16, 16\)"):
        look_from(explainer, torch.zeros(shape))


def test_activations_that_are_no_floats_are_refused(explainer: Explainer) -> None:
    with pytest.raises(ValueError, match=r"torch\.uint8; layer 'relu_\d' wants floating-point"):
        look_from(explainer, torch.zeros(2, 16, 16, 16, dtype=torch.uint8))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_activations_are_refused(explainer: Explainer, value: float) -> None:
    cells = torch.zeros(1, 16, 16, 16)
    cells[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"kept activation of layer 'relu_\d' is NaN or infinite"):
        look_from(explainer, cells)


class AroundTheAttachment(nn.Module):
    """The scores read the features and, beside them, the mean of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve, self.widen, self.classify = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Linear(4, 6),
            nn.Linear(9, 2),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 16, 16) to (n, 2)."""
        cells = torch.relu(self.convolve(pixels))
        features = torch.relu(self.widen(cells.mean((2, 3))))
        return self.classify(torch.cat([features, pixels.mean((2, 3))], dim=1))


def test_scores_that_need_more_than_the_map_layer_are_refused() -> None:
    shape = (3, 16, 16)
    program = program_of(AroundTheAttachment().eval(), shape)
    relus = [n.name for n in program.graph_module.graph.nodes if n.target is torch.ops.aten.relu.default]
    explainer = prepare(program, relus[1], relus[0], "strict")
    cells = look(explainer, images(2, shape)).values[explainer.map_layer]
    with pytest.raises(ValueError, match="map layer 'relu' does not lie on every path from image to scores"):
        look_from(explainer, cells)
