"""Measures every method's maps of one network on test pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
class ByXnns:
    """What the xNNs of one training give of a scene.

    Attributes:
        maps: each image's, (n, h, w), by method.
        activations: by "mode, kind".
    """

    maps: dict[str, Tensor]
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


def maps_by_xnns(subject: Subject, scene: Scene) -> ByXnns:
    """The maps that explanations are made of."""
    found = ByXnns({}, {})
    for mode in MODES:
        for kind, contrastive in KINDS.items():
            activations = Activations(
                *significant_activations(
                    subject.explainers[mode],
                    subject.xnns,
                    scene.seen,
                    scene.classes,
                    contrastive=contrastive,
                )
            )
            found.activations[f"{mode}, {kind}"] = activations
            found.maps[f"Onoma: {mode}, {kind}"] = summed(
                activations.images, activations.contributions, activations.maps, len(scene.images)
            )
    return found


def maps_without_xnns(subject: Subject, scene: Scene, seed: int) -> dict[str, Tensor]:
    """What they are compared with, by method; the oracle first."""
    size, count = scene.images.shape[3], len(scene.images)
    of_score = {
        f"no xNN: {mode}, {kind}": excitation_of_score(
            subject.explainers[mode], subject.classifier, scene.seen, scene.classes, contrastive=contrastive
        )
        for mode in MODES
        for kind, contrastive in KINDS.items()
    }
    cells = next(iter(of_score.values())).shape[1]
    return {
        "oracle: the deciding parts": drawn_masks(scene.deciding_masks, seed),
        **of_score,
        "Grad-CAM": grad_cam(subject.network, subject.network.map_layer, scene.images, scene.classes),
        "the whole animal": drawn_masks(scene.labels > 0, seed),
        "centre": centre(count, size),
        "random": noise(count, cells, seed),
    }


def measure_maps(
    subject: Subject, scene: Scene, by_method: Mapping[str, Tensor], progress: Callable[[], None]
) -> dict[str, dict[str, Tensor]]:
    """By method and measure, a value an image (n,).

    Args:
        progress: called after each method.
    """
    masks, blur = scene.deciding_masks, blurred(scene.images)

    def score(images: Tensor) -> Tensor:
        return certainty(subject, images, scene.classes)

    found = {}
    for method, maps in by_method.items():
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
    """By measure, a value an image (n,), NaN where an image lacks what it needs.

    "pointing" and "mass" are means over an image's activations; "two parts" (images with two activations or more)
    is 1 where two of them point to two different parts that decide the class; "alike" is the mean correlation of their
    maps.
    """
    size, images = scene.images.shape[3], activations.images
    large = enlarged(activations.maps, size)
    parts = pointed_parts(large, scene.labels[images], scene.deciding[images])
    mass = mass_on(large, scene.deciding_masks[images])
    found = {
        name: torch.full((len(scene.images),), torch.nan)
        for name in ("pointing", "mass", "two parts", "alike")
    }
    for image in images.unique():
        rows = (images == image).nonzero()[:, 0]
        found["pointing"][image] = (parts[rows] >= 0).float().mean()
        found["mass"][image] = mass[rows].mean()
        if len(rows) > 1:
            found["two parts"][image] = float(len(set(parts[rows].tolist()) - {-1}) > 1)
            found["alike"][image] = _mean_correlation(activations.maps[rows])
    return found


def chance(scene: Scene) -> dict[str, float]:
    """What a peak at a random pixel and a map that is the same everywhere get."""
    masks = scene.deciding_masks
    return {"pointing": float(with_margin(masks).float().mean()), "mass": float(masks.float().mean())}


def _mean_correlation(maps: Tensor) -> Tensor:
    """Mean Pearson correlation of the pairs of maps (m, h, w)."""
    first, second = torch.triu_indices(len(maps), len(maps), offset=1)
    return torch.corrcoef(maps.flatten(1))[first, second].nan_to_num().mean()
