"""Predictions a second through gRPC beside the bare onnxruntime session: python -m tests.bench.serving.

ResNet50 (--network: any of torchvision's) with random weights, 224 px, float32, batches of 32 random pictures by
ModelInfer with raw contents. The server runs in a
process of its own; session and server take turns on the same machine, the one idle while the other works, and the
numbers are medians over rounds. With more than one caller the next batch arrives while the network works.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import torch
import torchvision

from onoma.client import Addresses, Client
from onoma.client.transport import MAX_MESSAGE_BYTES
from onoma.open_inference import v2_pb2 as pb
from onoma.open_inference.v2_pb2_grpc import GRPCInferenceServiceStub
from onoma.science.program import save
from tests.bench.machine import machine_name
from tests.services.processes import running

DEADLINE_S = 300
MODEL = "network"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=8, help="a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    images = np.random.default_rng(0).standard_normal((options.batch, 3, 224, 224), np.float32)
    with tempfile.TemporaryDirectory() as folder, running("inference", data_dir=folder) as (_, address):
        onnx = register(options.network, address, Path(folder))
        session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        named = {session.get_inputs()[0].name: images}
        ways: dict[str, Callable[[], object]] = {
            "bare session": lambda: [session.run(["scores"], named) for _ in range(options.batches)]
        }
        limits = [(f"grpc.max_{way}_message_length", MAX_MESSAGE_BYTES) for way in ("send", "receive")]
        with grpc.insecure_channel(address, options=limits) as channel:
            stub = GRPCInferenceServiceStub(channel)
            for callers in options.callers:
                ways[f"gRPC, callers: {callers}"] = lambda callers=callers: call(
                    stub, images, callers, options.batches
                )
            rates = measured(ways, options.rounds, options.batch * options.batches)
    bare = rates["bare session"]
    found = {
        "machine": machine_name("cpu"),
        "network": options.network,
        "batch": options.batch,
        "predictions_a_second": rates,
        "share_of_bare_session": {name: rate / bare for name, rate in rates.items()},
    }
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(
        f"{found['machine']}, onnxruntime {onnxruntime.__version__}, {options.network}, batch {options.batch}"
    )
    print("| way | predictions a second | of the bare session |\n|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.1f} | {rate / bare:.0%} |")


def register(network: str, address: str, folder: Path) -> bytes:
    """Registers the network; gives its ONNX form as the server has it."""
    classes = [f"class {index}" for index in range(1000)]
    preprocessing = {"channels": 3, "height": 224, "width": 224, "mean": [0.0] * 3, "std": [1.0] * 3}
    program = save(
        torchvision.models.get_model(network, weights=None).eval(),
        torch.zeros(2, 3, 224, 224),
        {"classes": classes, "preprocessing": preprocessing},
    )
    with Client(Addresses(inference=address)) as client:
        client.register_model(MODEL, program).wait()
        key = client.get_model(MODEL).onnx_key
    return next((folder / "objects").rglob(key)).read_bytes()


def call(stub: GRPCInferenceServiceStub, images: np.ndarray, callers: int, batches: int) -> None:
    """So many batches by so many callers at once, each one after another; the request is made anew each time."""

    def one(_: int) -> pb.ModelInferResponse:
        tensor = pb.ModelInferRequest.InferInputTensor(name="images", datatype="FP32", shape=images.shape)
        request = pb.ModelInferRequest(
            model_name=MODEL, inputs=[tensor], raw_input_contents=[images.tobytes()]
        )
        request.outputs.add(name="scores")
        return stub.ModelInfer(request, timeout=DEADLINE_S)

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(one, range(batches)))


def measured(ways: dict[str, Callable[[], object]], rounds: int, images: int) -> dict[str, float]:
    """Images a second, medians; a turn of each goes before and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if index:
                seconds[name].append(time.perf_counter() - started)
    return {name: images / statistics.median(taken) for name, taken in seconds.items()}


if __name__ == "__main__":
    main()
