"""What a practitioner asks of named explanations: when is the network right, and for the right reason?"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean

import numpy as np
from numpy.typing import NDArray

from onoma.science.analysis_options import CONFIDENCE
from onoma.science.study_data import Category, Naming, Ratio
from onoma.science.summary import Reading, summary

OUTSIDE = 0.5
"""A concept lies outside the object where less than this share of its maps' mass is inside, on average [ours]."""
PART_RADIUS = 0.15
"""How near to a part point is on the object, as a share of the picture's width and height [ours]: a bird of
CUB-200-2011 has some ten visible points, and two cells of a 14x14 map reach as far."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class ExplanationAccuracy:
    """How often the network is right where it has an explanation, and elsewhere in the category.

    Attributes:
        names: the explanation.
        accuracy: images that are predicted rightly, over those with this explanation.
        interval: Wilson's, of the accuracy; never None, since each explanation has an image.
        rest: the same over the other images; 0/0 where every image has this explanation.
        rest_interval: None where `rest` is 0/0.
        difference: accuracy minus that of the rest; None where `rest` is 0/0.
        difference_interval: Newcombe's.
    """

    names: tuple[str, ...]
    accuracy: Ratio
    interval: Interval | None
    rest: Ratio
    rest_interval: Interval | None
    difference: float | None
    difference_interval: Interval | None


@dataclass(frozen=True)
class Suspect:
    """An image that is predicted rightly with an unusual explanation: perhaps right for the wrong reason.

    Attributes:
        image_id: the image.
        usual: mean over annotators of the share of the category's images with this explanation, in (0, 1].
        explanations: by annotator, in the order of the namings.
    """

    image_id: str
    usual: float
    explanations: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class ConceptPlace:
    """Where the maps of a concept lie.

    Attributes:
        name: the concept.
        inside: mean share of its maps' mass inside the object; None where it is known of no map.
        n: maps of which it is known.
        n_by_points: those of which it is known by part points, and not by a bounding box.
        outside: whether `inside` is below OUTSIDE; False where it is not known.
    """

    name: str
    inside: float | None
    n: int
    n_by_points: int
    outside: bool


def wilson(share: Ratio, confidence: float = CONFIDENCE) -> Interval | None:
    """Wilson's score interval of a proportion (Wilson 1927); None for 0/0."""
    n, value = share.denominator, share.value
    if value is None:
        return None
    z = _z(confidence)
    middle = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return Interval(max(middle - half, 0.0), min(middle + half, 1.0))


def newcombe(one: Ratio, other: Ratio, confidence: float = CONFIDENCE) -> Interval | None:
    """Newcombe's hybrid score interval of the difference of two proportions (Newcombe 1998); None for 0/0."""
    first, second = wilson(one, confidence), wilson(other, confidence)
    if one.value is None or other.value is None or first is None or second is None:
        return None
    difference = one.value - other.value
    return Interval(
        difference - sqrt((one.value - first.low) ** 2 + (second.high - other.value) ** 2),
        difference + sqrt((first.high - one.value) ** 2 + (other.value - second.low) ** 2),
    )


def accuracy_by_explanation(
    category: Category,
    naming: Naming,
    correct: NDArray[np.bool_],
    confidence: float = CONFIDENCE,
) -> tuple[ExplanationAccuracy, ...]:
    """The network's accuracy among the images with each explanation, and among the rest.

    Args:
        naming: cleaned.
        correct: (images,) whether the network predicts the category's image rightly.
    Returns:
        One an explanation, most frequent first; images without significant activations are left out.
    """
    right = dict(zip(category.image_ids, correct.tolist(), strict=True))
    rows = summary(category, naming, Reading.WITH_OTHER).rows
    all_right = sum(right[image_id] for row in rows for image_id in row.image_ids)
    image_count = sum(len(row.image_ids) for row in rows)
    found = []
    for row in rows:
        here = Ratio(sum(right[image_id] for image_id in row.image_ids), len(row.image_ids))
        rest = Ratio(all_right - here.numerator, image_count - here.denominator)
        found.append(
            ExplanationAccuracy(
                row.names,
                here,
                wilson(here, confidence),
                rest,
                wilson(rest, confidence),
                None if here.value is None or rest.value is None else here.value - rest.value,
                newcombe(here, rest, confidence),
            )
        )
    return tuple(found)


