"""Where a node's value has the images, and its rows and columns."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from onoma.science.nodes import (
    Layout,
    cells_of,
    channel_axis,
    depends_on_image,
    layout_of,
    shape_of,
)
from onoma.science.program import Program, find_attachment, find_map_layer
from tests.networks import MobileLike, images, program_of, swin_like, values_of, vgg_like, vit_like

SIDE = 32


@pytest.mark.parametrize(
    ("layout", "shape", "axes"),
    [
        (Layout(), (3, 4, 5), {1: [1], 2: [2]}),
        (Layout(1), (4, 3, 5), {0: [1], 1: [], 2: [2]}),
        (Layout(0, 1, 2), (6, 4, 5), {0: [1], 1: [2], 2: [3]}),
        (Layout(1, 2, 4), (5, 24, 6), {0: [1], 1: [2, 3], 2: [4]}),
        (Layout(2, 4, 1), (5, 6, 12), {0: [1], 1: [2], 2: [3]}),
    ],
)
def test_images_come_first_and_go_back(
    layout: Layout, shape: tuple[int, ...], axes: dict[int, list[int]]
) -> None:
    value = torch.arange(torch.Size(shape).numel()).reshape(shape)
    by_image = layout.by_image(value)
    assert len(by_image) == 3
    assert layout.together(by_image).equal(value)
    assert {axis: layout.axes(axis) for axis in axes} == axes
    for axis, became in axes.items():  # an axis that became one can be asked for at both
        if len(became) == 1 and axis != layout.axis:
            assert layout.by_image(value.narrow(axis, 1, 2)).equal(by_image.narrow(became[0], 1, 2))


def test_units_of_one_image_that_share_the_axis_of_the_images() -> None:
    """Two images of three heads: image 1 has rows 3, 4, 5."""
    heads = torch.arange(6)[:, None].expand(6, 5)
    assert Layout(0, 1, 3).by_image(heads)[1].equal(torch.tensor([3, 4, 5])[:, None].expand(3, 5))
    assert Layout(0, 3, 1).by_image(heads)[1].equal(torch.tensor([1, 3, 5])[:, None].expand(3, 5))


@pytest.mark.parametrize(
    "network", [vgg_like(), MobileLike(), vit_like(), swin_like()], ids=lambda n: type(n).__name__
)
def test_each_image_is_found_in_a_batch_where_it_would_be_alone(network: nn.Module) -> None:
    program = program_of(network, (3, SIDE, SIDE))
    pixels = images(3, (3, SIDE, SIDE))
    together = values_of(program, pixels)
    alone = [values_of(program, image) for image in pixels.split(1)]
    checked = 0
    for node, value in together.items():
        layout = layout_of(node)
        if depends_on_image(node) and shape_of(node):
            assert layout is not None, node
            for one, expected in zip(layout.by_image(value), alone, strict=True):
                torch.testing.assert_close(one, layout.by_image(expected[node])[0], atol=1e-5, rtol=1e-5)
            checked += 1
    assert checked > 10


def test_attention_has_images_elsewhere_than_first() -> None:
    """Else the test above would say little."""
    program = program_of(vit_like(), (3, SIDE, SIDE))
    found = {layout_of(node) for node in program.graph_module.graph.nodes if depends_on_image(node)}
    assert {Layout(0, 1, 1), Layout(1, 1, 1), Layout(1, 1, 2), Layout(0, 1, 2)} <= found
    assert Layout(0, 1, 4) in {  # windows
        layout_of(n) for n in program_of(swin_like(), (3, SIDE, SIDE)).graph_module.graph.nodes
    }


def test_batches_that_are_mixed_have_no_layout() -> None:
    class Mixed(nn.Module):
        """Images and columns in one axis, turned round, then taken apart as if nothing had been."""

        def forward(self, pixels: Tensor) -> Tensor:
            turned = pixels.permute(3, 0, 1, 2).flatten(0, 1)
            return turned.reshape(-1, 8, 3, 8).mean((1, 3))

    program = program_of(Mixed())
    *_, mixed = (
        node for node in program.graph_module.graph.nodes if node.target is torch.ops.aten.view.default
    )
    assert shape_of(mixed) == (2, 8, 3, 8)
    assert layout_of(mixed) is None


def cells(program: Program) -> dict[str, tuple[int, tuple[int, int]]]:
    """Axis of the channels, and rows and columns, of each node that has them."""
    return {
        node.name: (axis, cells_of(node))
        for node in program.graph_module.graph.nodes
        if (axis := channel_axis(node)) is not None
    }


def test_rows_and_columns_are_known_whatever_the_order_of_the_axes() -> None:
    found = cells(program_of(swin_like(), (3, SIDE, SIDE)))
    assert found["convolution"] == (1, (8, 8))
    assert found["permute"] == (3, (8, 8))
    blocks = [of for name, of in found.items() if name.startswith("add")]
    assert blocks[0] == (3, (8, 8))
    assert blocks[-1] == (3, (4, 4))


def test_windows_and_tokens_are_no_rows_and_columns() -> None:
    class Windows(nn.Module):
        """Four axes: windows, cells of each, channels."""

        def __init__(self) -> None:
            super().__init__()
            self.convolve, self.classify = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

        def forward(self, pixels: Tensor) -> Tensor:
            apart = self.convolve(pixels).unflatten(3, (2, 4)).unflatten(2, (2, 4)).permute(0, 2, 4, 3, 5, 1)
            windows = torch.relu(apart.flatten(3, 4).flatten(1, 2))
            return self.classify(windows.mean((1, 2)))

    program = program_of(Windows())
    found = cells(program)
    assert set(found) == {"x", "convolution", "pixels"} & {n.name for n in program.graph_module.graph.nodes}
    windows = next(n for n in program.graph_module.graph.nodes if n.target is torch.ops.aten.relu.default)
    assert len(shape_of(windows)) == 4


class OnTurned(nn.Module):
    """Two convolutions and a pool on what something makes of the image."""

    def __init__(self, turn: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.turn, self.back = turn, back
        self.convolve, self.mix, self.classify = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 16, 16) to (n, 2)."""
        turned = torch.relu(self.convolve(self.turn(pixels)))
        seen = torch.relu(nn.functional.max_pool2d(self.mix(turned), 2))
        return self.classify(torch.sigmoid(self.back(seen)).mean((2, 3)))


