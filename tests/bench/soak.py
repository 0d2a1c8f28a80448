"""Whether memory stays flat while many images are explained: python -m tests.bench.soak (or `make soak`).

Synthetic pictures (noise) through a forward pass and contrastive maps of two classes, batch after batch. After a
warm-up of a fifth of the images a straight line is fitted to the memory in use: resident memory once malloc has given
back what is free, and on a GPU what torch has allocated there. Exit code 1 where it climbs by more than the bound.
`--leak 4` keeps 4 KB an image on purpose, to see it caught. `--served` watches the attribution server instead, while
ComputeMaps explains a data set of so many synthetic pictures.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.progress import track

from onoma.science.activations import explain_classes
from onoma.science.excitation import Explainer, look, prepare
from onoma.science.nodes import shape_of
from onoma.science.program import find_attachment, find_map_layer, load, save
from onoma.science.xnn import Xnn
from tests.networks import SHAPE, program_of, vgg_like

BOUND_KB = 0.5  # an image, over 10,000 images: 4 MB between warm-up and end
WARM_UP = 0.2
X_FEATURES = 5


@dataclass(frozen=True)
class Growth:
    """Memory in use after warm-up.

    Attributes:
        memory: "resident", or "device": what torch has allocated on the GPU.
        kb_an_image: slope of the line that fits best, in units of 1024 bytes.
        first_mb: at the end of the warm-up, in units of 2**20 bytes.
        last_mb: at the end.
    """

    memory: str
    kb_an_image: float
    first_mb: float
    last_mb: float


def growth(work: Callable[[int], None], images: int, batch: int, device: torch.device) -> list[Growth]:
    """Does `work(batch)` until so many images are through, and fits lines to the memory in use."""
    used: dict[str, list[int]] = {"resident": []}
    if device.type == "cuda":
        used["device"] = []
    done = np.arange(batch, images + batch, batch)
    for _ in _shown(done):
        work(batch)
        used["resident"].append(resident_bytes())
        if "device" in used:
            used["device"].append(torch.cuda.memory_allocated(device))
    warm = done > WARM_UP * images
    return [_fit(name, done[warm], np.array(values)[warm]) for name, values in used.items()]


def resident_bytes() -> int:
    """Resident memory of this process without what malloc keeps of blocks that were freed.

    Large blocks come and go between a network's layers; how many of the freed ones malloc keeps changes from batch to
    batch, by tens of MB on VGG16.
    """
    ctypes.CDLL(None).malloc_trim(0)  # glibc, as on every Linux that we know torch on
    return psutil.Process().memory_info().rss


def served_growth(network: str, images: int) -> list[Growth]:
    """Resident memory of an attribution server while it draws the maps of a study of so many images."""
    from onoma.v1 import types_pb2  # needs gRPC, which the other mode does without
    from tests.bench import served
    from tests.synthetic import tiny_program

    program_for = tiny_program if network == "small" else lambda _: served.program_of(network)
    with served.servers(program_for, images) as running:
        _, seen = served.computed(running, running.study("soak", types_pb2.DATASET_PART_UNSPECIFIED))
    done = np.array([progress.pictures for progress in seen])
    used = np.array([progress.resident_bytes for progress in seen])
    warm = done > WARM_UP * images
    return [_fit("attribution server's resident", done[warm], used[warm])]


def _fit(memory: str, done: np.ndarray, used: np.ndarray) -> Growth:
    slope = float(np.polyfit(done, used, 1)[0])
    return Growth(memory, slope / 2**10, float(used[0]) / 2**20, float(used[-1]) / 2**20)


def _shown(steps: Iterable[int]) -> Iterable[int]:
    console = Console(stderr=True)
    return track(list(steps), "explaining", console=console, disable=not console.is_terminal)


def explaining(explainer: Explainer, leaked_kb: int = 0) -> Callable[[int], None]:
    """What explains so many pictures of noise, another batch each time; it may leak on purpose."""
    generator = torch.Generator().manual_seed(0)
    xnns = [(index, _random_xnn(explainer, index)) for index in range(2)]
    kept: list[bytes] = []

    def work(batch: int) -> None:
        pixels = torch.rand(batch, *explainer.program.input_shape, generator=generator) * 2 - 1
        explain_classes(explainer, xnns, look(explainer, pixels))
        if leaked_kb:
            kept.append(np.random.default_rng(len(kept)).bytes(batch * leaked_kb * 2**10))

    return work


def _random_xnn(explainer: Explainer, seed: int) -> Xnn:
    generator = torch.Generator().manual_seed(seed)
    features = int(np.prod(shape_of(explainer.attachment)[1:]))
    layers = tuple(
        (torch.randn(b, a, generator=generator) / a**0.5, torch.zeros(b))
        for a, b in ((features, 16), (16, X_FEATURES))
    )
    on_device = tuple((w.to(explainer.device), b.to(explainer.device)) for w, b in layers)
    return Xnn(on_device, torch.ones(X_FEATURES).to(explainer.device), torch.tensor(0.0).to(explainer.device))


def small_explainer(device: str = "cpu") -> Explainer:
    """A VGG in the small, 32 x 32 pixels."""
    program = program_of(vgg_like(), SHAPE)
    attachment = find_attachment(program)
    return prepare(program, attachment, find_map_layer(program, attachment), "local", device)


def vgg16_explainer(device: str = "cpu") -> Explainer:
    """torchvision's VGG16 with random weights, 224 x 224 pixels."""
    import torchvision

    program = load(save(torchvision.models.vgg16(weights=None).eval(), torch.zeros(2, 3, 224, 224), {}))
    attachment = find_attachment(program)
    return prepare(program, attachment, find_map_layer(program, attachment), "strict", device)


NETWORKS = {"small": small_explainer, "vgg16": vgg16_explainer}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bound", type=float, default=BOUND_KB, help="KB an image")
    parser.add_argument("--leak", type=int, default=0, help="KB an image to keep on purpose")
    parser.add_argument("--served", action="store_true", help="a server process, by ComputeMaps")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.served and options.leak:
        parser.error("a server cannot be made to leak; leave out --leak or --served")
    torch.manual_seed(0)
    if options.network == "small":
        torch.set_num_threads(1)  # its layers are too small to share out
    if options.served:
        found = served_growth(options.network, options.images)
    else:
        explainer = NETWORKS[options.network](options.device)
        work = explaining(explainer, options.leak)
        found = growth(work, options.images, options.batch, explainer.device)
    flat = all(one.kb_an_image <= options.bound for one in found)
    if options.json:
        grown = [asdict(one) for one in found]
        print(
            json.dumps({"images": options.images, "bound_kb": options.bound, "flat": flat, "memory": grown})
        )
    for one in () if options.json else found:
        print(
            f"{one.memory} memory: {one.kb_an_image:+.3f} KB an image (bound {options.bound}), "
            f"{one.first_mb:.1f} MB after warm-up, {one.last_mb:.1f} MB after {options.images} images"
        )
    sys.exit(0 if flat else 1)


if __name__ == "__main__":
    main()
