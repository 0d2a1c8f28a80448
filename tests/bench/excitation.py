"""Maps a second on VGG16, side by side with zennit: python -m tests.bench.excitation (or `make bench`).

224 px, 5 X-features (4096-800-100-5 on the first fully-connected layer), map layer pool4 (14 x 14), float32, random
weights. Every way does the same work from pixels: all five plain maps of each image. The floor is the floating-point
operations of the cheapest way over the rate of a large matrix product, measured in the same run. Numbers are medians of
rounds in which the ways take turns.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torchvision
from torch import Tensor, nn
from zennit.composites import ExcitationBackprop

from onoma.science.excitation import Explainer, draw, encoder_mass, look, prepare
from onoma.science.program import find_attachment, load, save, shape_of

X_FEATURES = 5
WIDTHS = (4096, 800, 100, X_FEATURES)
POOL4 = 24  # of VGG16's feature modules, counting it
CONVOLUTIONS_FLOPS = 2 * 15.35e9  # an image, up to pool5: VGG16's multiply-adds, two operations each


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    network = torchvision.models.vgg16(weights=None).eval()
    encoder = _encoder()
    explainer = _explainer(network, options.device)
    pixels = torch.randn(options.batch, 3, 224, 224)
    network, encoder = network.to(options.device), encoder.to(options.device)
    weights = [(m.weight.detach(), m.bias.detach()) for m in encoder if isinstance(m, nn.Linear)]
    ways: dict[str, Callable[[], Tensor]] = {
        "onoma, all targets in one pass": lambda: _together(explainer, weights, pixels),
        "onoma, contrastive": lambda: _together(explainer, weights, pixels, contrastive=True),
        "onoma, one target a pass": lambda: _one_at_a_time(explainer, weights, pixels),
        "zennit, stopped at the layer, a pass up and down a target": lambda: _zennit_target_by_target(
            network, encoder, pixels.to(options.device)
        ),
        "zennit, stopped at the layer, one pass up for all": lambda: _zennit(
            network, encoder, pixels.to(options.device)
        ),
    }
    reference = _together(explainer, weights, pixels).cpu()
    error = float((_zennit(network, encoder, pixels.to(options.device)).cpu() - reference).abs().max())
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            seconds[name].append(_timed(way, options.device))
    maps = options.batch * X_FEATURES
    rates = {name: maps / statistics.median(times) for name, times in seconds.items()}
    floor = X_FEATURES * _flops_a_second(options.device) / _flops(network, encoder)
    first, _, _, peer, shared = rates
    found = {
        "machine": _machine(options.device),
        "batch": options.batch,
        "maps_a_second": rates,
        "floor_maps_a_second": floor,
        "times_zennit": rates[first] / rates[peer],
        "times_zennit_with_one_pass_up": rates[first] / rates[shared],
        "share_of_floor": rates[first] / floor,
        "largest_difference_from_zennit": error,
    }
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['machine']}, torch {torch.__version__}, batch {options.batch}, median of {options.rounds}")
    print("| way | maps a second | times zennit |\n|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.1f} | {rate / rates[peer]:.2f} |")
    print(f"| floor | {floor:.1f} | {floor / rates[peer]:.2f} |")
    print(f"share of the floor: {found['share_of_floor']:.0%}; largest difference from zennit: {error:.1e}")


def _encoder() -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(WIDTHS):
        layers += [nn.Linear(a, b), nn.ReLU()]
    with torch.no_grad():  # every X-feature active, so that each way draws all five
        layers[-2].bias.fill_(10.0)
    return nn.Sequential(*layers)


def _explainer(network: nn.Module, device: str) -> Explainer:
    program = load(save(network, torch.zeros(2, 3, 224, 224), {}))
    pools = [
        n.name
        for n in program.graph_module.graph.nodes
        if n.name.startswith("getitem") and shape_of(n)[2:] == (14, 14)
    ]
    return prepare(program, find_attachment(program), pools[0], "strict", device)


def _targets(count: int) -> tuple[Tensor, Tensor]:
    return torch.arange(count).repeat_interleave(X_FEATURES), torch.arange(X_FEATURES).repeat(count)


def _together(
    explainer: Explainer, weights: list[tuple[Tensor, Tensor]], pixels: Tensor, *, contrastive: bool = False
) -> Tensor:
    """All targets in one pass down; contrastive maps take a second mass a target."""
    rows, chosen = _targets(len(pixels))
    rows, chosen = rows.to(explainer.device), chosen.to(explainer.device)
    seen = look(explainer, pixels)
    kinds = (False, True) if contrastive else (False,)
    masses = [encoder_mass(weights, seen.features, rows, chosen, "strict", inhibiting=kind) for kind in kinds]
    return draw(explainer, seen, torch.cat(masses), rows.repeat(len(kinds)))


def _one_at_a_time(explainer: Explainer, weights: list[tuple[Tensor, Tensor]], pixels: Tensor) -> Tensor:
    rows = torch.arange(len(pixels), device=explainer.device)
    seen = look(explainer, pixels)
    maps = [
        draw(
            explainer,
            seen,
            encoder_mass(weights, seen.features, rows, torch.full_like(rows, k), "strict"),
            rows,
        )
        for k in range(X_FEATURES)
    ]
    return torch.stack(maps, 1).flatten(0, 1)


def _zennit_target_by_target(network: nn.Module, encoder: nn.Module, pixels: Tensor) -> Tensor:
    """As its attributors are called: forward and backward for each target."""
    maps = [_zennit(network, encoder, pixels, [k]) for k in range(X_FEATURES)]
    return torch.stack(maps, 1).flatten(0, 1)


def _zennit(
    network: nn.Module, encoder: nn.Module, pixels: Tensor, targets: Sequence[int] = range(X_FEATURES)
) -> Tensor:
    """One forward pass, then one backward pass a target: more than zennit's attributors share."""
    lower = network.features[:POOL4]
    upper = nn.Sequential(
        network.features[POOL4:], network.avgpool, nn.Flatten(), network.classifier[:2], encoder
    )
    with torch.no_grad():
        cells = lower(pixels)
    cells.requires_grad_()
    with ExcitationBackprop(zero_params=["bias"]).context(upper) as hooked:
        x = hooked(cells)
        maps = []
        for k in targets:
            wanted = torch.zeros_like(x)
            wanted[:, k] = 1
            (relevance,) = torch.autograd.grad(x, cells, wanted, retain_graph=True)
            maps.append(relevance.sum(1))
    return torch.stack(maps, 1).flatten(0, 1)


def _flops(network: nn.Module, encoder: nn.Module) -> float:
    """Operations an image: the forward pass, the denominators above pool4 once, the way down five times."""
    above = 2 * 3 * 9 * 512 * 512 * 14 * 14 + 2 * sum(
        m.weight.numel() for m in (network.classifier[0], *encoder) if isinstance(m, nn.Linear)
    )
    return CONVOLUTIONS_FLOPS + 2 * network.classifier[0].weight.numel() + above * (1 + X_FEATURES)


def _flops_a_second(device: str) -> float:
    a = torch.randn(4096, 4096, device=device)
    return max(2 * 4096**3 / _timed(lambda: a @ a, device) for _ in range(5))


def _timed(work: Callable[[], Tensor], device: str) -> float:
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
