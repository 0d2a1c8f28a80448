"""Maps a second through the services, from pixels and from kept activations: python -m tests.bench.served.

Three server processes, synthetic pictures (shapes of 32 pixels, scaled to 224), a network of torchvision's with random
weights and an xNN a class. `onoma maps compute` is timed from call to end: first with the pictures alone, then with the
map layer's activations kept by the training before. Everything is on one machine and each way is run once.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
import torchvision

from onoma.client import Addresses, Client
from onoma.science.program import save
from onoma.v1 import inference_pb2, jobs_pb2, types_pb2
from tests.bench.machine import machine_name
from tests.services.processes import running
from tests.synthetic import CLASSES, write_image_folder

SIDE = 224
TRAIN = 32  # images a class that xNNs are trained on
NAME = "bench"  # of the data set and the network


@dataclass(frozen=True)
class Served:
    """Servers with a data set and a network.

    Attributes:
        client: of all three.
        attribution: the process that draws maps.
        pictures: of the test part.
    """

    client: Client
    attribution: psutil.Process
    pictures: int

    def study(self, name: str, kept: types_pb2.DatasetPart) -> str:
        """Id of a new study of the test part, with xNNs of its own; a training that keeps activations does so."""
        settings = inference_pb2.XnnSettings(epochs=2)
        self.client.train_xnn(name, NAME, NAME, settings=settings, keep_cells_of=kept).wait()
        study = self.client.create_study(name, NAME, NAME, name, list(CLASSES))
        return study.study_id


@dataclass(frozen=True)
class Progress:
    """What a job had done, and what the process that did it held then.

    Attributes:
        pictures: explained so far.
        resident_bytes: of memory.
    """

    pictures: int
    resident_bytes: int


@contextmanager
def servers(program_for: Callable[[Path], bytes], pictures: int) -> Iterator[Served]:
    """Three servers until the end of the block.

    Args:
        program_for: the network's program, given the folder of pictures.
        pictures: of the test part, a third a class.
    """
    each = pictures // len(CLASSES)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        images = write_image_folder(folder / "shapes", train=TRAIN, test=each)
        settings = {"data_dir": str(folder / "data"), "import_roots": json.dumps([str(folder)])}
        _, inference = opened.enter_context(running("inference", **settings))
        settings["inference_address"] = inference
        _, naming = opened.enter_context(running("naming", **settings))
        process, attribution = opened.enter_context(running("attribution", **settings, naming_address=naming))
        addresses = Addresses(inference=inference, naming=naming, attribution=attribution)
        client = opened.enter_context(Client(addresses))
        client.import_dataset(NAME, str(images)).wait()
        client.register_model(NAME, program_for(images)).wait()
        yield Served(client, psutil.Process(process.pid), each * len(CLASSES))


def program_of(network: str) -> bytes:
    """One of torchvision's with random weights, for the three classes of the pictures."""
    torch.manual_seed(0)
    module = torchvision.models.get_model(network, weights=None, num_classes=len(CLASSES)).eval()
    preprocessing = {"channels": 3, "height": SIDE, "width": SIDE, "mean": [0.5] * 3, "std": [0.25] * 3}
    metadata = {"classes": list(CLASSES), "preprocessing": preprocessing}
    return save(module, torch.zeros(2, 3, SIDE, SIDE), metadata)


def computed(served: Served, study_id: str) -> tuple[dict[str, float], list[Progress]]:
    """ComputeMaps from call to end: images and maps a second, and the memory on the way."""
    seen: list[Progress] = []

    def note(job: jobs_pb2.Job) -> None:
        if job.stage == "drawing maps":
            seen.append(Progress(job.done, served.attribution.memory_info().rss))

    started = time.perf_counter()
    result = served.client.compute_maps(study_id).wait(note)
    taken = time.perf_counter() - started
    return {"images_a_second": result["images"] / taken, "maps_a_second": result["activations"] / taken}, seen


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="vgg16", help="of torchvision's")
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with servers(lambda _: program_of(options.network), options.pictures) as served:
        warm_up = served.study(
            "warm-up", types_pb2.DATASET_PART_TRAIN
        )  # makes the network ready; keeps no test image's
        computed(served, warm_up)
        pixels, _ = computed(served, served.study("pixels", types_pb2.DATASET_PART_UNSPECIFIED))
        kept, _ = computed(served, served.study("kept", types_pb2.DATASET_PART_TEST))
        found = {
            "machine": machine_name("cuda" if torch.cuda.is_available() else "cpu"),
            "network": options.network,
            "pictures": served.pictures,
            "from pixels": pixels,
            "from kept activations": kept,
        }
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print("{machine}; {network}, {pictures} pictures".format(**found))
    print("| ComputeMaps | images a second | maps a second |\n|---|---|---|")
    for way in ("from pixels", "from kept activations"):
        print(f"| {way} | {found[way]['images_a_second']:.2f} | {found[way]['maps_a_second']:.2f} |")


if __name__ == "__main__":
    main()