TURNS = {
    "transposed": lambda x: x.transpose(2, 3),
    "mirrored": lambda x: x.flip(3),
    "rolled": lambda x: torch.roll(x, 5, 2),
    "mirrored and padded": lambda x: nn.functional.pad(x.flip(3), (1, 1, 1, 1)),
}


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_what_a_convolution_makes_of_an_image_that_was_turned_has_no_rows_and_columns(
    turn: Callable[[Tensor], Tensor],
) -> None:
    """Its maps would be turned, too: one bright pixel would have its peak elsewhere."""
    program = program_of(OnTurned(turn, lambda x: x), (3, 16, 16))
    assert set(cells(program)) <= {"pixels"}
    with pytest.raises(ValueError, match="has rows and columns to draw maps on"):
        find_map_layer(program, find_attachment(program))


def test_what_is_turned_back_has_rows_and_columns_again() -> None:
    program = program_of(OnTurned(TURNS["mirrored"], TURNS["mirrored"]), (3, 16, 16))
    assert cells(program)["sigmoid"] == (1, (8, 8))


def test_a_convolution_on_patches_has_no_rows_and_columns_until_they_are_cells_again() -> None:
    class Patches(nn.Module):
        """As in MobileViT 2: the third axis has the cells of a patch, the fourth the patches."""

        def __init__(self) -> None:
            super().__init__()
            self.convolve, self.mix, self.classify = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

        def forward(self, pixels: Tensor) -> Tensor:
            apart = torch.relu(self.convolve(pixels)).view(-1, 4, 4, 2, 4, 2).permute(0, 1, 3, 5, 2, 4)
            mixed = torch.tanh(self.mix(apart.flatten(4).flatten(2, 3)))
            cells = mixed.view(-1, 4, 2, 2, 4, 4).permute(0, 1, 4, 2, 5, 3).reshape(-1, 4, 8, 8)
            return self.classify(torch.sigmoid(self.mix(cells)).mean((2, 3)))

    found = cells(program_of(Patches()))
    assert "relu" in found
    assert "tanh" not in found
    assert found["sigmoid"] == (1, (8, 8))


