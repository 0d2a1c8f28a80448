"""Every rule against an example worked by hand, and against the dense matrix of its operator."""

import itertools
import operator
from pathlib import Path

import pytest
import torch
from torch import Tensor, fx
from torch.nn import functional

from onoma.science.excitation_rules import RULES
from onoma.science.gates import gated_input
from onoma.science.mass import Mode, Step, by_sign, matrix_down

aten = torch.ops.aten
STRICT: Mode = "strict"
LOCAL: Mode = "local"


def passed_down(
    target, inputs, mass, *rest, mode=STRICT, weight=None, rows=None, signed=False, rectified=False, **named
) -> list[Tensor]:
    """Mass that an operator's rule gives to each of its inputs; the weight, where there is one, comes second.

    Args:
        signed: units may be negative, and have mass; else negative ones count as 0.
        rectified: what it gives is, so that mass on its negative units is as on 0.
    """
    graph = fx.Graph()
    nodes = [graph.placeholder(f"x{index}") for index in range(len(inputs))]
    known = dict(zip(nodes, inputs, strict=True))
    if target is aten.cat.default:
        node, result = graph.call_function(target, (nodes, *rest)), target(inputs, *rest)
    elif weight is not None:
        held = graph.get_attr("weight")
        known[held] = weight
        node, result = graph.call_function(target, (*nodes, held, *rest)), target(*inputs, weight, *rest)
    else:
        node, result = graph.call_function(target, (*nodes, *rest), named), target(*inputs, *rest, **named)
    step = Step(
        node=node,
        mass=mass,
        rows=torch.arange(len(mass)) if rows is None else rows,
        values={**known, node: result},
        path=frozenset({*nodes, node}),
        weights={} if weight is None else {node: by_sign(weight, is_signed=True)},
        mode=mode,
        signed=frozenset(nodes if signed else ()),
        below_zero=frozenset([node] if signed and not rectified else ()),
    )
    for n, value in {**known, node: result}.items():
        n.meta["shape"] = tuple(value.shape) if isinstance(value, Tensor) else ()
    given = {n: torch.zeros_like(v[step.rows]) for n, v in zip(nodes, inputs, strict=True)}
    for below, part in RULES[target](step):
        given[below] = given[below] + part
    return list(given.values())


def of_shape(node: fx.Node, *shape: int) -> fx.Node:
    node.meta["shape"] = shape
    return node


def signed_reference(values: Tensor, mass: Tensor, weight: Tensor, above: Tensor) -> Tensor:
    """What pushed a unit the way it is, a unit at a time: values (n, d), mass and above (n, f), weight (d, f)."""
    given = torch.zeros_like(values)
    for image, unit in itertools.product(*map(range, mass.shape)):
        pushing = (weight[:, unit] * values[image] * (1 if above[image, unit] >= 0 else -1)).clamp(min=0)
        if pushing.sum() > 0:
            given[image] += mass[image, unit] * pushing / pushing.sum()
    return given


def dense_reference(values: Tensor, mass: Tensor, positive: Tensor, field: Tensor, mode: Mode) -> Tensor:
    """The rule with matrices: values (n, d), mass (n, f), W+ and receptive fields (d, f)."""
    values = values.clamp(min=0)
    excitation = values @ positive
    is_dead = excitation == 0
    given = values * (torch.where(is_dead, 0, mass / torch.where(is_dead, 1, excitation)) @ positive.T)
    if mode == LOCAL:
        stray = torch.where(is_dead, mass, 0)
        activity = values @ field
        is_dark = activity == 0
        given += values * (torch.where(is_dark, 0, stray / torch.where(is_dark, 1, activity)) @ field.T)
        given += torch.where(is_dark, stray, 0) / field.sum(0) @ field.T
    return given


def matrix_of(linear_map, shape: tuple[int, ...]) -> Tensor:
    """Matrix (d, f) of a linear map on (n, *shape)."""
    size = torch.Size(shape).numel()
    return linear_map(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).flatten(1)


