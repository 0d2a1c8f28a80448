"""Synthetic animals: which parts they have, which of them decide the class, and how one is drawn at random.

The beak says which other two parts count: with a pointed beak wing and crest, with a broad one tail and legs. So 8
classes are decided by three parts each, and the two that decide other classes vary freely, as all else does.
"""

from __future__ import annotations

from colorsys import hsv_to_rgb
from dataclasses import dataclass

import numpy as np

TRAITS = {
    "beak": ("pointed", "broad"),
    "wing": ("striped", "spotted"),
    "crest": ("spikes", "ball"),
    "tail": ("fan", "fork"),
    "legs": ("stilts", "paddles"),
}
COUNTED = {"pointed": ("wing", "crest"), "broad": ("tail", "legs")}  # parts beside the beak, by the beak
PLAIN_PARTS = ("body", "belly", "neck", "collar", "head", "eye")
PARTS = (*PLAIN_PARTS, *TRAITS)  # label i + 1 in a picture's labels; 0 is the background

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Animal:
    """What one picture shows; colours are RGB in [0, 1].

    Attributes:
        traits: "pointed" for "beak" and so on: a value of TRAITS for each of its parts.
        colours: of each part.
        pattern: colour of the wing's stripes or spots.
        shown: parts without traits that this animal has: "belly" and "collar" may be missing.
        angle: of the body, in radians.
        unit: half the body's length, in pixels of a picture 64 wide.
        shift: of the animal's middle from the picture's, x and y, likewise.
        looks_left: mirrored.
        ground: colour of the background.
        background_seed: of its texture and of the bright things that lie about.
    """

    traits: dict[str, str]
    colours: dict[str, Colour]
    pattern: Colour
    shown: frozenset[str]
    angle: float
    unit: float
    shift: tuple[float, float]
    looks_left: bool
    ground: Colour
    background_seed: int


def class_names() -> list[str]:
    """Names of the classes in the order of their indices: the values of the parts that decide them."""
    return [
        " ".join((beak, first, second))
        for beak, (one, other) in COUNTED.items()
        for first in TRAITS[one]
        for second in TRAITS[other]
    ]


def class_of(traits: dict[str, str]) -> int:
    """Index of the class of an animal with these traits."""
    return class_names().index(" ".join(traits[part] for part in deciding_parts(traits)))


def deciding_parts(traits: dict[str, str]) -> tuple[str, str, str]:
    """The three parts that decide an animal's class."""
    return ("beak", *COUNTED[traits["beak"]])


def random_animal(rng: np.random.Generator) -> Animal:
    """An animal of a random class; every trait, colour and the pose are drawn on their own."""
    colours = {part: bright_colour(rng) for part in PARTS} | {"eye": dark_colour(rng)}
    shown = {part for part in PLAIN_PARTS if part not in ("belly", "collar") or rng.random() < 0.5}
    return Animal(
        traits={part: str(rng.choice(values)) for part, values in TRAITS.items()},
        colours=colours,
        pattern=dark_colour(rng),
        shown=frozenset(shown),
        angle=float(rng.uniform(-0.35, 0.35)),
        unit=float(rng.uniform(12.5, 15.0)),
        shift=(float(rng.uniform(-3, 3)), float(rng.uniform(-5, 5))),
        looks_left=bool(rng.random() < 0.5),
        ground=dark_colour(rng),
        background_seed=int(rng.integers(2**31)),
    )


def bright_colour(rng: np.random.Generator) -> Colour:
    """Of parts and of the bright things that lie about."""
    return hsv_to_rgb(rng.uniform(0, 1), rng.uniform(0.2, 0.9), rng.uniform(0.7, 1))


def dark_colour(rng: np.random.Generator) -> Colour:
    """Of the ground and of patterns."""
    return hsv_to_rgb(rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.05, 0.35))
