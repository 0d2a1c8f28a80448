"""Predictions a second through gRPC beside the bare onnxruntime session: python -m tests.bench.serving.

EfficientNet-Lite0 with ImageNet weights (--network: any of torchvision's, with random weights), 224 px, float32,
batches of 32 random pictures by ModelInfer with raw contents. The server and every caller run in processes of their
own; session and server take turns on the same machine, the one idle while the other works, and the numbers are
medians over rounds. With more than one caller the next batch arrives while the network works.
With --apart the callers have the last core and session and server the others, as if they called from elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from onoma.client import Addresses, Client
from onoma.science.program import save
from services.inference.sessions import open_session
from tests.bench.infer_caller import connect, infer
from tests.bench.machine import machine_name
from tests.bench.networks import LITE0, network_named
from tests.services.processes import running

MODEL = "network"
CHANNELS, SIDE = 3, 224
BARE = "bare session"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default=LITE0)
    parser.add_argument("--batch", type=int, default=32, help="images of a request")
    parser.add_argument("--batches", type=int, default=16, help="of a turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--apart", action="store_true", help="callers on a core of their own")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    *cores, last = sorted(os.sched_getaffinity(0))
    callers_cores = {last} if options.apart else {*cores, last}
    if options.apart:
        if not cores:
            parser.error("--apart takes two cores; this process has one")
        os.sched_setaffinity(0, cores)  # the session's threads and the server inherit it
    shape = (options.batch, CHANNELS, SIDE, SIDE)
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        _, address = opened.enter_context(running("inference", data_dir=str(folder)))
        session = open_session(register(options.network, address, folder))
        named = {session.get_inputs()[0].name: images}
        ways: dict[str, Callable[[int], object]] = {
            BARE: lambda batches: [session.run(["scores"], named) for _ in range(batches)]
        }
        for callers in options.callers:
            caller = (address, MODEL, shape, callers_cores)
            pool = ProcessPoolExecutor(callers, get_context("spawn"), connect, caller)
            ways[f"gRPC, callers: {callers}"] = partial(_spread, opened.enter_context(pool))
        rates = measured(ways, options.rounds, options.batches, options.batch)
        provider = session.get_providers()[0]
    bare = rates[BARE]
    found = {
        "machine": machine_name("cuda" if provider.startswith("CUDA") else "cpu"),
        "cores": len(os.sched_getaffinity(0)),
        "cores_of_callers": "apart" if options.apart else "the same",
        "onnxruntime": f"{onnxruntime.__version__}, {provider}",
        "network": options.network,
        "batch": options.batch,
        "predictions_a_second": rates,
        "share_of_bare_session": {name: rate / bare for name, rate in rates.items()},
    }
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(
        ", ".join(
            f"{name} {found[name]}"
            for name in ("machine", "cores", "cores_of_callers", "onnxruntime", "network", "batch")
        )
    )
    print("| way | predictions a second | of the bare session |\n|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.1f} | {rate / bare:.0%} |")


def register(network: str, address: str, folder: Path) -> bytes:
    """Registers the network; gives its ONNX form as the server has it."""
    preprocessing = {
        "channels": CHANNELS,
        "height": SIDE,
        "width": SIDE,
        "mean": [0.0] * CHANNELS,
        "std": [1.0] * CHANNELS,
    }
    classes = [f"class {index}" for index in range(1000)]
    example = torch.zeros(2, CHANNELS, SIDE, SIDE)
    program = save(network_named(network), example, {"classes": classes, "preprocessing": preprocessing})
    with Client(Addresses(inference=address)) as client:
        client.register_model(MODEL, program).wait()
        key = client.get_model(MODEL).onnx_key
    return next((folder / "objects").rglob(key)).read_bytes()


def measured(
    ways: dict[str, Callable[[int], object]], rounds: int, batches: int, images: int
) -> dict[str, float]:
    """Images a second, medians over rounds; a turn of each goes before and is not counted.

    Args:
        ways: each does so many batches of `images` images.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way(batches)
            if index:
                seconds[name].append(time.perf_counter() - started)
    return {name: images * batches / statistics.median(taken) for name, taken in seconds.items()}


def _spread(pool: ProcessPoolExecutor, batches: int) -> None:
    """So many batches by the callers of a pool, each one after another."""
    list(pool.map(infer, range(batches)))


if __name__ == "__main__":
    main()
