"""Which units come from constants alone, beside what really differs over images."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from onoma.science.fixed_units import FixedFinder
from tests.networks import images, program_of, values_of


class Joined(nn.Module):
    """Constants far below 0 beside activations, or in cells beside theirs, then something, then a convolution."""

    def __init__(self, something: Callable[[Tensor], Tensor], *, in_cells: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.something, self.in_cells = something, in_cells
        self.convolve, self.mix = nn.Conv2d(3, 6, 1), nn.LazyConv2d(5, 1)
        self.classify = nn.Linear(5, 2)
        self.register_buffer("beside", -10 - torch.rand(1, 6, 8, 8))

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 8, 8) to (n, 2)."""
        beside = self.beside.expand(pixels.shape[0], -1, -1, -1)
        joined = torch.cat([self.convolve(pixels), beside], 3 if self.in_cells else 1)
        return self.classify(torch.relu(self.mix(self.something(joined))).mean((2, 3)))


def in_groups(width: int) -> Callable[[Tensor], Tensor]:
    """A convolution of so many channels at once."""

    def convolve(joined: Tensor) -> Tensor:
        channels = joined.shape[1]
        return nn.functional.conv2d(
            joined, torch.full((channels, width, 3, 3), 0.1), None, 1, 1, 1, channels // width
        )

    return convolve


SOMETHING: dict[str, Callable[[Tensor], Tensor]] = {
    "max pool": lambda x: nn.functional.max_pool2d(x, 3, 1, 1),
    "strided max pool": lambda x: nn.functional.max_pool2d(x, 2),
    "adaptive max pool": lambda x: nn.functional.adaptive_max_pool2d(x, 4),
    "average pool": lambda x: nn.functional.avg_pool2d(x, 3, 2, 1),
    "adaptive average pool": lambda x: nn.functional.adaptive_avg_pool2d(x, 4),
    "nearest": lambda x: nn.functional.interpolate(x, scale_factor=2),
    "bilinear": lambda x: nn.functional.interpolate(x, scale_factor=2, mode="bilinear"),
    "padding": lambda x: nn.functional.pad(x, (1, 2, 0, 1), value=1.0),
    "leaky": nn.functional.leaky_relu,
    "gelu": lambda x: nn.functional.gelu(x / 10),
    "power": lambda x: x**2,
    "depthwise": in_groups(1),
    "groups": in_groups(3),
    "mean": lambda x: x.mean((2, 3), keepdim=True),
    "largest": lambda x: x.amax((2, 3), keepdim=True),
    "split": lambda x: torch.cat(x.split([2, x.shape[1] - 2], 1)[::-1], 1),
    "sorted": lambda x: x.sort(3)[0],
}


@pytest.mark.parametrize("in_cells", [True, False], ids=["in cells", "in channels"])
@pytest.mark.parametrize("something", SOMETHING.values(), ids=SOMETHING)
def test_units_that_are_the_same_in_every_image_are_found(
    something: Callable[[Tensor], Tensor], in_cells: bool
) -> None:
    network = Joined(something, in_cells=in_cells)
    network(torch.zeros(1, 3, 8, 8))
    program = program_of(network)
    values = values_of(program, images(5, (3, 8, 8)))
    finder = FixedFinder(program.graph_module)
    finder.run(torch.empty(1, 3, 8, 8))
    [mixed] = [n for n in finder.varying if n.target is torch.ops.aten.convolution.default][-1:]
    below = mixed.args[0]
    assert isinstance(below, fx.Node)
    varies = (values[below] != values[below][:1]).any(0)
    assert not (varies & ~finder.varying[below]).any()
    if something is not SOMETHING["sorted"]:
        assert finder.varying[below].equal(varies)


NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "batch norm": nn.Sequential(nn.ReLU(), nn.BatchNorm2d(12)).eval(),
    "group norm": lambda x: nn.functional.group_norm(x, 2),
    "layer norm": lambda x: nn.functional.layer_norm(x.permute(0, 2, 3, 1), (12,)).permute(0, 3, 1, 2),
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_constants_stay_constants_behind_a_norm_as_for_the_rules(norm: Callable[[Tensor], Tensor]) -> None:
    network = Joined(norm, in_cells=False)
    network(torch.zeros(1, 3, 8, 8))
    finder = FixedFinder(program_of(network).graph_module)
    finder.run(torch.empty(1, 3, 8, 8))
    [mixed] = [n for n in finder.varying if n.target is torch.ops.aten.convolution.default][-1:]
    below = mixed.args[0]
    assert isinstance(below, fx.Node)
    assert finder.varying[below].flatten(1).all(1).tolist() == [True] * 6 + [False] * 6
