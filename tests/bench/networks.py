"""Which networks Excitation Backprop works on: python -m tests.bench.networks [NAME ...] prints the table of the docs.

Each network is exported with random weights, as `onoma model export torchvision:NAME` does, read back, and mass is
brought from its features down to the map layer on noise pictures, in both modes.
"""

from __future__ import annotations

import argparse
import gc

import torch
import torchvision

from onoma.science.excitation import MissingRule, draw, look, prepare
from onoma.science.program import RefusedProgram, find_attachment, find_map_layer, load, save, shape_of

NETWORKS = (
    "alexnet", "vgg16", "vgg16_bn", "resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "densenet121",
    "googlenet", "inception_v3", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_large", "mnasnet1_0",
    "shufflenet_v2_x1_0", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "vit_b_16",
)  # fmt: skip
OPTIONS = {"googlenet": {"init_weights": True}, "inception_v3": {"init_weights": True}}
IMAGES = 2


def survey(name: str) -> tuple[str, ...]:
    """Name, whether it works, attachment, map layer with its cells, mass kept in strict and in local mode."""
    torch.manual_seed(0)
    side = 299 if name == "inception_v3" else 224
    network = torchvision.models.get_model(name, weights=None, **OPTIONS.get(name, {}))
    try:
        program = load(save(network, torch.zeros(2, 3, side, side), {}))
        attachment = find_attachment(program)
        map_layer = find_map_layer(program, attachment)
        pixels = torch.randn(IMAGES, 3, side, side)
        kept = [_kept(prepare(program, attachment, map_layer, mode), pixels) for mode in ("strict", "local")]
    except (RefusedProgram, MissingRule, ValueError) as error:
        return name, f"refused: {error}", "", "", "", ""
    cells = "x".join(map(str, shape_of(program.node(map_layer))[2:]))
    return name, "works", attachment, f"{map_layer} ({cells})", *(f"{share:.3f}" for share in kept)


def _kept(explainer, pixels) -> float:
    seen = look(explainer, pixels)
    features = seen.features.clamp(min=0)
    mass = features / features.sum(1, keepdim=True)
    return float(draw(explainer, seen, mass, torch.arange(len(pixels))).sum((1, 2)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NETWORKS)
    print("| network | | attachment | map layer | kept, strict | kept, local |\n|---|---|---|---|---|---|")
    for name in parser.parse_args().names:
        print("| " + " | ".join(survey(name)) + " |", flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
