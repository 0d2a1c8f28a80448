"""What the benchmark of maps works on: a network with random weights, made ready, and an xNN over its features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torchvision
from torch import nn

from onoma.science.excitation import Explainer, prepare
from onoma.science.nodes import shape_of
from onoma.science.program import Program, find_attachment, find_map_layer, load, save
from onoma.science.xnn import Xnn

WIDTHS = (800, 100)  # of the encoder, between features and X-features
READ_OUT = (
    0.6,
    0.35,
    0.03,
    0.01,
    0.01,
)  # two of five hold 90 %: the paper has 1.2 to 2.9 significant an image
SIDE = 224
NETWORKS = ("vgg16", "resnet50", "mobilenet_v2", "efficientnet_b0", "convnext_tiny")


@dataclass(frozen=True)
class Subject:
    """A network to explain.

    Attributes:
        name: torchvision's.
        network: as torchvision makes it.
        encoder: the xNN's, features to X-features; every X-feature is active.
        explainer: the network made ready.
        xnn: the same encoder with a read-out; every X-feature speaks for the class.
        is_on_pool4: whether it is VGG16 with maps on pool4, at which other libraries can be stopped.
    """

    name: str
    network: nn.Module
    encoder: nn.Sequential
    explainer: Explainer
    xnn: Xnn
    is_on_pool4: bool

    @property
    def x_feature_count(self) -> int:
        """Maps of an image."""
        return len(self.xnn.read_out)


def make(name: str, device: str, dtype: torch.dtype, map_layer: str = "") -> Subject:
    """The network of that name.

    Args:
        map_layer: of the exported graph; "registered": where Onoma draws maps by itself; "": pool4 of VGG16, as in the
            paper, and the registered one of others.
    """
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).eval()
    program = load(save(network, torch.zeros(2, 3, SIDE, SIDE), {}))
    attachment = find_attachment(program)
    pool4 = _pool4(program) if name == "vgg16" else ""
    if map_layer in ("", "registered"):
        map_layer = (not map_layer and pool4) or find_map_layer(program, attachment)
    explainer = prepare(program, attachment, map_layer, "strict", device, dtype)
    encoder = _encoder(math.prod(shape_of(explainer.attachment)[1:])).to(device)
    layers = tuple((m.weight.detach(), m.bias.detach()) for m in encoder if isinstance(m, nn.Linear))
    xnn = Xnn(layers, torch.tensor(READ_OUT, device=device), torch.tensor(0.0, device=device))
    return Subject(name, network.to(device), encoder, explainer, xnn, map_layer == pool4)


def _pool4(program: Program) -> str:
    """The max pool of VGG16 that gives 14 x 14 cells."""
    pools = (node for node in program.graph_module.graph.nodes if node.name.startswith("getitem"))
    return next(node.name for node in pools if shape_of(node)[2:] == (14, 14))


def _encoder(features: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise((features, *WIDTHS, len(READ_OUT))):
        layers += [nn.Linear(a, b), nn.ReLU()]
    with torch.no_grad():  # every X-feature active, so that each way draws all of them
        layers[-2].bias.fill_(10.0)
    return nn.Sequential(*layers)
