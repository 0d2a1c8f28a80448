"""Maps equal zennit's Excitation Backprop (biases zeroed) on ReLU networks, an implementation that others wrote.

Where the two differ by design, an example worked by hand says how.
"""

import pytest
import torch
from torch import Tensor, fx, nn
from zennit.composites import ExcitationBackprop
from zennit.layer import Sum

from onoma.science.excitation import draw, encoder_mass, look, prepare
from onoma.science.excitation_rules import RULES
from onoma.science.mass import Step, by_sign, matrix_down
from tests.networks import images, program_of

SHAPE = (3, 32, 32)
STABILIZER = 1e-9


def bottom() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())


def top(pool: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.ReLU(),
        pool,
        nn.Conv2d(12, 16, 3, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(24),
        nn.ReLU(),
    )


def encoder() -> nn.Sequential:
    return nn.Sequential(nn.Linear(24, 10), nn.ReLU(), nn.Linear(10, 5), nn.ReLU())


def zennit(network: nn.Module, values: Tensor, target: int) -> Tensor:
    """Relevance of one output unit at the network's input, of its shape."""
    values = values.clone().requires_grad_()
    with ExcitationBackprop(stabilizer=STABILIZER, zero_params=["bias"]).context(network) as hooked:
        output = hooked(values)
        wanted = torch.zeros_like(output)
        wanted[:, target] = 1
        (relevance,) = torch.autograd.grad(output, values, wanted)
    return relevance


@pytest.mark.parametrize(
    "pool",
    [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, padding=1), nn.AvgPool2d(2), nn.AvgPool2d(3, 2)],
    ids=["max", "overlapping max", "average", "overlapping average"],
)
def test_maps_of_x_features_equal_zennits(pool: nn.Module) -> None:
    torch.manual_seed(0)
    lower, upper, code = bottom(), top(pool), encoder()
    pixels = images(3, SHAPE)
    with torch.no_grad():
        features = upper(lower(pixels))
        x = code(features)
    network = nn.Sequential(lower, upper, nn.Linear(24, 4)).eval()
    program = program_of(network, SHAPE)
    relus = [n.name for n in program.graph_module.graph.nodes if "relu" in str(n.target)]
    explainer = prepare(program, relus[-1], relus[0], "strict")
    seen = look(explainer, pixels)
    torch.testing.assert_close(seen.features, features, atol=1e-5, rtol=0)
    weights = [(layer.weight.detach(), layer.bias.detach()) for layer in (code[0], code[2])]
    rows, chosen = (x > 0).nonzero(as_tuple=True)
    assert len(rows) >= 6
    found = draw(explainer, seen, encoder_mass(weights, seen.features, rows, chosen, "strict"), rows)
    with torch.no_grad():
        cells = lower(pixels)
    expected = torch.stack(
        [
            zennit(nn.Sequential(upper, code), cells, int(k))[i].sum(0)
            for i, k in zip(rows, chosen, strict=True)
        ]
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_negative_inputs_push_by_negative_weights_as_in_zennit() -> None:
    """z = (2, -1), weights (1, -3): what pushed the unit up is 1 * 2 and (-3) * (-1), so 2 / 5 and 3 / 5."""
    values, weight = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, -3.0]])
    parts, weights = (by_sign(of, is_signed=True) for of in (values, weight.T))
    ours = matrix_down(parts, weights, torch.ones(1, 1), torch.tensor([0]), "strict")
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    torch.testing.assert_close(ours, torch.tensor([[0.4, 0.6]]))
    torch.testing.assert_close(zennit(nn.Sequential(layer), values, 0), ours)


def test_mass_on_a_negative_unit_goes_to_what_pushed_it_down_here_and_up_there() -> None:
    """z = (2, -1), weights (1, 3): -1 * 3 pushed the unit down to -1, so all goes to the second. zennit's z+ rule knows
    no negative units: all to the first, which pushed it up.
    """
    values, weight = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 3.0]])
    parts, weights = (by_sign(of, is_signed=True) for of in (values, weight.T))
    ours = matrix_down(parts, weights, torch.ones(1, 1), torch.tensor([0]), "strict", sign=-torch.ones(1, 1))
    assert ours.tolist() == [[0.0, 1.0]]
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    torch.testing.assert_close(zennit(nn.Sequential(layer), values, 0), torch.tensor([[1.0, 0.0]]))


def test_a_unit_that_was_hardly_pushed_the_way_it_is_loses_no_digits() -> None:
    """z = (1, -1, 1e-8), weights (-1, 1, 1), a unit that its bias made positive: 1e-8 alone pushed it up, so the third
    input gets all. One made negative has 1 / 2 from each of the first two.
    """
    values, weight = torch.tensor([[1.0, -1.0, 1e-8]]), torch.tensor([[-1.0, 1.0, 1.0]])
    parts, weights = (by_sign(of, is_signed=True) for of in (values, weight.T))
    for sign, expected in (1.0, [0.0, 0.0, 1.0]), (-1.0, [0.5, 0.5, 0.0]):
        ours = matrix_down(
            parts, weights, torch.ones(1, 1), torch.tensor([0]), "strict", sign=torch.full((1, 1), sign)
        )
        assert ours.tolist() == [expected]


def test_a_residual_gives_nothing_to_a_negative_branch_here_and_negative_mass_there() -> None:
    """a = 3, b = -1, mass 1 on the sum: here a+ : b+ = 1 : 0. zennit's norm rule: 3 / 2 and -1 / 2."""
    values = torch.tensor([[[3.0, -1.0]]])
    theirs = zennit(nn.Sequential(Sum(dim=-1)), values, 0)
    torch.testing.assert_close(theirs, torch.tensor([[[1.5, -0.5]]]))
    graph = fx.Graph()
    first, second = graph.placeholder("a"), graph.placeholder("b")
    node = graph.call_function(torch.ops.aten.add.Tensor, (first, second))
    known = {first: values[..., 0], second: values[..., 1]}
    step = Step(
        node, torch.ones(1, 1), torch.tensor([0]), known, frozenset({first, second, node}), {}, "strict"
    )
    assert [float(mass) for _, mass in RULES[node.target](step)] == [1.0, 0.0]


def test_a_batch_norm_with_negative_gamma_is_folded_here_and_a_gradient_there() -> None:
    """z = 2, weights (1, -1), gamma (1, -1): folded weights (1, 1), and mass 1 on the second unit is mass 1
    below. zennit without a canonizer takes the batch norm's gradient, -1, and W+ = 0 for the second: none arrives.
    """
    network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2, eps=0)).eval()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        network[1].weight.copy_(torch.tensor([1.0, -1.0]))
    values = torch.full((1, 1, 1, 1), 2.0)
    assert float(zennit(network, values, 1)) == 0
    whole = nn.Sequential(
        nn.Conv2d(1, 1, 1), nn.ReLU(), *network, nn.ReLU(), nn.Flatten(), nn.Linear(2, 2)
    ).eval()
    with torch.no_grad():
        whole[0].weight.fill_(1.0)
        whole[0].bias.zero_()
    program = program_of(whole, (1, 1, 1))
    relus = [n.name for n in program.graph_module.graph.nodes if "relu" in str(n.target)]
    explainer = prepare(program, relus[1], relus[0], "strict")
    seen = look(explainer, values)
    assert seen.features.tolist() == [[2.0, 2.0]]
    assert draw(explainer, seen, torch.tensor([[0.0, 1.0]]), torch.tensor([0])).tolist() == [[[1.0]]]