@pytest.mark.parametrize(
    "shown",
    [
        lambda x: nn.functional.pad(x, (2, 2, 2, 2), mode="reflect"),
        lambda x: nn.functional.pad(x, (2, 2, 2, 2), mode="replicate"),
        lambda x: nn.functional.pad(x, (2, 2, 2, 2), mode="circular"),
        lambda x: nn.functional.interpolate(x, scale_factor=2),
        lambda x: nn.functional.pixel_shuffle(x, 2).repeat(1, 4, 1, 1),
        lambda x: nn.functional.pixel_unshuffle(x, 2)[:, ::4],
    ],
    ids=["reflections", "edges", "other side", "larger", "shuffled", "unshuffled"],
)
def test_convolutions_keep_rows_and_columns_of_what_shows_cells_again_or_in_channels(
    shown: Callable[[Tensor], Tensor],
) -> None:
    class Shown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolve, self.mix, self.classify = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

        def forward(self, pixels: Tensor) -> Tensor:
            return self.classify(torch.sigmoid(self.mix(shown(self.convolve(pixels)))).mean((2, 3)))

    program = program_of(Shown())
    assert channel_axis(program.node("sigmoid")) == 1


def test_what_only_scales_channels_leaves_rows_and_columns_where_they_are() -> None:
    class Gated(nn.Module):
        """The gate comes first in the product."""

        def __init__(self) -> None:
            super().__init__()
            self.convolve, self.classify = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

        def forward(self, pixels: Tensor) -> Tensor:
            seen = torch.relu(self.convolve(pixels))
            gated = torch.sigmoid(seen.mean((2, 3), keepdim=True)) * seen
            return self.classify(torch.relu(gated[:, :, 1:]).mean((2, 3)))

    program = program_of(Gated())
    *_, last = (n.name for n in program.graph_module.graph.nodes if n.target is torch.ops.aten.relu.default)
    assert cells(program)["mul"] == (1, (8, 8))
    assert cells(program)[last] == (1, (7, 8))


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("pool", "relu"),
        ("adaptive pool", "relu"),
        ("groups", "mul"),
        ("padding", "relu_1"),
        ("maxout", "amax"),
        ("outer product", "mul"),
    ],
)
def test_what_has_rows_and_columns_may_be_a_map_layer(network: str, expected: str) -> None:
    """After pools, paddings, products and maxima of channels; groups of channels on the images' axis do no harm."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.convolve, self.classify = nn.Conv2d(3, 4, 3, padding=1), nn.LazyLinear(2)

        def forward(self, pixels: Tensor) -> Tensor:
            seen = self.convolve(pixels)
            if network == "pool":
                seen = torch.relu(nn.functional.max_pool2d(seen, 2))
            elif network == "adaptive pool":
                seen = torch.relu(nn.functional.adaptive_max_pool2d(seen, 4))
            elif network == "groups":
                groups = nn.functional.avg_pool2d(seen.view(-1, 2, 8, 8), 3, 1, 1)
                seen = torch.sigmoid(groups.view(seen.shape)) * seen
            elif network == "padding":
                seen = torch.relu(nn.functional.pad(torch.relu(seen), (1, 1, 1, 1)))
            elif network == "maxout":
                seen = seen.unflatten(1, (2, 2)).amax(2)
            else:
                seen = torch.relu(seen.mean((2, 3), keepdim=True)) * torch.relu(seen.sum(1, keepdim=True))
            return self.classify(seen.mean((2, 3)))

    module = Network()
    module(torch.zeros(1, 3, 8, 8))
    program = program_of(module)
    [node] = [n for n in program.graph_module.graph.nodes if n.name == expected]
    assert channel_axis(node) == 1
    if expected != "amax":
        assert find_map_layer(program, find_attachment(program), min_cells=4) == expected


def test_a_matrix_for_each_head_is_not_taken_for_one_layer() -> None:
    class Heads(nn.Module):
        """A weight that is looked at as two matrices, in a gate."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.convolve, self.classify = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)
            self.weight = nn.Parameter(torch.randn(4, 4))

        def forward(self, pixels: Tensor) -> Tensor:
            seen = torch.relu(self.convolve(pixels))
            heads = seen.mean((2, 3)).view(-1, 2, 2).transpose(0, 1)
            gate = torch.bmm(heads, self.weight.t().view(2, 2, 4)).sum(0)
            return self.classify((seen * torch.sigmoid(gate)[..., None, None]).mean((2, 3)))

    network, pixels = Heads().eval(), images(3, (3, 8, 8))
    program = program_of(network)
    with torch.no_grad():
        torch.testing.assert_close(program.scores(pixels), network(pixels))
