"""The last step down, taken in sum over channels, gives the maps of the way through each channel."""

import pytest
import torch
from torch import Tensor, fx, nn

from onoma.science import excitation_sums
from onoma.science.excitation import draw, look, prepare
from onoma.science.excitation_sums import LEAST_CHANNELS, SUMMED_RULES
from onoma.science.mass import Mode, Step
from onoma.science.program import find_attachment
from tests.networks import images, program_of

CONVOLUTION = torch.ops.aten.convolution.default
SHAPE = (3, 7, 6)
KINDS = {
    "padding": {"kernel_size": 3, "padding": 1},
    "no padding, not square": {"kernel_size": (2, 3)},
    "stride": {"kernel_size": 3, "stride": 2, "padding": 1},
    "stride that leaves a row over": {"kernel_size": 2, "stride": (3, 2)},
    "dilation": {"kernel_size": (2, 3), "dilation": (3, 2), "padding": (1, 2)},
    "1x1": {"kernel_size": 1},
    "1x1 with stride": {"kernel_size": 1, "stride": 2},
    "groups": {"kernel_size": 3, "groups": 2},
}


class OneStep(nn.Module):
    """A convolution on the map layer, whose units are partly dead; images of zeros have nothing on the map layer.

    Args:
        signed: units of both may be negative; they are halved instead of cut at 0.
        kind: of convolution.
    """

    def __init__(self, *, signed: bool = False, **kind: object) -> None:
        super().__init__()
        self.activate = nn.LeakyReLU(0.5) if signed else nn.ReLU()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, LEAST_CHANNELS, 3, padding=1, bias=False)
        self.convolve = nn.Conv2d(LEAST_CHANNELS, 6, **kind)
        with torch.no_grad():
            self.convolve.weight[:2] = -self.convolve.weight[:2].abs()
        self.classify = nn.Linear(6, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 7, 6) to (n, 2)."""
        return self.classify(self.activate(self.convolve(self.activate(self.stem(pixels)))).mean((2, 3)))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("mode", ["strict", "local"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_last_step_in_sum_equals_the_way_through_each_channel(
    kind: str, mode: Mode, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = program_of(OneStep(**KINDS[kind], signed=signed).eval(), SHAPE)
    lower = next(n for n in program.graph_module.graph.nodes if "relu" in str(n.target))
    explainer = prepare(program, find_attachment(program), lower.name, mode)
    pixels = images(4, SHAPE)
    pixels[1] = 0
    seen = look(explainer, pixels)
    rows = torch.tensor([3, 0, 3, 1, 0, 3])  # image 2 has no target
    mass = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    in_sum = draw(explainer, seen, mass, rows)
    monkeypatch.delitem(SUMMED_RULES, CONVOLUTION)
    expected = draw(explainer, seen, mass, rows)
    torch.testing.assert_close(in_sum, expected, atol=1e-6, rtol=1e-5)
    if mode == "local":
        torch.testing.assert_close(in_sum.sum((1, 2)), mass.sum(1))


def test_the_last_step_follows_the_worked_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """z = (2, 1) and (1, 0) at two places, weights (1, 1) and (3, 5): T = (3, 3), so mass 1 goes as (1/2, 1/2).

    Through each channel it is 2/6, 1/6 and 3/6, 0.
    """
    monkeypatch.setattr(excitation_sums, "LEAST_CHANNELS", 1)
    graph = fx.Graph()
    below, held = graph.placeholder("z"), graph.get_attr("weight")
    rest = (None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    node = graph.call_function(CONVOLUTION, (below, held, *rest))
    values = torch.tensor([[[2.0, 1.0]], [[1.0, 0.0]]])[None]
    weight = torch.tensor([[[1.0, 3.0]], [[1.0, 5.0]]])[None]
    step = Step(
        node,
        torch.ones(1, 1, 1, 1),
        torch.tensor([0]),
        {below: values},
        frozenset({below, node}),
        {node: {1: weight}},
        "strict",
    )
    [(to, given)] = SUMMED_RULES[CONVOLUTION](step)
    assert to is below
    assert given.flatten().tolist() == [0.5, 0.5]


def test_mass_in_bfloat16_is_summed_in_single_precision() -> None:
    program = program_of(OneStep(kernel_size=3, padding=1).eval(), SHAPE)
    lower = next(n for n in program.graph_module.graph.nodes if n.target is torch.ops.aten.relu.default)
    mass, rows = torch.full((3, 6), 1 / 6), torch.tensor([0, 1, 2])
    exact, rounded = (
        draw(explainer, look(explainer, images(3, SHAPE)), mass, rows)
        for explainer in (
            prepare(program, find_attachment(program), lower.name, "local", dtype=dtype)
            for dtype in (torch.float32, torch.bfloat16)
        )
    )
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=0.02 * float(exact.max()), rtol=0)
