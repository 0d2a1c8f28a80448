"""How well maps point, on synthetic pictures with known parts: python -m tests.bench.known_parts, `make bench-parts`.

Paints animals of coloured shapes whose class is decided by three parts each, trains small networks on them and an
xNN a class, several times, and measures on test pictures whether maps show the parts that decide: pointing game, share
of mass, deletion and insertion (docs/known-parts.md). Means over images and trainings of the xNNs, with their standard
errors.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from tests.bench.known_parts.animals import class_names
from tests.bench.known_parts.figure import Drawn, contact_sheet
from tests.bench.known_parts.measuring import (
    ByXnns,
    Scene,
    certainty,
    chance,
    maps_by_xnns,
    maps_without_xnns,
    measure_activations,
    measure_maps,
    scene_of,
)
from tests.bench.known_parts.metrics import blurred
from tests.bench.known_parts.networks import NETWORKS, network_input, train_network
from tests.bench.known_parts.painting import Pictures, random_pictures
from tests.bench.known_parts.subjects import Subject, explained_by_xnns, quality
from tests.bench.known_parts.table import Result, as_json, as_text

Count = Callable[[], None]  # one step of a stage is done


def main() -> None:
    options = _options()
    torch.set_num_threads(1)  # the layers are too small to share out
    results: list[Result] = []
    scenes: dict[str, Drawn] = {}
    with _progress() as progress:
        painted = _stage(progress, "painting", options.train + options.test)
        training = random_pictures(options.train, (options.seed, 0), painted)
        test = random_pictures(options.test, (options.seed, 1), painted)
        for name in NETWORKS:
            if options.networks and name.split()[0] not in options.networks:
                continue
            subjects = _prepared(name, training, options, progress)
            result, scenes[name] = _measured(name, subjects, test, options, progress)
            results.append(result)
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
    parser.add_argument("--trainings", type=int, default=4, help="of the xNNs, on the same network")
    parser.add_argument("--images", type=int, default=300, help="test pictures to explain")
    parser.add_argument("--test", type=int, default=1000, help="test pictures to measure accuracy on")
    parser.add_argument("--train", type=int, default=6000, help="pictures to train on")
    parser.add_argument("--epochs", type=int, help="of a network's training; by default its own")
    parser.add_argument(
        "--networks", nargs="+", choices=[name.split()[0] for name in NETWORKS], help="these alone"
    )
    parser.add_argument("--figure", type=Path, help="write a contact sheet of maps (.png, .svg, .pdf)")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))


def _stage(progress: Progress, description: str, total: int) -> Count:
    task = progress.add_task(description, total=total)
    return lambda: progress.advance(task)


def _prepared(
    name: str, training: Pictures, options: argparse.Namespace, progress: Progress
) -> list[Subject]:
    """The network trained, with the xNNs of each training."""
    images, classes = network_input(training.pixels), torch.from_numpy(training.classes)
    torch.manual_seed(options.seed)
    network = NETWORKS[name](len(class_names()))
    epochs = network.epochs if options.epochs is None else options.epochs
    train_network(network, images, classes, epochs, _stage(progress, f"{name}: training", epochs))
    fitted = _stage(progress, f"{name}: xNNs", options.trainings * len(class_names()))
    seeds = range(options.seed, options.seed + options.trainings)
    return explained_by_xnns(network, images, classes, len(class_names()), seeds, fitted)


def _measured(
    name: str, subjects: Sequence[Subject], test: Pictures, options: argparse.Namespace, progress: Progress
) -> tuple[Result, Drawn]:
    subject = subjects[0]  # what needs no xNN is the same for all
    scene = scene_of(subject, test, options.images)
    by_xnns = [maps_by_xnns(one, scene) for one in subjects]
    others = maps_without_xnns(subject, scene, options.seed)
    maps = [others, *(one.maps for one in by_xnns)]
    measured = _stage(progress, f"{name}: measuring", sum(map(len, maps)))
    of_others, *of_xnns = [measure_maps(subject, scene, some, measured) for some in maps]
    oracle = next(iter(others))
    activations = [
        {kind: measure_activations(scene, of) for kind, of in one.activations.items()} for one in by_xnns
    ]
    result = Result(
        network=name,
        quality=quality(subjects, network_input(test.pixels), torch.from_numpy(test.classes)),
        images=len(scene.images),
        trainings=len(subjects),
        unexplained=_mean(len(scene.images) - len(_explained(one).unique()) for one in by_xnns),
        activations_an_image=_mean(len(_explained(one)) / len(scene.images) for one in by_xnns),
        certainty=_certainty(subject, scene),
        chance=chance(scene),
        maps=_stacked([{oracle: of_others[oracle]}]) | _stacked(of_xnns) | _stacked([of_others]),
        activations=_stacked(activations),
    )
    return result, (scene, by_xnns[0], {**by_xnns[0].maps, **others})


def _stacked(by_training: Sequence[dict[str, dict[str, Tensor]]]) -> dict[str, dict[str, Tensor]]:
    """By row and measure, (trainings, n)."""
    return {
        row: {measure: torch.stack([one[row][measure] for one in by_training]) for measure in measures}
        for row, measures in by_training[0].items()
    }


def _explained(by_xnns: ByXnns) -> Tensor:
    """The image of each significant activation; the same for each mode and kind of map."""
    return next(iter(by_xnns.activations.values())).images


def _certainty(subject: Subject, scene: Scene) -> tuple[float, float]:
    """Mean softmax of the class on the pictures and on their blur."""
    shown = (scene.images, blurred(scene.images))
    whole, blur = (float(certainty(subject, images, scene.classes).mean()) for images in shown)
    return whole, blur


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


if __name__ == "__main__":
    main()
