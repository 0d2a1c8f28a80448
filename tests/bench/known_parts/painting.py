"""Paints synthetic animals, and says which part is seen at each pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from tests.bench.known_parts.anatomy import Points, ellipse, shapes, turned
from tests.bench.known_parts.animals import (
    PARTS,
    Animal,
    Colour,
    bright_colour,
    class_of,
    dark_colour,
    deciding_parts,
    random_animal,
)

SIZE = 64  # pixels
_FINER = 3  # painted three times as large and averaged
_MIDDLE = (0.1, -0.25)  # of the whole animal, in half body lengths from the body's middle


@dataclass(frozen=True, eq=False)
class Pictures:
    """n synthetic pictures.

    Attributes:
        pixels: (n, 64, 64, 3) uint8 RGB.
        labels: (n, 64, 64) uint8: 0 the background, else 1 + index into PARTS of the part that is seen there.
        classes: (n,) int64.
        deciding: (n, parts) bool, which of PARTS decide the class.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.int64]
    deciding: npt.NDArray[np.bool_]


def random_pictures(count: int, seed: Sequence[int], progress: Callable[[], None] = lambda: None) -> Pictures:
    """So many pictures of random animals; the same seed gives the same pictures.

    Args:
        progress: called after each picture.
    """
    rng = np.random.default_rng(seed)
    animals = [random_animal(rng) for _ in range(count)]
    painted = []
    for animal in animals:
        painted.append(paint(animal))
        progress()
    return Pictures(
        pixels=np.stack([pixels for pixels, _ in painted]),
        labels=np.stack([labels for _, labels in painted]),
        classes=np.array([class_of(animal.traits) for animal in animals]),
        deciding=np.array([[part in deciding_parts(animal.traits) for part in PARTS] for animal in animals]),
    )


def paint(animal: Animal) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Pixels (64, 64, 3) and labels (64, 64) of one animal."""
    large = SIZE * _FINER
    picture = Image.fromarray(_background(animal))
    labels = Image.new("L", (large, large), 0)
    pen, label_pen = ImageDraw.Draw(picture), ImageDraw.Draw(labels)
    for part, colour, points in shapes(animal):
        outline = _corners(_placed(animal, points))
        pen.polygon(outline, fill=_bytes(colour))
        label_pen.polygon(outline, fill=1 + PARTS.index(part))
    small = picture.resize((SIZE, SIZE), Image.Resampling.BOX)
    noise = np.random.default_rng(animal.background_seed).normal(0, 6, (SIZE, SIZE, 3))
    pixels = np.clip(np.asarray(small) + noise, 0, 255).round().astype(np.uint8)
    return pixels, np.asarray(labels)[_FINER // 2 :: _FINER, _FINER // 2 :: _FINER]


def _background(animal: Animal) -> npt.NDArray[np.uint8]:
    """Cloudy texture with two bright patterned things, (192, 192, 3)."""
    rng = np.random.default_rng(animal.background_seed)
    large = SIZE * _FINER
    clouds = Image.fromarray(_bytes_of(np.array(animal.ground) + rng.uniform(-0.15, 0.15, (9, 9, 3))))
    ground = clouds.resize((large, large), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(ground)
    for _ in range(2):
        middle, radius = rng.uniform(0, large, 2), rng.uniform(3.5, 6.5) * _FINER
        turn = rng.uniform(0, np.pi)
        colour, mark = _bytes(bright_colour(rng)), _bytes(dark_colour(rng))
        thing = ellipse(middle, (radius, radius), int(rng.choice([3, 4, 24])), turn)
        pen.polygon(_corners(thing), fill=colour)
        for spot in ellipse(middle, (radius / 2, radius / 2), int(rng.integers(0, 4)), turn):
            pen.polygon(_corners(ellipse(spot, (radius / 5, radius / 5))), fill=mark)
    return np.asarray(ground)


def _placed(animal: Animal, points: Points) -> Points:
    """From half body lengths to pixels of the large picture."""
    around = points - _MIDDLE
    if animal.looks_left:
        around = around * (-1, 1)
    return (turned(around, animal.angle) * animal.unit + animal.shift + SIZE / 2) * _FINER


def _corners(points: Points) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]


def _bytes(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (round(255 * value) for value in colour)
    return red, green, blue


def _bytes_of(colours: Points) -> npt.NDArray[np.uint8]:
    return np.clip(255 * colours, 0, 255).astype(np.uint8)
