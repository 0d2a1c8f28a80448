"""Measures every method's maps of one network on test pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from onoma.science.excitation import Seen, look
from tests.bench.known_parts.methods import (
    centre,
    drawn_masks,
    excitation_of_score,
    grad_cam,
    noise,
    significant_activations,
    summed,
)
from tests.bench.known_parts.metrics import (
    blurred,
    enlarged,
    hits,
    mass_on,
    pointed_parts,
    replaced_areas,
    with_margin,
)
from tests.bench.known_parts.networks import network_input, scores
from tests.bench.known_parts.painting import Pictures
from tests.bench.known_parts.subjects import MODES, Subject

KINDS = {"plain": False, "contrastive": True}


@dataclass(frozen=True, eq=False)
class Scene:
    """n test pictures of one network, all classified right, each explained for its class.

    Attributes:
        images: (n, 3, H, W).
        classes: (n,) int64.
        labels: (n, H, W) int64: 0 the background, else 1 + the part that is seen there.
        deciding: (n, parts) bool, which of them decide the class.
        seen: their forward pass.
    """

    images: Tensor
    classes: Tensor
    labels: Tensor
    deciding: Tensor
    seen: Seen

    @property
    def deciding_masks(self) -> Tensor:
        """(n, H, W) bool: where a part that decides the class is seen."""
        decides = torch.nn.functional.pad(self.deciding, (1, 0))
        return decides.gather(1, self.labels.flatten(1)).reshape(self.labels.shape)


@dataclass(frozen=True, eq=False)
class Activations:
    """m significant activations of a scene's images under one mode and kind of map: image, contribution and map."""

    images: Tensor
    contributions: Tensor
    maps: Tensor


@dataclass(frozen=True, eq=False)
class Drawn:
    """All maps of a scene: of each image by method, (n, h, w), and the activations by "mode, kind"."""

    by_method: dict[str, Tensor]
    activations: dict[str, Activations]


def scene_of(subject: Subject, pictures: Pictures, count: int) -> Scene:
    """The first so many of the pictures that the network classifies right."""
    images, classes = network_input(pictures.pixels), torch.from_numpy(pictures.classes)
    right = (scores(subject.network, images).argmax(1) == classes).nonzero()[:count, 0]
    return Scene(
        images=images[right],
        classes=classes[right],
        labels=torch.from_numpy(pictures.labels).long()[right],
        deciding=torch.from_numpy(pictures.deciding)[right],
        seen=look(subject.explainers["strict"], images[right]),
    )


def all_maps(subject: Subject, scene: Scene, seed: int) -> Drawn:
    """Every method's maps, in the order of the table."""
    size, count = scene.images.shape[3], len(scene.images)
    activations, ours, of_score = {}, {}, {}
    for mode in MODES:
        explainer = subject.explainers[mode]
        for kind, contrastive in KINDS.items():
            found = Activations(
                *significant_activations(
                    explainer, subject.xnns, scene.seen, scene.classes, contrastive=contrastive
                )
            )
            activations[f"{mode}, {kind}"] = found
            ours[f"Onoma: {mode}, {kind}"] = summed(found.images, found.contributions, found.maps, count)
            of_score[f"no xNN: {mode}, {kind}"] = excitation_of_score(
                explainer, subject.classifier, scene.seen, scene.classes, contrastive=contrastive
            )
    cells = next(iter(ours.values())).shape[1]
    return Drawn(
        by_method={
            "oracle: the deciding parts": drawn_masks(scene.deciding_masks, seed),
            **ours,
            **of_score,
            "Grad-CAM": grad_cam(subject.network, subject.network.map_layer, scene.images, scene.classes),
            "the whole animal": drawn_masks(scene.labels > 0, seed),
            "centre": centre(count, size),
            "random": noise(count, cells, seed),
        },
        activations=activations,
    )


def measure_maps(
    subject: Subject, scene: Scene, drawn: Drawn, progress: Callable[[], None]
) -> dict[str, dict[str, Tensor]]:
    """By method and measure, a value an image (n,).

    Args:
        progress: called after each method.
    """
    masks, blur = scene.deciding_masks, blurred(scene.images)

    def score(images: Tensor) -> Tensor:
        return certainty(subject, images, scene.classes)

    found = {}
    for method, maps in drawn.by_method.items():
        large = enlarged(maps, scene.images.shape[3])
        found[method] = {
            "pointing": hits(large, masks).float(),
            "mass": mass_on(large, masks),
            "deletion": replaced_areas(scene.images, blur, large, score),
            "insertion": replaced_areas(blur, scene.images, large, score),
        }
        progress()
    return found


def certainty(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """Softmax of the class (n,) of each image (n, 3, H, W): (n,)."""
    return scores(subject.network, images).softmax(1).gather(1, classes[:, None])[:, 0]


def measure_activations(scene: Scene, activations: Activations) -> dict[str, Tensor]:
    """By measure, a value an image that has what it needs.

    "pointing" and "mass" are means over an image's activations; "two parts" (images with two activations or more)
    is 1 where two of them point to two different parts that decide the class; "alike" is the mean correlation of their
    maps.
    """
    size, images = scene.images.shape[3], activations.images
    large = enlarged(activations.maps, size)
    parts = pointed_parts(large, scene.labels[images], scene.deciding[images])
    mass = mass_on(large, scene.deciding_masks[images])
    members = [(images == image).nonzero()[:, 0] for image in images.unique()]
    several = [rows for rows in members if len(rows) > 1]
    return {
        "pointing": torch.stack([(parts[rows] >= 0).float().mean() for rows in members]),
        "mass": torch.stack([mass[rows].mean() for rows in members]),
        "two parts": torch.tensor([float(len(set(parts[rows].tolist()) - {-1}) > 1) for rows in several]),
        "alike": torch.stack([_mean_correlation(activations.maps[rows]) for rows in several]),
    }


def chance(scene: Scene) -> dict[str, float]:
    """What a peak at a random pixel and a map that is the same everywhere get."""
    masks = scene.deciding_masks
    return {"pointing": float(with_margin(masks).float().mean()), "mass": float(masks.float().mean())}


def _mean_correlation(maps: Tensor) -> Tensor:
    """Mean Pearson correlation of the pairs of maps (m, h, w)."""
    first, second = torch.triu_indices(len(maps), len(maps), offset=1)
    return torch.corrcoef(maps.flatten(1))[first, second].nan_to_num().mean()
