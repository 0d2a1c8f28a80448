"""Maps a second, side by side with other libraries: python -m tests.bench.excitation (or `make bench`).

Pictures of noise, 224 px, random weights; an xNN of five X-features (800-100-5 over the attachment's features). VGG16's
maps are drawn on pool4 (14 x 14), as the paper's; --map-layer takes another one, or "registered" the one that a
registration would choose. The floor is the multiply-adds of Onoma's way, two operations each, over the rate of a large
matrix product of the same precision, measured in the same run. Numbers are medians of rounds in which the ways take
turns. On a CPU everything is measured twice, in processes of their own: with the C library's malloc as it is, and as
Onoma's servers set it (docs/serving.md).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from onoma.science.activations import Explained, explain
from onoma.science.batch_size import images_at_once
from onoma.science.excitation import Seen, draw, encoder_mass, look, look_from
from services.runtime.memory import keep_freed_memory
from tests.bench import excitation_peers, subjects
from tests.bench.machine import machine_name
from tests.bench.subjects import Subject

PIXELS = "Onoma, all targets in one pass"
KEPT = "Onoma, from kept activations"
DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
MALLOCS = ("as it is", "keeping freed memory")


@dataclass(frozen=True)
class Way:
    """A way to explain a batch: the work, and the maps it draws."""

    work: Callable[[], object]
    maps: int


def main() -> None:
    options = _options()
    if options.malloc == "both":
        found = [_in_a_process_of_its_own(malloc) for malloc in MALLOCS]
    else:
        found = [_measured(options)]
    print(json.dumps(found, indent=2) if options.json else "\n\n".join(map(_table, found)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=subjects.NETWORKS, default="vgg16")
    parser.add_argument("--map-layer", default="", help='of the exported graph, or "registered"')
    parser.add_argument("--batch", type=int, help="default: as the attribution service chooses it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=DTYPES, default="float32")
    parser.add_argument("--malloc", choices=(*MALLOCS, "both"), help="default: both on a CPU")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.precision == "tf32" and options.device != "cuda":
        parser.error("tf32 needs --device cuda")
    options.malloc = options.malloc or ("both" if options.device == "cpu" else MALLOCS[0])
    return options


def _in_a_process_of_its_own(malloc: str) -> dict:
    command = [sys.executable, "-m", "tests.bench.excitation", *sys.argv[1:], "--malloc", malloc, "--json"]
    (found,) = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return found


def _measured(options: argparse.Namespace) -> dict:
    if options.malloc == MALLOCS[1] and not keep_freed_memory():
        sys.exit("the C library is not glibc, whose malloc alone can be set: give --malloc 'as it is'")
    _use_tf32(options.precision == "tf32")
    subject = subjects.make(options.network, options.device, DTYPES[options.precision], options.map_layer)
    batch = options.batch or images_at_once(subject.explainer)
    pixels = torch.randn(batch, 3, subjects.SIDE, subjects.SIDE)
    peers = excitation_peers.ways(subject) if subject.is_on_pool4 else {}
    ways = _ways(subject, pixels) | {
        name: Way(lambda way=way: way(pixels), batch * subject.x_feature_count) for name, way in peers.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds + 1):  # the first warms up
        for name, way in ways.items():
            seconds[name].append(_timed(way.work))
    floors = {name: batch / seconds_at_least for name, seconds_at_least in _floors(subject, pixels).items()}
    taken = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    return {
        "machine": machine_name(options.device),
        "malloc": options.malloc,
        "network": options.network,
        "map_layer": subject.explainer.map_layer.name,
        "precision": options.precision,
        "batch": batch,
        "rounds": options.rounds,
        "maps_a_second": {name: ways[name].maps / taken[name] for name in ways},
        "images_a_second": {name: batch / taken[name] for name in ways},
        "floor_maps_a_second": {name: rate * subject.x_feature_count for name, rate in floors.items()},
        "share_of_floor": {name: batch / taken[name] / rate for name, rate in floors.items()},
        "times_zennit": _times(excitation_peers.ZENNIT, taken, ways),
        "largest_difference": _differences(subject, pixels, peers, options.precision),
    }


def _ways(subject: Subject, pixels: Tensor) -> dict[str, Way]:
    """Onoma's ways, from pixels and from activations kept of an earlier pass."""
    explainer = subject.explainer
    cells = _cells(subject, pixels)
    all_maps = len(pixels) * subject.x_feature_count
    significant = len(explain(explainer, subject.xnn, 0, look(explainer, pixels[:1])).maps) * len(pixels)

    def explained(seen: Seen) -> object:
        return explain(explainer, subject.xnn, 0, seen)

    return {
        PIXELS: Way(lambda: _all(subject, look(explainer, pixels)), all_maps),
        "Onoma, contrastive": Way(lambda: _all(subject, look(explainer, pixels), contrastive=True), all_maps),
        "Onoma, one target a pass": Way(lambda: _one_at_a_time(subject, pixels), all_maps),
        KEPT: Way(lambda: _all(subject, look_from(explainer, cells)), all_maps),
        "Onoma, significant only, contrastive": Way(lambda: explained(look(explainer, pixels)), significant),
        "Onoma, significant only, contrastive, from kept activations": Way(
            lambda: explained(look_from(explainer, cells)), significant
        ),
    }


