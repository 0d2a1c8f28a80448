"""Names that fit where a figure has room for them, measured as they are drawn."""

import re
from bisect import bisect_right
from typing import Any

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

_POINTS_PER_INCH = 72
_BREAKS_AFTER = re.compile(r"(?<=[\s_/.-])(?=\S)")


def width_inches(text: str, size: float, **font: Any) -> float:
    """How wide a line of text is drawn.

    Args:
        size: in points.
        font: other properties of the font ("weight").
    """
    width, _, _ = text_to_path.get_text_width_height_descent(
        text, FontProperties(size=size, **font), ismath=False
    )
    return float(width) / _POINTS_PER_INCH


def shortened(text: str, most_inches: float, size: float, **font: Any) -> str:
    """The text, or as much of its beginning as fits together with an ellipsis."""
    if width_inches(text, size, **font) <= most_inches:
        return text
    lengths = range(len(text))
    too_long = bisect_right(lengths, most_inches, key=lambda n: width_inches(f"{text[:n]}…", size, **font))
    return text[: max(too_long - 1, 0)].rstrip() + "…"


def in_two_lines(text: str, most_inches: float, size: float) -> str:
    """The text in one line, or broken between its words into two, of which the second is shortened."""
    if width_inches(text, size) <= most_inches:
        return text
    starts = [found.start() for found in _BREAKS_AFTER.finditer(text)]
    fitting = [start for start in starts if width_inches(text[:start].rstrip(), size) <= most_inches]
    if not fitting:
        return shortened(text, most_inches, size)
    first, rest = text[: fitting[-1]].rstrip(), text[fitting[-1] :]
    return f"{first}\n{shortened(rest, most_inches, size)}"
