"""Activation maps as pictures: laid over what the network saw, and side by side with their names."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Map = npt.NDArray[np.floating]

# Perceptually uniform and readable with colour blindness. Its black end is left out, where a colour
# would darken the picture instead of marking it, and so is its near-white end.
_COLOURS = matplotlib.colormaps["inferno"](np.linspace(0.25, 0.92, 256))[:, :3]
_MAX_OPACITY = 0.8
_LEAST_SIDE_PX = 224
_PANEL_INCHES = 2.2
_GAP_INCHES = 0.12
_TEXT_INCHES = 0.82
_DPI = 144


@dataclass(frozen=True)
class NamedMap:
    """One significant activation's map with what is written above it.

    Attributes:
        title: its name.
        map: (rows, columns) probability mass.
        note: a second, quieter line ("62 % of the evidence"); may be empty.
    """

    title: str
    map: Map
    note: str = ""


def enlarge(picture: Pixels, least_side_px: int = _LEAST_SIDE_PX) -> Pixels:
    """The picture as RGB, a small one enlarged by a whole factor, so that its pixels stay visible.

    Args:
        picture: (h, w, 3) RGB or (h, w, 1) grey.
        least_side_px: the shorter side is at least about this long afterwards.

    Returns:
        (h', w', 3).
    """
    factor = max(1, round(least_side_px / min(picture.shape[:2])))
    rgb = np.broadcast_to(picture, (*picture.shape[:2], 3))
    return rgb.repeat(factor, axis=0).repeat(factor, axis=1)


def overlay(picture: Pixels, map_values: Map) -> Pixels:
    """A map over a picture: bilinear to its size, min-max, coloured, opacity by value.

    A map that is the same everywhere, or all zero, leaves the picture as it is.

    Args:
        picture: (h, w, 3) RGB or (h, w, 1) grey, as the network saw it.
        map_values: (rows, columns) probability mass over the whole picture.

    Returns:
        (h, w, 3).

    Raises:
        ValueError: the map is not a finite table of numbers.
    """
    if map_values.ndim != 2 or not np.isfinite(map_values).all():
        raise ValueError(f"a map must be a finite table of numbers, not shape {map_values.shape}")
    height, width = picture.shape[:2]
    cells = Image.fromarray(map_values.astype(np.float32))
    values = np.asarray(cells.resize((width, height), Image.Resampling.BILINEAR))
    low, high = float(values.min()), float(values.max())
    strength = (values - low) / (high - low) if high > low else np.zeros_like(values)
    opacity = _MAX_OPACITY * strength[..., None]
    colour = _COLOURS[(255 * strength).astype(np.uint8)] * 255
    return np.rint(picture * (1 - opacity) + colour * opacity).astype(np.uint8)


def explanation_png(picture: Pixels, maps: Sequence[NamedMap], headline: str) -> bytes:
    """A PNG of the plain picture and, beside it, each significant map over it under its name.

    Args:
        picture: (h, w, 3) RGB or (h, w, 1) grey, as the network saw it.
        maps: in the order to show.
        headline: one line above all of it.
    """
    plain = enlarge(picture)
    panels = [(plain, "what the network saw", "")]
    panels += [(overlay(plain, named.map), named.title, named.note) for named in maps]
    panel_height = _PANEL_INCHES * plain.shape[0] / plain.shape[1]
    width = (_PANEL_INCHES + _GAP_INCHES) * max(len(panels), 2) + _GAP_INCHES
    height = panel_height + _TEXT_INCHES + _GAP_INCHES
    figure = Figure(figsize=(width, height), facecolor="white")

    def write(left: float, below_top: float, text: str, size: float, **style: Any) -> None:
        place = (left / width, 1 - below_top / height)
        figure.text(*place, text, va="top", fontsize=size, family=font_families(), parse_math=False, **style)

    write(_GAP_INCHES, 0.13, _shortened(headline, int(width * 10)), 11, weight="bold")
    for i, (pixels, title, note) in enumerate(panels):
        left = _GAP_INCHES + i * (_PANEL_INCHES + _GAP_INCHES)
        write(left, 0.45, _shortened(title), 9)
        write(left, 0.63, note, 8, color="#666666")
        box = (left / width, _GAP_INCHES / height, _PANEL_INCHES / width, panel_height / height)
        axes = figure.add_axes(box)
        axes.imshow(pixels, aspect="auto", interpolation="nearest")
        axes.set_axis_off()
    buffer = BytesIO()
    with boxes_for_missing_glyphs():
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Title": headline})
    return buffer.getvalue()


@contextmanager
def boxes_for_missing_glyphs() -> Iterator[None]:
    """A script that no installed font has is drawn as boxes, without a warning a letter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


@cache
def font_families() -> list[str]:
    """matplotlib's own font, then what is installed for scripts that it lacks."""
    installed = set(font_manager.get_font_names())
    wide = ("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Noto Sans", "Noto Sans Arabic")
    return ["DejaVu Sans", *(family for family in wide if family in installed)]


def _shortened(text: str, length: int = 30) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