def sparse(*shape: int, seed: int = 0) -> Tensor:
    """Half negative, so half dead once clamped; float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_mass(*shape: int, seed: int = 1) -> Tensor:
    """Positive, a sum of 1 a row; float64."""
    found = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return found / found.flatten(1).sum(1).view(-1, *[1] * (len(shape) - 1))


# fully connected


def test_a_fully_connected_unit_shares_by_activation_times_positive_weight() -> None:
    """z = (2, 1), weights (1, 2) to the one unit: W+ z = 4, so (2 * 1, 1 * 2) / 4 = (0.5, 0.5)."""
    [given] = passed_down(
        aten.mm.default, [torch.tensor([[2.0, 1.0]])], torch.ones(1, 1), weight=torch.tensor([[1.0], [2.0]])
    )
    assert given.tolist() == [[0.5, 0.5]]


def test_a_negative_weight_gets_no_mass() -> None:
    """z = (2, 1), weights (1, -3): all of it to the first, though the unit itself is -1."""
    weights = {1: torch.tensor([[1.0], [0.0]])}
    given = matrix_down({1: torch.tensor([[2.0, 1.0]])}, weights, torch.ones(1, 1), torch.tensor([0]), STRICT)
    assert given.tolist() == [[1.0, 0.0]]


def test_a_unit_without_excitation_loses_its_mass_in_strict_mode_and_spreads_it_in_local_mode() -> None:
    """z = (3, 1, 0). Unit 1 has weights (-1, -1, 5): W+ z = 0. Unit 2 has (0, 1, 0). Mass half and half.

    strict: unit 1's half is lost, unit 2's goes to z_2. local: unit 1's half goes as 3 : 1 : 0 beside it.
    """
    values, weight = torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [-1.0, 1.0], [5.0, 0.0]])
    mass = torch.full((1, 2), 0.5)
    [strict] = passed_down(aten.mm.default, [values], mass, weight=weight)
    [local] = passed_down(aten.mm.default, [values], mass, weight=weight, mode=LOCAL)
    assert strict.tolist() == [[0.0, 0.5, 0.0]]
    assert local.tolist() == [[0.375, 0.625, 0.0]]


def test_where_all_inputs_are_zero_local_mode_spreads_evenly() -> None:
    """z = (0, 0): the unit is active by its bias alone."""
    [given] = passed_down(
        aten.mm.default, [torch.zeros(1, 2)], torch.ones(1, 1), weight=torch.ones(2, 1), mode=LOCAL
    )
    assert given.tolist() == [[0.5, 0.5]]


def test_the_bias_takes_no_mass() -> None:
    """addmm(bias, z, W): z = (1, 3), weights (1, 1), bias 100: (0.25, 0.75) as without it."""
    graph = fx.Graph()
    bias, below, weight = graph.get_attr("bias"), graph.placeholder("x"), graph.get_attr("weight")
    node = graph.call_function(aten.addmm.default, (bias, below, weight))
    values = {bias: torch.tensor([100.0]), below: torch.tensor([[1.0, 3.0]]), weight: torch.ones(2, 1)}
    step = Step(
        node,
        torch.ones(1, 1),
        torch.tensor([0]),
        values,
        frozenset({below, node}),
        {node: {1: torch.ones(2, 1)}},
        STRICT,
    )
    [(receiver, given)] = RULES[aten.addmm.default](step)
    assert receiver is below
    assert given.tolist() == [[0.25, 0.75]]


@pytest.mark.parametrize("mode", [STRICT, LOCAL])
def test_a_fully_connected_layer_equals_the_dense_reference(mode: Mode) -> None:
    values, weight, mass = sparse(3, 5), sparse(5, 4, seed=2) - 0.5, some_mass(3, 4)
    [given] = passed_down(aten.mm.default, [values], mass, weight=weight, mode=mode)
    expected = dense_reference(values, mass, weight.clamp(min=0), torch.ones_like(weight), mode)
    torch.testing.assert_close(given, expected)


def test_mass_goes_to_what_pushed_a_unit_the_way_it_is() -> None:
    """z = (2, -1), weights (1, -3) and (-4, 2): units 5 and -10. Half on the first goes as 2 : 3, half on the second,
    which the first input pushed down by 8 and the second by 2, as 8 : 2.
    """
    values, weight = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, -4.0], [-3.0, 2.0]])
    [given] = passed_down(aten.mm.default, [values], torch.full((1, 2), 0.5), weight=weight, signed=True)
    torch.testing.assert_close(given, torch.tensor([[0.2 + 0.4, 0.3 + 0.1]]))


def test_a_unit_that_its_bias_alone_makes_what_it_is_loses_its_mass_in_strict_mode() -> None:
    """z = (2, -1), weights (1, -3): W z = 5, and a bias of -7 makes -2 of it. Local mode shares as 2 : 1."""
    values, weight = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0], [-3.0]])
    graph = fx.Graph()
    bias, below, held = graph.get_attr("bias"), graph.placeholder("x"), graph.get_attr("weight")
    node = graph.call_function(aten.addmm.default, (bias, below, held))
    known = {below: values, node: torch.tensor([[-2.0]])}
    signs = {"signed": frozenset([below]), "below_zero": frozenset([node])}
    for mode, expected in ((STRICT, [0.0, 0.0]), (LOCAL, [2 / 3, 1 / 3])):
        step = Step(
            node, torch.ones(1, 1), torch.tensor([0]), known, frozenset({below, node}),
            {node: by_sign(weight, is_signed=True)}, mode, **signs,
        )  # fmt: skip
        [(_, given)] = RULES[node.target](step)
        assert given[0].tolist() == pytest.approx(expected)


def test_a_fully_connected_layer_between_signed_units_equals_the_reference() -> None:
    values, weight, mass = sparse(3, 5) - 0.6, sparse(5, 4, seed=2) - 0.5, some_mass(3, 4)
    [given] = passed_down(aten.mm.default, [values], mass, weight=weight, signed=True)
    torch.testing.assert_close(given, signed_reference(values, mass, weight, values @ weight))


# convolution


def test_a_convolution_shares_over_its_window() -> None:
    """Cells (1, 2, 3), kernel (2, 1), outputs (4, 7), mass (1, 0): (1 * 2, 2 * 1) / 4 to the first two."""
    values = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3)
    mass = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    weight = torch.tensor([2.0, 1.0]).view(1, 1, 1, 2)
    rest = (None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    [given] = passed_down(aten.convolution.default, [values], mass, *rest, weight=weight)
    assert given.flatten().tolist() == [0.5, 0.5, 0.0]


CONVOLUTIONS = {
    "plain": ((4, 3, 3, 3), [1, 1], [0, 0], [1, 1], 1),
    "stride": ((4, 3, 3, 2), [2, 1], [0, 0], [1, 1], 1),
    "stride that leaves a row over": ((4, 3, 2, 2), [3, 3], [0, 0], [1, 1], 1),
    "padding": ((4, 3, 3, 3), [1, 1], [1, 2], [1, 1], 1),
    "dilation": ((4, 3, 2, 2), [1, 1], [1, 1], [2, 3], 1),
    "depthwise": ((3, 1, 3, 3), [2, 2], [1, 1], [1, 1], 3),
    "depthwise, two outputs a channel": ((6, 1, 3, 3), [1, 1], [1, 1], [1, 1], 3),
    "1x1": ((5, 3, 1, 1), [1, 1], [0, 0], [1, 1], 1),
}


@pytest.mark.parametrize("mode", [STRICT, LOCAL])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_equals_the_dense_reference(kind: str, mode: Mode) -> None:
    shape, stride, padding, dilation, groups = CONVOLUTIONS[kind]
    weight, values = sparse(*shape, seed=3) - 0.8, sparse(2, 3, 6, 5)
    values[0] = values[0].clamp(max=0)  # an image with nothing in it: even the fields are dark

    def convolve(kernel: Tensor, cells: Tensor) -> Tensor:
        return functional.conv2d(cells, kernel, None, stride, padding, dilation, groups)

    def matrix(kernel: Tensor) -> Tensor:
        return matrix_of(lambda cells: convolve(kernel, cells), (3, 6, 5))

    mass = some_mass(*convolve(weight, values).shape)
    rest = (None, stride, padding, dilation, False, [0, 0], groups)
    [given] = passed_down(aten.convolution.default, [values], mass, *rest, weight=weight, mode=mode)
    positive, field = matrix(weight.clamp(min=0)), matrix(torch.ones_like(weight))
    expected = dense_reference(values.flatten(1), mass.flatten(1), positive, field, mode)
    torch.testing.assert_close(given.flatten(1), expected)
    if mode == LOCAL:
        torch.testing.assert_close(given.flatten(1).sum(1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_between_signed_units_equals_the_reference(kind: str) -> None:
    shape, stride, padding, dilation, groups = CONVOLUTIONS[kind]
    weight, values = sparse(*shape, seed=3) - 0.8, sparse(2, 3, 6, 5) - 0.6

    def convolve(cells: Tensor) -> Tensor:
        return functional.conv2d(cells, weight, None, stride, padding, dilation, groups)

    above = convolve(values)
    mass = some_mass(*above.shape)
    rest = (None, stride, padding, dilation, False, [0, 0], groups)
    [given] = passed_down(aten.convolution.default, [values], mass, *rest, weight=weight, signed=True)
    expected = signed_reference(
        values.flatten(1), mass.flatten(1), matrix_of(convolve, (3, 6, 5)), above.flatten(1)
    )
    torch.testing.assert_close(given.flatten(1), expected)
    [local] = passed_down(
        aten.convolution.default, [values], mass, *rest, weight=weight, signed=True, mode=LOCAL
    )
    torch.testing.assert_close(local.flatten(1).sum(1), torch.ones(2, dtype=torch.float64))


def test_a_window_of_padding_alone_gives_finite_mass() -> None:
    """A 1x1 kernel with padding 1 has outputs that see no cell: theirs is lost, the inner ones' is not."""
    values, mass = torch.ones(1, 1, 2, 2), torch.full((1, 1, 4, 4), 1 / 16)
    rest = (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    [given] = passed_down(
        aten.convolution.default, [values], mass, *rest, weight=-torch.ones(1, 1, 1, 1), mode=LOCAL
    )
    assert given.flatten().tolist() == [1 / 16] * 4


def test_targets_of_one_image_share_its_activations_whatever_their_order() -> None:
    values, weight = sparse(3, 2, 4, 4), sparse(3, 2, 3, 3, seed=4)
    rows = torch.tensor([2, 0, 2, 1])
    mass = some_mass(4, 3, 2, 2)
    rest = (None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    [together] = passed_down(aten.convolution.default, [values], mass, *rest, weight=weight, rows=rows)
    for index, row in enumerate(rows.tolist()):
        [alone] = passed_down(
            aten.convolution.default,
            [values[row : row + 1]],
            mass[index : index + 1],
            *rest,
            weight=weight,
        )
        torch.testing.assert_close(together[index], alone[0])


# norms


@pytest.mark.parametrize(
    ("target", "rest"),
    [
        (aten._native_batch_norm_legit_no_training.default, (None, None, None, 0.1, 1e-5)),
        (aten.native_group_norm.default, (None, 1, 2, 1, 1, 1e-5)),
    ],
    ids=["batch norm that could not be folded", "group norm"],
)
def test_a_norm_loses_mass_where_gamma_is_negative_in_strict_mode(target, rest) -> None:
    """Channels 2, 2 with gamma (1, -1): a diagonal map, whose W+ has nothing for the second."""
    values, mass = torch.full((1, 2, 1, 1), 2.0), torch.full((1, 2, 1, 1), 0.5)
    graph = fx.Graph()
    below, gamma = graph.placeholder("x"), graph.get_attr("gamma")
    node = graph.call_function(target, (below, gamma, *rest))
    known = {below: values, gamma: torch.tensor([1.0, -1.0])}
    given = {}
    for mode in (STRICT, LOCAL):
        step = Step(node, mass, torch.tensor([0]), known, frozenset({below, node}), {}, mode)
        [(_, given[mode])] = RULES[target](step)
    assert given[STRICT].flatten().tolist() == [0.5, 0.0]
    assert given[LOCAL].flatten().tolist() == [0.5, 0.5]


# one to one


@pytest.mark.parametrize(
    ("target", "rest"),
    [
        (aten.relu.default, ()),
        (aten.hardtanh.default, (0.0, 6.0)),
        (aten.clamp.default, (0.0, 6.0)),
        (aten.clamp_min.default, (0.0,)),
        (aten.clone.default, ()),
        (aten.alias.default, ()),
        (aten.detach.default, ()),
        (aten.gelu.default, ()),
        (aten.elu.default, ()),
        (aten.leaky_relu.default, ()),
        (aten.pow.Tensor_Scalar, (2,)),
        (aten.sigmoid.default, ()),
        (aten.softplus.default, ()),
        (aten.tanh.default, ()),
    ],
)
def test_units_that_map_one_to_one_hand_their_mass_on(target, rest) -> None:
    """ReLU of (-1, 5), mass (0.25, 0.75): the same mass."""
    mass = torch.tensor([[0.25, 0.75]])
    [given] = passed_down(target, [torch.tensor([[-1.0, 5.0]])], mass, *rest)
    assert given.equal(mass)


@pytest.mark.parametrize(
    ("target", "shape", "rest"),
    [
        (aten.view.default, (2, 3, 2), ([2, 6],)),
        (aten._unsafe_view.default, (2, 3, 2), ([2, 6],)),
        (aten.reshape.default, (2, 3, 2), ([2, 2, 3],)),
        (aten.flatten.using_ints, (2, 3, 2), (1,)),
        (aten.squeeze.dims, (2, 6, 1), ([2],)),
        (aten.unsqueeze.default, (2, 6), (2,)),
        (aten.permute.default, (2, 3, 2), ([0, 2, 1],)),
        (aten.permute.default, (2, 3, 2), ([0, -1, -2],)),
    ],
)
def test_another_shape_moves_each_units_mass_with_it(target, shape, rest) -> None:
    """Mass equal to the output's own numbers comes back as the input's."""
    values = torch.arange(12.0).reshape(shape)
    [given] = passed_down(target, [values], target(values, *rest), *rest)
    assert given.equal(values)


def test_a_permutation_of_three_axes_is_undone() -> None:
    values = torch.arange(24.0).reshape(1, 2, 3, 4)
    [given] = passed_down(aten.permute.default, [values], values.permute(0, 2, 3, 1), [0, 2, 3, 1])
    assert given.equal(values)


@pytest.mark.parametrize(
    ("target", "rest", "expected"),
    [
        (aten.slice.Tensor, (2, 1, 3), [0, 1, 2, 0]),
        (aten.slice.Tensor, (2, 0, 4, 3), [1, 0, 0, 2]),
        (aten.select.int, (2, -1), [0, 0, 0, 1]),
        (aten.flip.default, ([2],), [4, 3, 2, 1]),
        (aten.index.Tensor, ([None, None, torch.tensor([1, 0, 1, 2])],), [2, 1 + 3, 4, 0]),
    ],
)
def test_units_that_are_chosen_get_back_their_mass_and_others_none(target, rest, expected) -> None:
    """Four units along the last axis; mass 1, 2, ... on what is chosen of them. One that is shown twice, as by a
    padding with reflections, gets both.
    """
    values = torch.rand(1, 1, 4)
    chosen = target(values, *rest)
    mass = torch.arange(1.0, 1 + chosen.numel()).reshape(chosen.shape)
    [given] = passed_down(target, [values], mass, *rest)
    assert given.flatten().tolist() == expected


def test_a_concatenation_is_cut_where_it_was_joined() -> None:
    """Two channels and one, mass (0.5, 0.25 | 0.25)."""
    mass = torch.tensor([0.5, 0.25, 0.25]).view(1, 3, 1, 1)
    first, second = passed_down(aten.cat.default, [torch.rand(1, 2, 1, 1), torch.rand(1, 1, 1, 1)], mass, 1)
    assert first.flatten().tolist() == [0.5, 0.25]
    assert second.flatten().tolist() == [0.25]


# pools and means


def test_a_max_pool_gives_all_to_the_largest_cell() -> None:
    """Window (1, 4; 3, 2): all to 4."""
    values = torch.tensor([[1.0, 4.0], [3.0, 2.0]]).view(1, 1, 2, 2)
    [given] = passed_down(
        aten.max_pool2d_with_indices.default, [values], torch.ones(1, 1, 1, 1), [2, 2], [2, 2]
    )
    assert given.flatten().tolist() == [0.0, 1.0, 0.0, 0.0]


def test_a_cell_that_wins_two_overlapping_windows_gets_the_mass_of_both() -> None:
    """Cells (1, 5, 2), windows (1, 5) and (5, 2): both to 5."""
    values = torch.tensor([1.0, 5.0, 2.0]).view(1, 1, 1, 3)
    mass = torch.tensor([0.25, 0.75]).view(1, 1, 1, 2)
    [given] = passed_down(aten.max_pool2d_with_indices.default, [values], mass, [1, 2], [1, 1])
    assert given.flatten().tolist() == [0.0, 1.0, 0.0]


def test_an_adaptive_max_pool_gives_all_to_the_largest_cell_of_each_window() -> None:
    """Cells (1, 4, 3, 2) in two windows: the first to 4, the second to 3."""
    values = torch.tensor([1.0, 4.0, 3.0, 2.0]).view(1, 1, 1, 4)
    mass = torch.tensor([0.25, 0.75]).view(1, 1, 1, 2)
    [given] = passed_down(aten.adaptive_max_pool2d.default, [values], mass, [1, 2])
    assert given.flatten().tolist() == [0.0, 0.25, 0.75, 0.0]


def test_the_largest_over_axes_gets_all_and_equals_share_it() -> None:
    """Channels (1, 4; 3, 2) and (5, 5; 0, -1): all of 0.4 to 4, half of 0.6 to each 5."""
    values = torch.tensor([[[1.0, 4.0], [3.0, 2.0]], [[5.0, 5.0], [0.0, -1.0]]]).view(1, 2, 2, 2)
    mass = torch.tensor([[0.4, 0.6]])
    [given] = passed_down(aten.amax.default, [values], mass, [2, 3])
    [kept] = passed_down(aten.amax.default, [values], mass.view(1, 2, 1, 1), [-2, -1], True)
    [of_rows] = passed_down(aten.max.dim, [values.flatten(2)], mass, 2)
    expected = torch.tensor([0.0, 0.4, 0.0, 0.0, 0.3, 0.3, 0.0, 0.0])
    for found in (given, kept, of_rows):
        torch.testing.assert_close(found.flatten(), expected)


def test_an_average_pool_shares_by_activation() -> None:
    """Window (1, 3): (0.25, 0.75)."""
    values = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
    [given] = passed_down(aten.avg_pool2d.default, [values], torch.ones(1, 1, 1, 1), [1, 2])
    assert given.flatten().tolist() == [0.25, 0.75]


def test_a_mean_over_all_cells_shares_by_activation_with_negative_ones_at_zero() -> None:
    """Cells (1, -5, 3): (0.25, 0, 0.75), the same with the axes kept or not."""
    values = torch.tensor([1.0, -5.0, 3.0]).view(1, 1, 1, 3)
    [given] = passed_down(aten.mean.dim, [values], torch.ones(1, 1), [-1, -2])
    [kept] = passed_down(aten.mean.dim, [values], torch.ones(1, 1, 1, 1), [2, 3], True)
    assert given.flatten().tolist() == kept.flatten().tolist() == [0.25, 0.0, 0.75]


POOLS = {
    "average": (aten.avg_pool2d.default, ([2, 2], [2, 2])),
    "average, overlapping": (aten.avg_pool2d.default, ([3, 3], [1, 1])),
    "average, padding counted": (aten.avg_pool2d.default, ([3, 3], [2, 2], [1, 1])),
    "average, padding not counted": (aten.avg_pool2d.default, ([3, 3], [2, 2], [1, 1], False, False)),
    "average, rounded up": (aten.avg_pool2d.default, ([2, 2], [2, 2], [0, 0], True)),
    "average, own divisor": (aten.avg_pool2d.default, ([2, 2], [2, 2], [0, 0], False, True, 7)),
    "adaptive": (aten._adaptive_avg_pool2d.default, ([3, 2],)),
    "adaptive to one": (aten._adaptive_avg_pool2d.default, ([1, 1],)),
    "mean": (aten.mean.dim, ([2, 3], True)),
    "mean of rows": (aten.mean.dim, ([2],)),
    "upsampled, nearest": (aten.upsample_nearest2d.vec, ([10, 10], None)),
    "upsampled by a factor": (aten.upsample_nearest2d.vec, (None, [1.5, 2.0])),
    "upsampled, bilinear": (aten.upsample_bilinear2d.vec, ([9, 8], False, None)),
    "upsampled, bilinear by a factor": (aten.upsample_bilinear2d.vec, (None, False, [1.7, 2.0])),
    "upsampled, bilinear between corners": (aten.upsample_bilinear2d.vec, ([9, 8], True, None)),
    "sum": (aten.sum.dim_IntList, ([2, 3], True)),
    "sum of rows": (aten.sum.dim_IntList, ([2],)),
}


@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_of_signed_units_equals_the_reference(kind: str) -> None:
    target, rest = POOLS[kind]
    values = sparse(2, 2, 5, 5) - 0.7
    above = target(values, *rest)
    mass = some_mass(*above.shape)
    [given] = passed_down(target, [values], mass, *rest, signed=True)
    matrix = matrix_of(lambda cells: target(cells, *rest), (2, 5, 5))
    expected = signed_reference(values.flatten(1), mass.flatten(1), matrix, above.flatten(1))
    torch.testing.assert_close(given.flatten(1), expected)


@pytest.mark.parametrize("mode", [STRICT, LOCAL])
@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_equals_the_dense_reference(kind: str, mode: Mode) -> None:
    target, rest = POOLS[kind]
    values = sparse(2, 2, 5, 5) - 0.7
    values[0, 1] = -1  # a channel with nothing in it
    mass = some_mass(*target(values, *rest).shape)
    [given] = passed_down(target, [values], mass, *rest, mode=mode)
    matrix = matrix_of(lambda cells: target(cells, *rest), (2, 5, 5))
    expected = dense_reference(values.flatten(1), mass.flatten(1), matrix, matrix, mode)
    torch.testing.assert_close(given.flatten(1), expected)
    if mode == LOCAL:
        torch.testing.assert_close(given.flatten(1).sum(1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("target", [aten.mean.dim, aten.sum.dim_IntList])
def test_mass_that_no_cell_pushed_goes_to_all_by_the_size_of_activations_in_local_mode(target) -> None:
    """Cells (-1, -3) under a ReLU: nothing pushed it up."""
    values, mass = torch.tensor([-1.0, -3.0]).view(1, 1, 1, 2), torch.ones(1, 1)
    [strict] = passed_down(target, [values], mass, [2, 3], signed=True, rectified=True)
    [local] = passed_down(target, [values], mass, [2, 3], signed=True, rectified=True, mode=LOCAL)
    assert strict.flatten().tolist() == [0.0, 0.0]
    assert local.flatten().tolist() == [0.25, 0.75]


# residuals, gates, padding


def test_a_residual_splits_by_the_positive_parts() -> None:
    """(3 + 1, 3 + -1, -2 + -1), mass a third each: 3 : 1, all to the first, and the last is lost or halved."""
    first, second = torch.tensor([[3.0, 3.0, -2.0]]), torch.tensor([[1.0, -1.0, -1.0]])
    mass = torch.ones(1, 3)
    strict = passed_down(aten.add.Tensor, [first, second], mass)
    local = passed_down(aten.add.Tensor, [first, second], mass, mode=LOCAL)
    assert [part.tolist() for part in strict] == [[[0.75, 1.0, 0.0]], [[0.25, 0.0, 0.0]]]
    assert [part.tolist() for part in local] == [[[0.75, 1.0, 0.5]], [[0.25, 0.0, 0.5]]]


def test_a_summary_that_is_added_to_every_cell_gets_the_sum_of_its_parts() -> None:
    """Cells (3, 1), to each of which 1 is added, mass a half each: (3/8, 1/4) and 1/8 + 1/4. Where all are 0, in local
    mode half of each goes to the summary.
    """
    cells, mass = torch.tensor([3.0, 1.0]).view(1, 1, 1, 2), torch.full((1, 1, 1, 2), 0.5)
    given = passed_down(aten.add.Tensor, [cells, torch.ones(1, 1, 1, 1)], mass)
    dark = passed_down(aten.add.Tensor, [0 * cells, torch.zeros(1, 1, 1, 1)], mass, mode=LOCAL)
    assert [part.flatten().tolist() for part in given] == [[0.375, 0.25], [0.375]]
    assert [part.flatten().tolist() for part in dark] == [[0.25, 0.25], [0.5]]


def test_a_constant_that_is_added_takes_no_mass() -> None:
    mass = torch.tensor([[0.5, 0.5]])
    [given] = passed_down(aten.add.Tensor, [torch.tensor([[1.0, 2.0]])], mass, 7.0)
    assert given.equal(mass)


@pytest.mark.parametrize("gate_comes_first", [False, True])
def test_a_squeeze_excite_gate_is_a_constant(gate_comes_first: bool) -> None:
    """Gate (n, c, 1, 1) times cells (n, c, h, w): all of the mass through the cells."""
    cells, gate, mass = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 1, 1), some_mass(2, 3, 4, 4).float()
    inputs = [gate, cells] if gate_comes_first else [cells, gate]
    given = passed_down(aten.mul.Tensor, inputs, mass)
    assert given[int(gate_comes_first)].equal(mass)
    assert not given[1 - int(gate_comes_first)].any()


@pytest.mark.parametrize("gate_comes_first", [False, True])
def test_a_gate_made_of_the_same_unit_is_a_constant(gate_comes_first: bool) -> None:
    """x * sigmoid(x): all of the mass through x, whichever comes first."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    gate = graph.call_function(aten.sigmoid.default, (x,))
    node = graph.call_function(aten.mul.Tensor, (gate, x) if gate_comes_first else (x, gate))
    for each in (x, gate, node):
        each.meta["shape"] = (1, 2)
    mass, values = torch.tensor([[0.25, 0.75]]), {x: torch.tensor([[1.0, 3.0]])}
    step = Step(node, mass, torch.tensor([0]), values, frozenset({x, gate, node}), {}, STRICT)
    [(below, given)] = RULES[aten.mul.Tensor](step)
    assert below is x
    assert given.equal(mass)


def test_a_gate_that_attention_reads_too_is_no_constant_factor() -> None:
    """Its values are known on the way down, as those of all that attention attends by are."""
    graph = fx.Graph()
    x, gate = of_shape(graph.placeholder("x"), 1, 2), of_shape(graph.placeholder("gate"), 1, 1)
    node = of_shape(graph.call_function(aten.mul.Tensor, (x, gate)), 1, 2)
    values = {x: torch.tensor([[1.0, 3.0]]), gate: torch.tensor([[-2.0]])}
    mass = torch.tensor([[0.25, 0.75]])
    step = Step(node, mass, torch.tensor([0]), values, frozenset({x, node}), {}, STRICT)
    [(below, given)] = RULES[aten.mul.Tensor](step)
    assert below is x
    assert given.equal(mass)


def test_a_product_of_two_branches_has_no_gate() -> None:
    graph = fx.Graph()
    x, y = graph.placeholder("x"), graph.placeholder("y")
    node = graph.call_function(aten.mul.Tensor, (x, y))
    for each in (x, y, node):
        each.meta["shape"] = (1, 2)
    assert gated_input(node) is None


def test_two_factors_of_which_neither_gates_the_other_share_the_mass() -> None:
    """Units (2, 3, -4) times (5, -1, -2), mass (0.6, 0.3, 0.1): half to each."""
    values = [torch.tensor([[2.0, 3.0, -4.0]]), torch.tensor([[5.0, -1.0, -2.0]])]
    first, second = passed_down(aten.mul.Tensor, values, torch.tensor([[0.6, 0.3, 0.1]]))
    assert first.tolist() == [pytest.approx([0.3, 0.15, 0.05])]
    assert second.equal(first)


@pytest.mark.parametrize("how", ["expanded", "upsampled", "sigmoid", "softmax", "divided"])
def test_what_only_gates_takes_no_mass(how: str) -> None:
    """A gate of fewer units that are repeated, one between 0 and 1, and what the cells are divided by."""
    graph = fx.Graph()
    cells, other = (of_shape(graph.placeholder(name), 2, 3, 4, 4) for name in "xy")
    if how in ("expanded", "upsampled"):
        other.meta["shape"] = (2, 3, 2, 2)
    gate = {
        "expanded": lambda: graph.call_function(aten.expand.default, (other, [2, 3, 4, 4])),
        "upsampled": lambda: graph.call_function(aten.upsample_nearest2d.vec, (other, [4, 4], None)),
        "sigmoid": lambda: graph.call_function(aten.sigmoid.default, (other,)),
        "softmax": lambda: graph.call_function(aten._softmax.default, (other, 1, False)),
        "divided": lambda: other,
    }[how]()
    of_shape(gate, 2, 3, 4, 4)
    target = aten.div.Tensor if how == "divided" else aten.mul.Tensor
    node = of_shape(graph.call_function(target, (cells, gate)), 2, 3, 4, 4)
    assert gated_input(node) is cells
    if how != "divided":
        assert gated_input(of_shape(graph.call_function(target, (gate, cells)), 2, 3, 4, 4)) is cells
    else:
        assert gated_input(of_shape(graph.call_function(target, (1.0, cells)), 2, 3, 4, 4)) is None


def test_a_difference_is_the_sum_with_the_negative_of_the_second() -> None:
    """(1 - 3, 5 - -2, 2 - -1), mass (0.4, 0.35, 0.25): on -2 all to the 3, on 7 as 5 : 2, on 3 as 2 : 1."""
    first, second = torch.tensor([[1.0, 5.0, 2.0]]), torch.tensor([[3.0, -2.0, -1.0]])
    mass = torch.tensor([[0.4, 0.35, 0.25]])
    given = passed_down(aten.sub.Tensor, [first, second], mass, signed=True)
    added = passed_down(aten.add.Tensor, [first, -second], mass, signed=True)
    for found, of_sum, expected in zip(given, added, ([0, 0.25, 1 / 6], [0.4, 0.1, 1 / 12]), strict=True):
        torch.testing.assert_close(found, torch.tensor([expected]))
        assert found.equal(of_sum)


def test_a_summary_that_is_subtracted_gets_no_mass() -> None:
    cells, mass = torch.rand(2, 3, 4, 4), some_mass(2, 3, 4, 4).float()
    first, second = passed_down(aten.sub.Tensor, [cells, cells.mean((2, 3), True)], mass, signed=True)
    assert first.equal(mass)
    assert not second.any()


def test_what_is_never_negative_gets_no_mass_where_it_is_subtracted_under_a_relu() -> None:
    mass = torch.tensor([[0.5, 0.5]])
    first, second = passed_down(
        aten.sub.Tensor, [torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 2.0]])], mass
    )
    assert first.equal(mass)
    assert not second.any()


def test_a_choice_between_two_branches_has_no_gate() -> None:
    graph = fx.Graph()
    x, y = (of_shape(graph.placeholder(name), 1, 2) for name in "xy")
    larger = of_shape(graph.call_function(aten.gt.Scalar, (x, 0)), 1, 2)
    of_one = of_shape(graph.call_function(aten.where.self, (larger, x, x)), 1, 2)
    of_two = of_shape(graph.call_function(aten.where.self, (larger, x, y)), 1, 2)
    assert gated_input(of_one) is x
    assert gated_input(of_two) is None


def test_mass_stays_where_a_constant_factor_is_positive() -> None:
    """Units (2, 2, -1) times (3, -3, 3), mass (0.2, 0.3, 0.5): strict mode keeps the first; local mode all."""
    values, mass = torch.tensor([[2.0, 2.0, -1.0]]), torch.tensor([[0.2, 0.3, 0.5]])
    factor = torch.tensor([3.0, -3.0, 3.0])
    [strict] = passed_down(aten.mul.Tensor, [values], mass, weight=factor)
    [local] = passed_down(aten.mul.Tensor, [values], mass, weight=factor, mode=LOCAL)
    assert strict.tolist() == [[pytest.approx(0.2), 0.0, 0.0]]
    assert local.equal(mass)


@pytest.mark.parametrize(
    ("target", "constant", "kept"),
    [
        (aten.mul.Tensor, 3.0, [0.2, 0.3, 0.0]),
        (aten.div.Tensor, 3.0, [0.2, 0.3, 0.0]),
        (aten.mul.Tensor, -3.0, [0.0, 0.0, 0.0]),
        (aten.div.Tensor, -3.0, [0.0, 0.0, 0.0]),
    ],
)
def test_a_division_by_a_constant_is_the_product_with_its_reciprocal(target, constant, kept) -> None:
    """Units (2, 1, 0), mass (0.2, 0.3, 0.5): times or by 3, W+ z = 0 at the third alone; by -3 at every unit. Between
    units that may be negative mass stays where the input is not 0.
    """
    values, mass = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0.2, 0.3, 0.5]])
    [strict] = passed_down(target, [values], mass, constant)
    [local] = passed_down(target, [values], mass, constant, mode=LOCAL)
    assert strict.tolist() == [pytest.approx(kept)]
    assert local.equal(mass)
    [signed] = passed_down(target, [values], mass, constant, signed=True)
    torch.testing.assert_close(signed, torch.tensor([[0.2, 0.3, 0.0]]))


def test_a_division_by_weights_loses_mass_where_they_are_negative() -> None:
    """Units (2, 2) by (4, -4): as the product with (1/4, -1/4)."""
    values, mass = torch.tensor([[2.0, 2.0]]), torch.tensor([[0.4, 0.6]])
    [given] = passed_down(aten.div.Tensor, [values], mass, weight=torch.tensor([4.0, -4.0]))
    assert given.tolist() == [[pytest.approx(0.4), 0.0]]


def test_a_piece_of_a_split_puts_its_mass_at_its_place() -> None:
    """(1, 2, 3) split into (1), (2, 3): mass on the second piece is mass on the last two units."""
    values, mass = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.4, 0.6]])
    pieces = aten.split_with_sizes.default(values, [1, 2], 1)
    graph = fx.Graph()
    x = graph.placeholder("x")
    split = graph.call_function(aten.split_with_sizes.default, (x, [1, 2], 1))
    node = graph.call_function(operator.getitem, (split, 1))
    known = {x: values, split: pieces, node: pieces[1]}
    step = Step(node, mass, torch.tensor([0]), known, frozenset(known), {}, STRICT)
    [(below, given)] = RULES[operator.getitem](step)
    assert below is split
    torch.testing.assert_close(given, torch.tensor([[0.0, 0.4, 0.6]]))


@pytest.mark.parametrize("mode", [STRICT, LOCAL])
def test_a_layer_at_every_cell_is_the_fully_connected_rule_at_each(mode: Mode) -> None:
    values, mass, weight = sparse(2, 3, 5), some_mass(2, 3, 4), sparse(4, 5, seed=2)
    [given] = passed_down(aten.linear.default, [values], mass, weight=weight, mode=mode)
    for cell in range(3):
        [alone] = passed_down(
            aten.mm.default, [values[:, cell].clamp(min=0)], mass[:, cell], weight=weight.T, mode=mode
        )
        torch.testing.assert_close(given[:, cell], alone)


def test_a_layer_norm_loses_mass_where_gamma_is_negative_in_strict_mode() -> None:
    values, mass = torch.tensor([[[2.0, 1.0]]]), torch.tensor([[[0.5, 0.5]]])
    graph = fx.Graph()
    below, gamma = graph.placeholder("x"), graph.get_attr("gamma")
    node = graph.call_function(aten.native_layer_norm.default, (below, [2], gamma, None, 1e-5))
    known = {below: values, gamma: torch.tensor([1.0, -1.0])}
    for mode, expected in ((STRICT, [0.5, 0.0]), (LOCAL, [0.5, 0.5])):
        step = Step(node, mass, torch.tensor([0]), known, frozenset({below, node}), {}, mode)
        [(_, given)] = RULES[node.target](step)
        assert given.flatten().tolist() == expected


def test_mass_on_padding_is_lost_in_strict_mode_and_goes_to_the_nearest_cell_in_local_mode() -> None:
    """One row (a, b) padded by 1 before and 2 behind, mass (1, 2, 3, 4, 5): (2, 3) or (1 + 2, 3 + 4 + 5)."""
    values, mass = torch.ones(1, 1, 1, 2), torch.arange(1.0, 6.0).view(1, 1, 1, 5)
    [strict] = passed_down(aten.constant_pad_nd.default, [values], mass, [1, 2, 0, 0], 0.0)
    [local] = passed_down(aten.constant_pad_nd.default, [values], mass, [1, 2, 0, 0], 0.0, mode=LOCAL)
    assert strict.flatten().tolist() == [2.0, 3.0]
    assert local.flatten().tolist() == [3.0, 12.0]


def test_a_corners_padding_goes_to_the_corner_in_local_mode() -> None:
    values, mass = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 4, 4)
    [given] = passed_down(aten.constant_pad_nd.default, [values], mass, [1, 1, 1, 1], 0.0, mode=LOCAL)
    assert given.flatten().tolist() == [4.0] * 4


def test_a_negative_pad_crops_and_the_cropped_cells_get_nothing() -> None:
    """Cells (a, b, c, d) cropped by 1 at both ends, mass (1, 2): (0, 1, 2, 0)."""
    values, mass = torch.ones(1, 1, 1, 4), torch.tensor([1.0, 2.0]).view(1, 1, 1, 2)
    [given] = passed_down(aten.constant_pad_nd.default, [values], mass, [-1, -1], 0.0)
    assert given.flatten().tolist() == [0.0, 1.0, 2.0, 0.0]


def test_negative_activations_count_as_zero() -> None:
    """z = (-4, 1), weights (1, 1): all to the second, and no mass is negative."""
    values, weight = torch.tensor([[-4.0, 1.0]]), torch.ones(2, 1)
    [given] = passed_down(aten.mm.default, [values], torch.ones(1, 1), weight=weight)
    assert given.tolist() == [[0.0, 1.0]]
    [local] = passed_down(aten.mm.default, [values], torch.ones(1, 1), weight=-weight, mode=LOCAL)
    assert local.tolist() == [[0.0, 1.0]]


def test_activations_too_small_to_divide_by_give_no_overflow() -> None:
    values, weight = torch.tensor([[1e-40, 1e-40]]), torch.ones(2, 1)
    [given] = passed_down(aten.mm.default, [values], torch.ones(1, 1), weight=weight, mode=LOCAL)
    assert given.tolist() == [[0.5, 0.5]]


def test_every_operator_with_a_rule_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "excitation-rules.md").read_text(encoding="utf-8")
    names = {getattr(target, "_opname", getattr(target, "__name__", "")) for target in RULES}
    assert not {name for name in names if f"`{name}`" not in text}
