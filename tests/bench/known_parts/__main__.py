"""How well maps point, on synthetic pictures with known parts: python -m tests.bench.known_parts, `make bench-parts`.

Paints animals of coloured shapes whose class is decided by three parts each, trains two small networks on them and an
xNN a class, and measures on test pictures whether maps show the parts that decide: pointing game, share of mass,
deletion and insertion (docs/known-parts.md). Means over images, with their standard errors.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench.known_parts.animals import class_names
from tests.bench.known_parts.figure import contact_sheet
from tests.bench.known_parts.measuring import (
    Drawn,
    Scene,
    all_maps,
    certainty,
    chance,
    measure_activations,
    measure_maps,
    scene_of,
)
from tests.bench.known_parts.metrics import blurred
from tests.bench.known_parts.networks import NETWORKS, network_input, train_network
from tests.bench.known_parts.painting import Pictures, random_pictures
from tests.bench.known_parts.subjects import Quality, Subject, explained_by_xnns, quality
from tests.bench.known_parts.table import Result, as_json, as_text

Count = Callable[[], None]  # one step of a stage is done


def main() -> None:
    options = _options()
    torch.set_num_threads(1)  # the layers are too small to share out
    results: list[Result] = []
    scenes: dict[str, tuple[Scene, Drawn]] = {}
    with _progress() as progress:
        painted = _stage(progress, "painting", options.train + options.test)
        training = random_pictures(options.train, (options.seed, 0), painted)
        test = random_pictures(options.test, (options.seed, 1), painted)
        for name in NETWORKS:
            subject = _prepared(name, training, options, progress)
            found = quality(subject, network_input(test.pixels), torch.from_numpy(test.classes))
            scene = scene_of(subject, test, options.images)
            drawn = all_maps(subject, scene, options.seed)
            scenes[name] = (scene, drawn)
            measured = _stage(progress, f"{name}: measuring", len(drawn.by_method))
            results.append(_measured(name, subject, found, scene, drawn, measured))
    if options.figure:
        contact_sheet(scenes, options.figure)
    if options.json:
        print(json.dumps([as_json(result) for result in results], indent=2))
    else:
        print("\n\n".join(as_text(result) for result in results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="of pictures, networks and xNNs")
    parser.add_argument("--images", type=int, default=300, help="test pictures to explain")
    parser.add_argument("--test", type=int, default=1000, help="test pictures to measure accuracy on")
    parser.add_argument("--train", type=int, default=6000, help="pictures to train on")
    parser.add_argument("--epochs", type=int, default=16, help="of the networks' training")
    parser.add_argument("--figure", type=Path, help="write a contact sheet of maps (.png, .svg, .pdf)")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))


def _stage(progress: Progress, description: str, total: int) -> Count:
    task = progress.add_task(description, total=total)
    return lambda: progress.advance(task)


def _prepared(name: str, training: Pictures, options: argparse.Namespace, progress: Progress) -> Subject:
    """The network trained, with its xNNs."""
    images, classes = network_input(training.pixels), torch.from_numpy(training.classes)
    torch.manual_seed(options.seed)
    network = NETWORKS[name](len(class_names()))
    trained = _stage(progress, f"{name}: training", options.epochs)
    train_network(network, images, classes, options.epochs, trained)
    fitted = _stage(progress, f"{name}: xNNs", len(class_names()))
    return explained_by_xnns(network, images, classes, len(class_names()), options.seed, fitted)


def _measured(
    name: str, subject: Subject, found: Quality, scene: Scene, drawn: Drawn, measured: Count
) -> Result:
    images = next(iter(drawn.activations.values())).images
    certainties = (
        certainty(subject, shown, scene.classes) for shown in (scene.images, blurred(scene.images))
    )
    whole, blur = (float(values.mean()) for values in certainties)
    return Result(
        network=name,
        quality=found,
        images=len(scene.images),
        unexplained=len(scene.images) - len(images.unique()),
        activations_an_image=len(images) / len(scene.images),
        certainty=(whole, blur),
        chance=chance(scene),
        maps=measure_maps(subject, scene, drawn, measured),
        activations={kind: measure_activations(scene, of) for kind, of in drawn.activations.items()},
    )


if __name__ == "__main__":
    main()