def _cells(subject: Subject, pixels: Tensor) -> Tensor:
    return look(subject.explainer, pixels).values[subject.explainer.map_layer].cpu()


def _all(subject: Subject, seen: Seen, *, contrastive: bool = False) -> Explained:
    """All maps in one pass down, as the service has them drawn: every X-feature is positive, so all are significant."""
    return explain(subject.explainer, subject.xnn, 0, seen, 1.0, contrastive=contrastive)


def _one_at_a_time(subject: Subject, pixels: Tensor) -> Tensor:
    rows = torch.arange(len(pixels), device=subject.explainer.device)
    seen = look(subject.explainer, pixels)
    maps = []
    for k in range(subject.x_feature_count):
        mass = encoder_mass(subject.xnn.encoder, seen.features, rows, torch.full_like(rows, k), "strict")
        maps.append(draw(subject.explainer, seen, mass, rows))
    return torch.stack(maps, 1).flatten(0, 1)


def _differences(
    subject: Subject, pixels: Tensor, peers: dict[str, excitation_peers.Way], precision: str
) -> dict[str, float]:
    """Of the maps from the other libraries', and from float32's, as a share of the largest value of the latter."""
    maps = _maps(subject, pixels)
    others = {name: way(pixels).detach().cpu() for name, way in peers.items()}
    if precision != "float32":
        _use_tf32(False)
        layer = subject.explainer.map_layer.name
        exact = subjects.make(subject.name, str(subject.explainer.device), torch.float32, layer)
        others["Onoma, float32"] = _maps(exact, pixels)
        _use_tf32(precision == "tf32")
    return {name: float((maps - other).abs().max() / other.max()) for name, other in others.items()}


def _maps(subject: Subject, pixels: Tensor) -> Tensor:
    """(images * X-features, h, w), in that order."""
    return torch.from_numpy(_all(subject, look(subject.explainer, pixels)).maps)


def _use_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def _floors(subject: Subject, pixels: Tensor) -> dict[str, float]:
    """Seconds that the operations alone take, of the way up in float32 and of the way down in the mass's dtype."""
    explainer, cells = subject.explainer, _cells(subject, pixels)
    ups = {PIXELS: lambda: look(explainer, pixels), KEPT: lambda: look_from(explainer, cells)}
    up_rate, down_rate = (_rate(subject, dtype) for dtype in (torch.float32, explainer.dtype))
    floors = {}
    for name, up in ups.items():
        rising = _operations(up)
        falling = _operations(lambda up=up: _all(subject, up())) - rising
        floors[name] = rising / up_rate + falling / down_rate
    return floors


def _operations(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counted:
        work()
    return counted.get_total_flops()


def _rate(subject: Subject, dtype: torch.dtype) -> float:
    """Operations a second of a 4096 x 4096 matrix product, the best of five."""
    a = torch.randn(4096, 4096, device=subject.explainer.device).to(dtype)
    return 2 * 4096**3 / min(_timed(lambda: a @ a) for _ in range(5))


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _times(peer: str, taken: dict[str, float], ways: dict[str, Way]) -> dict[str, float]:
    """Maps a second by those of the peer; {} where it did not run."""
    if peer not in taken:
        return {}
    return {name: ways[name].maps / taken[name] / (ways[peer].maps / taken[peer]) for name in ways}


def _table(found: dict) -> str:
    times = found["times_zennit"]
    lines = [
        "{machine}; malloc {malloc}; {network}, map layer {map_layer}, {precision}, batch {batch}, "
        "median of {rounds}".format(**found),
        "| way | images a second | maps a second | times zennit |\n|---|---|---|---|",
    ]
    for name, rate in found["maps_a_second"].items():
        ratio = f"{times[name]:.2f}" if times else ""
        lines.append(f"| {name} | {found['images_a_second'][name]:.2f} | {rate:.1f} | {ratio} |")
    for name, rate in found["floor_maps_a_second"].items():
        lines.append(
            f"floor of '{name}': {rate:.1f} maps a second; reached: {found['share_of_floor'][name]:.0%}"
        )
    for name, error in found["largest_difference"].items():
        lines.append(f"largest difference from '{name}': {error:.1e} of the largest value")
    if not times:
        lines.append("zennit and captum left out: not installed, or they need the network cut in two by hand")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
