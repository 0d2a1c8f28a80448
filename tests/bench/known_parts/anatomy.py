"""The shapes that an animal is made of, in half body lengths from the body's middle: x to the right, y down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tests.bench.known_parts.animals import Animal, Colour

Points = npt.NDArray[np.float64]
_WING_TURN, _WING_MIDDLE = 0.2, (-0.2, -0.08)


def shapes(animal: Animal) -> Iterator[tuple[str, Colour, Points]]:
    """Part, colour and outline of each shape, from back to front, of an animal that looks right."""
    outlines = {
        "tail": _TAILS[animal.traits["tail"]],
        "legs": _LEGS[animal.traits["legs"]],
        "neck": [np.array([(0.45, -0.35), (0.72, -0.9), (1.2, -0.7), (0.9, 0.1)])],
        "body": [ellipse((0, 0), (1.0, 0.62))],
        "belly": [ellipse((0.35, 0.33), (0.5, 0.22), turn=-0.25)],
        "collar": [np.array([(0.5, -0.45), (0.58, -0.66), (1.13, -0.43), (1.05, -0.22)])],
        "beak": _BEAKS[animal.traits["beak"]],
        "crest": _CRESTS[animal.traits["crest"]],
        "head": [ellipse((1.0, -0.85), (0.4, 0.36))],
        "eye": [ellipse((1.08, -0.92), (0.11, 0.11))],
        "wing": [_on_wing(ellipse((0, 0), (0.66, 0.4)))],
    }
    for part, shapes in outlines.items():
        if part in animal.shown or part in animal.traits:
            for points in shapes:
                yield part, animal.colours[part], points
    for points in _PATTERNS[animal.traits["wing"]]:
        yield "wing", animal.pattern, points


def ellipse(
    middle: Sequence[float] | Points, radii: tuple[float, float], corners: int = 24, turn: float = 0.0
) -> Points:
    """Outline of an ellipse, or of a polygon with few corners, (corners, 2)."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    around = np.stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)], 1)
    return turned(around, turn) + np.asarray(middle)


def turned(points: Points, angle: float) -> Points:
    """Points (n, 2) turned about the origin, clockwise as y goes down."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([(cosine, sine), (-sine, cosine)])


def _on_wing(points: Points) -> Points:
    """From the wing's own axes to the body's."""
    return turned(points, _WING_TURN) + np.array(_WING_MIDDLE)


def _stripe(x: float) -> Points:
    """Across the wing, within its ellipse."""
    half = 0.33 * np.sqrt(1 - (x / 0.66) ** 2)
    return np.array([(x - 0.065, -half), (x + 0.065, -half), (x + 0.065, half), (x - 0.065, half)])


_TAILS = {
    "fan": [
        np.array([(-0.8, -0.05), (-1.45, -0.75), (-1.75, -0.45), (-1.85, -0.1), (-1.75, 0.25), (-1.45, 0.5)])
    ],
    "fork": [
        np.array([(-0.8, -0.2), (-1.75, -0.8), (-1.85, -0.55), (-0.8, 0.1)]),
        np.array([(-0.8, -0.2), (-1.85, 0.3), (-1.75, 0.55), (-0.8, 0.1)]),
    ],
}
_LEGS = {
    "stilts": [np.array([(x, 0.45), (x + 0.13, 0.45), (x + 0.13, 1.3), (x, 1.3)]) for x in (-0.35, 0.25)],
    "paddles": [np.array([(x, 0.45), (x + 0.2, 0.45), (x + 0.5, 1.0), (x - 0.3, 1.0)]) for x in (-0.4, 0.35)],
}
_BEAKS = {
    "pointed": [np.array([(1.25, -1.1), (2.1, -0.8), (1.25, -0.55)])],
    "broad": [np.array([(1.3, -0.95), (1.75, -1.15), (2.0, -1.1), (2.0, -0.5), (1.75, -0.45), (1.3, -0.7)])],
}
_CRESTS = {
    "spikes": [
        np.array([(x - 0.17, -1.1), (x + 0.17, -1.1), (1.35 * x - 0.35, -1.75)]) for x in (0.75, 1.0, 1.25)
    ],
    "ball": [
        np.array([(0.94, -1.1), (1.06, -1.1), (1.06, -1.5), (0.94, -1.5)]),
        ellipse((1.0, -1.5), (0.27, 0.27)),
    ],
}
_PATTERNS = {
    "striped": [_on_wing(_stripe(x)) for x in (-0.39, -0.13, 0.13, 0.39)],
    "spotted": [
        _on_wing(ellipse((x, y), (0.11, 0.11)))
        for x, y in ((-0.4, 0.0), (-0.13, -0.17), (-0.13, 0.17), (0.13, -0.17), (0.13, 0.17), (0.4, 0.0))
    ],
}
