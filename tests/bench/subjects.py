"""What the benchmark of maps works on: a network with random weights, made ready, and an xNN over its features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torchvision
from torch import Tensor, nn

from onoma.science.excitation import Explainer, prepare
from onoma.science.program import find_attachment, find_map_layer, load, save, shape_of
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
NETWORKS = ("vgg16", "resnet50")


@dataclass(frozen=True)
class Subject:
    """A network to explain.

    Attributes:
        name: torchvision's.
        network: as torchvision makes it.
        encoder: the xNN's, features to X-features; every X-feature is active.
        explainer: the network made ready.
        xnn: the same encoder with a read-out.
    """

    name: str
    network: nn.Module
    encoder: nn.Sequential
    explainer: Explainer
    xnn: Xnn

    @property
    def x_feature_count(self) -> int:
        """Maps of an image."""
        return len(self.xnn.read_out)


def make(name: str, device: str, dtype: torch.dtype) -> Subject:
    """The network of that name; VGG16's maps are drawn on pool4, others' where Onoma draws them by itself."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).eval()
    program = load(save(network, torch.zeros(2, 3, SIDE, SIDE), {}))
    attachment = find_attachment(program)
    map_layer = find_map_layer(program, attachment)
    if name == "vgg16":
        pools = (node for node in program.graph_module.graph.nodes if node.name.startswith("getitem"))
        map_layer = next(node.name for node in pools if shape_of(node)[2:] == (14, 14))
    explainer = prepare(program, attachment, map_layer, "strict", device, dtype)
    encoder = _encoder(math.prod(shape_of(explainer.attachment)[1:])).to(device)
    layers = tuple((m.weight.detach(), m.bias.detach()) for m in encoder if isinstance(m, nn.Linear))
    xnn = Xnn(layers, torch.tensor(READ_OUT, device=device), torch.tensor(0.0, device=device))
    return Subject(name, network.to(device), encoder, explainer, xnn)


def _encoder(features: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise((features, *WIDTHS, len(READ_OUT))):
        layers += [nn.Linear(a, b), nn.ReLU()]
    with torch.no_grad():  # every X-feature active, so that each way draws all of them
        layers[-2].bias.fill_(10.0)
    return nn.Sequential(*layers)


def all_targets(subject: Subject, images: int) -> tuple[Tensor, Tensor]:
    """Image and X-feature of each map of so many images, on the explainer's device."""
    device, count = subject.explainer.device, subject.x_feature_count
    rows, chosen = torch.arange(images).repeat_interleave(count), torch.arange(count).repeat(images)
    return rows.to(device), chosen.to(device)
