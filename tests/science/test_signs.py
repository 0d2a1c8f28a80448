"""Which activations may be negative, and where mass may lie on them, told from the graph."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, fx, nn

from onoma.science.excitation import draw, look, prepare
from onoma.science.excitation_rules import weight_of
from onoma.science.mass import by_sign
from onoma.science.program import between, find_attachment, find_map_layer
from onoma.science.signs import nodes_below_zero, signed_nodes
from tests.networks import Between, MobileLike, ModernLike, images, program_of, vgg_like, vit_like

aten = torch.ops.aten
SHAPE = (3, 16, 16)


def found_of(something: Callable[[Tensor], Tensor]) -> tuple[fx.Node, frozenset[fx.Node]]:
    """The node that the mean reads, and those of the graph with units that may be negative."""
    graph = program_of(Between(something).eval(), SHAPE).graph_module.graph
    mean = [n for n in graph.nodes if n.target is aten.mean.dim][-1]
    return mean.args[0], signed_nodes(graph.nodes)


NEVER_NEGATIVE = {
    "nothing": lambda x: x,
    "ReLU6": nn.ReLU6(),
    "sigmoid": nn.Sigmoid(),
    "softplus": lambda x: nn.functional.softplus(x - 1),
    "clamped": lambda x: (x - 1).clamp(min=0.5),
    "pools": lambda x: nn.functional.avg_pool2d(nn.functional.max_pool2d(x, 2), 2),
    "upsampled": nn.Upsample(scale_factor=2),
    "pieces": lambda x: torch.cat([x[:, 2:], x.flip(1)[:, :2]], 1),
    "sum of branches": lambda x: x + x.flip(2),
    "gated": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True) - 1),
    "padded": lambda x: nn.functional.pad(nn.functional.pad(x, (1, 1)), (1, 1), value=0.5),
}
MAY_BE = {
    "less a constant": lambda x: x - 0.1,
    "plus a negative number": lambda x: x + -0.1,
    "times a negative number": lambda x: x * -2.0,
    "plus a constant": lambda x: x + torch.full((1, 4, 1, 1), -1.0),
    "joined to constants": lambda x: torch.cat([x, torch.full((1, 1, 1, 16), -1.0).expand_as(x[:, :1])], 1)[:, 1:],
    "a difference": lambda x: x - x.flip(2),
    "a difference by alpha": lambda x: torch.add(x, x.flip(2), alpha=-1),
    "padded by a negative number": lambda x: nn.functional.pad(x, (1, 1), value=-0.5),
    "GELU": nn.GELU(),
    "SiLU": lambda x: nn.functional.silu(x - 0.1),
    "hardtanh": nn.Hardtanh(),
    "clamped from above": lambda x: (x - 1).clamp(max=0.5),
    "turned by a gate": lambda x: x * torch.tanh(x.mean((2, 3), keepdim=True) - 1),
}  # fmt: skip


@pytest.mark.parametrize("what", NEVER_NEGATIVE)
def test_what_is_never_negative_is_found(what: str) -> None:
    node, signed = found_of(NEVER_NEGATIVE[what])
    assert node not in signed


@pytest.mark.parametrize("what", MAY_BE)
def test_what_may_be_negative_is_found(what: str) -> None:
    node, signed = found_of(MAY_BE[what])
    assert node in signed


@pytest.mark.parametrize("after", [torch.relu, nn.functional.softplus, torch.sigmoid])
def test_no_mass_is_on_negative_units_below_what_rectifies(after: Callable[[Tensor], Tensor]) -> None:
    program = program_of(Between(lambda x: after(x - 1)).eval(), SHAPE)
    path = between(program, "relu", find_attachment(program))
    assert not nodes_below_zero(path, signed_nodes(program.graph_module.graph.nodes))


def test_no_mass_is_on_negative_units_between_relus() -> None:
    program = program_of(vgg_like(), (3, 32, 32))
    path = between(program, None, find_attachment(program))
    assert nodes_below_zero(path, signed_nodes(program.graph_module.graph.nodes)) == {path[0]}  # the image


def test_a_residual_sum_has_mass_on_negative_units_only_where_no_relu_follows() -> None:
    def sum_of(after: Callable[[Tensor], Tensor]) -> bool:
        network = Between(lambda x: after(x + x.flip(2) - 1))
        program = program_of(network.eval(), SHAPE)
        path = between(program, None, find_attachment(program))
        found = nodes_below_zero(path, signed_nodes(program.graph_module.graph.nodes))
        return any(node.target is aten.sub.Tensor for node in found)

    assert not sum_of(torch.relu)
    assert sum_of(nn.Identity())


@pytest.mark.parametrize("network", [MobileLike, ModernLike, vit_like, vgg_like])
def test_what_is_told_from_the_graph_is_so_of_values_and_mass(network: Callable[[], nn.Module]) -> None:
    """No value outside the set is negative, and to take all for signed changes no map of strict mode."""
    program = program_of(network().eval(), (3, 32, 32))
    attachment = find_attachment(program)
    explainer = prepare(program, attachment, find_map_layer(program, attachment), "strict")
    seen = look(explainer, images(3, (3, 32, 32)))
    for node in set(explainer.path) - explainer.signed:
        value = seen.values[node]
        assert float((value[0] if isinstance(value, tuple | list) else value).min()) >= 0
    path = frozenset(explainer.path)
    weights = {
        node: by_sign(explainer.constants[weight_of(node)], is_signed=True) for node in explainer.weights
    }
    of_all = replace(explainer, signed=path, below_zero=path, weights=weights)
    mass, rows = torch.rand(3, seen.features.shape[1]), torch.arange(3)
    mass = mass * (seen.features != 0)
    torch.testing.assert_close(draw(explainer, seen, mass, rows), draw(of_all, seen, mass, rows))