def suspects(
    category: Category,
    namings: Sequence[Naming],
    correct: NDArray[np.bool_],
) -> tuple[Suspect, ...]:
    """Images that are predicted rightly with an unusual explanation, the least usual first.

    An explanation is unusual where some annotator has one that is more frequent in the category.

    Args:
        namings: cleaned; without any there is no explanation and no suspect.
        correct: (images,) whether the network predicts the category's image rightly.
    """
    right = dict(zip(category.image_ids, correct.tolist(), strict=True))
    of_image: dict[str, list[tuple[str, tuple[str, ...], float]]] = {}
    unusual: set[str] = set()
    for naming in namings:
        counted = summary(category, naming, Reading.WITH_OTHER)
        for row in counted.rows:
            if len(row.image_ids) < len(counted.rows[0].image_ids):
                unusual.update(row.image_ids)
            for image_id in row.image_ids:
                if right[image_id]:
                    told = (naming.annotator, row.names, counted.share(row))
                    of_image.setdefault(image_id, []).append(told)
    found = [
        Suspect(
            image_id,
            fmean(share for _, _, share in told),
            tuple((annotator, names) for annotator, names, _ in told),
        )
        for image_id, told in of_image.items()
        if image_id in unusual
    ]
    return tuple(sorted(found, key=lambda suspect: (suspect.usual, suspect.image_id)))


def places(
    naming: Naming, inside: NDArray[np.float64], by_points: NDArray[np.bool_] | None = None
) -> tuple[ConceptPlace, ...]:
    """Where the maps of each concept lie, the most outside first.

    Args:
        naming: cleaned.
        inside: (S,) share of each map's mass inside the object, NaN where that is not known.
        by_points: (S,) whether it is known by part points; of none when left out.
    """
    found = []
    for c, name in enumerate(naming.concept_names):
        of_concept = (naming.concept == c) & ~np.isnan(inside)
        known = inside[of_concept]
        mean = float(known.mean()) if known.size else None
        n_by_points = 0 if by_points is None else int(by_points[of_concept].sum())
        found.append(ConceptPlace(name, mean, known.size, n_by_points, mean is not None and mean < OUTSIDE))
    return tuple(sorted(found, key=lambda place: (2.0 if place.inside is None else place.inside, place.name)))


def share_inside(map_hw: NDArray[np.float64], box: tuple[float, float, float, float]) -> float | None:
    """Share of a map's mass inside a box.

    Args:
        map_hw: (h, w), not negative.
        box: left, top, right, bottom, as shares of the picture's width and height; cells that it cuts count in part.
    Returns:
        In [0, 1]; None for a map without mass.
    Raises:
        ValueError: the box has no area.
    """
    left, top, right, bottom = box
    if not (left < right and top < bottom):
        raise ValueError(f"the box {box} has no area: left < right and top < bottom are needed")
    height, width = map_hw.shape
    return _share(map_hw, np.outer(_covered(height, top, bottom), _covered(width, left, right)))


def share_near(map_hw: NDArray[np.float64], points: NDArray[np.float64], radius: float) -> float | None:
    """Share of a map's mass in cells whose middle is near some part point.

    Args:
        map_hw: (h, w), not negative.
        points: (p, 2) x and y as shares of the picture's width and height.
        radius: as a share of the width across, of the height down.
    Returns:
        In [0, 1]; None for a map without mass.
    """
    height, width = map_hw.shape
    y, x = np.mgrid[0.5:height, 0.5:width]
    middles = np.stack([x / width, y / height], axis=-1)
    away = np.linalg.norm(middles[:, :, None] - points, axis=-1).min(axis=-1, initial=np.inf)
    return _share(map_hw, (away <= radius).astype(np.float64))


def _share(map_hw: NDArray[np.float64], covered: NDArray[np.float64]) -> float | None:
    mass = float(map_hw.sum())
    return min(float((map_hw * covered).sum()) / mass, 1.0) if mass > 0 else None  # cells' edges are rounded


def _covered(cells: int, low: float, high: float) -> NDArray[np.float64]:
    """(cells,) how much of each cell of [0, 1] the interval covers."""
    edges = np.arange(cells + 1) / cells
    covered: NDArray[np.float64] = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)
    return covered * cells


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence is {confidence}; it must be between 0 and 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)
