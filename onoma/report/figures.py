"""A report's figures, by matplotlib: each as SVG and PNG, readable in the colours of the page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from onoma.faithfulness import FeatureCountRow
from onoma.pictures_of_maps import boxes_for_missing_glyphs, enlarge, font_families, overlay
from onoma.report.analysed import AnalysedCategory
from onoma.report.data import CategoryMaps, CoverageRow, MapSample
from onoma.report.fitted_text import in_two_lines, shortened, width_inches
from onoma.report.paper_tables import numbers_of_annotators
from onoma.report.tables import file_names

INK, QUIET, RULE, BAR, ACCENT = "#1b1b19", "#6a6963", "#d9d7cf", "#c9d6df", "#1f5f8b"
"""Colours of the light page; the page replaces them by its own when it shows an SVG."""
PAPER = "#fdfdfb"

_SHADES_ON_LIGHT, _SHADES_ON_DARK = (0.35, 1.0), (0.9, 0.12)  # ends within matplotlib's Blues, nobody's first

_COVERAGES = (
    ("activation", "Figure 3: activations named"),
    ("partial", "Figure 4: images partly named"),
    ("complete", "Figure 5: images wholly named"),
)
_DOT = "#4a90c4"  # drawn as pixels, so it has to do on light and dark pages alike
_PNG_DPI = 160
_MOST_IN_LEGEND = 9
_EDGE_POINTS = 0.6  # a pixel on the page
_LEAST_WIDTH_INCHES, _BARS_INCHES = 8.2, 7.4  # of a figure of bars: all of it, and what is not its categories
_MOST_CATEGORY_INCHES = 2.4
_TICK_POINTS = 8
_PANEL_TITLE_POINTS, _PANEL_TITLE_INCHES, _LINE_INCHES = 8, 1.22, 0.135
_NAME_POINTS, _MOST_NAME_INCHES = 8.5, 2.1  # of a concept in Figure 7
_SIDE_INCHES, _LINKS_INCHES, _CONCEPT_INCHES = 2.2, 2.8, 0.34
_GAP_INCHES = 0.1
_MAPS_PER_ROW = 10
_TILE_INCHES, _LABEL_INCHES, _TITLE_INCHES = 1.1, 0.7, 0.32


def coverage_figure(coverage: Sequence[CoverageRow]) -> Figure:
    """Coverage by category (paper, Figures 3 to 5): bar for any annotator, a dot for each."""
    categories = list(dict.fromkeys(row.category for row in coverage))
    names = _fitted(categories)
    figure = Figure(figsize=(_width_beside(names), 0.75 + 0.27 * len(categories)), layout="constrained")
    panels: list[Axes] = list(np.ravel(figure.subplots(1, len(_COVERAGES), sharey=True)))
    rows_of = {category: i for i, category in enumerate(categories)}
    for axes, (field, title) in zip(panels, _COVERAGES, strict=True):
        for row in coverage:
            value = getattr(row, field)
            if value is None:
                continue
            if row.annotator:
                at = rows_of[row.category]
                axes.plot(100 * value, at, "o", ms=4.5, mfc="none", mec=ACCENT, mew=1.1, clip_on=False)
            else:
                axes.barh(rows_of[row.category], 100 * value, height=0.62, color=BAR, zorder=0)
        axes.set_title(title, loc="left", fontsize=9, color=INK)
        axes.set_xlim(0, 103)
        axes.set_xticks([0, 50, 100], ["0", "50", "100 %"])
        axes.set_yticks(range(len(categories)), names)
        axes.set_ylim(len(categories) - 0.4, -0.6)
        _quiet(axes)
    return figure


def named_by_figure(categories: Sequence[AnalysedCategory]) -> Figure:
    """Share of the activations that exactly n annotators name, a bar a category (paper, Figure 6)."""
    numbers = numbers_of_annotators(categories)
    most = len(numbers)
    names = [
        f"{name}, n = {one.found['n']['activations']:,}"
        for name, one in zip(_fitted([one.category for one in categories]), categories, strict=True)
    ]
    figure = Figure(figsize=(_width_beside(names), 0.9 + 0.27 * len(categories)), layout="constrained")
    axes = figure.subplots()
    shades = [on_light for on_light, _ in shades_of(most)]
    for row, one in enumerate(categories):
        left = 0.0
        for n in numbers:
            ratio = one.found["named_by_exactly_n"].get(str(n))
            width = 0.0 if ratio is None else 100 * ratio["value"]
            if width:
                axes.barh(
                    row, width, left=left, height=0.62, color=shades[n], edgecolor=QUIET, lw=_EDGE_POINTS
                )
            left += width
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
    axes.set_yticks(range(len(categories)), names)
    axes.set_ylim(len(categories) - 0.4, -0.6)
    if most <= _MOST_IN_LEGEND:
        marks = [
            Patch(facecolor=shade, edgecolor=QUIET, lw=_EDGE_POINTS, label=f"by {n}")
            for n, shade in enumerate(shades)
        ]
        axes.legend(
            handles=marks, ncols=most, frameon=False, fontsize=8, labelcolor=QUIET, loc="lower left",
            bbox_to_anchor=(0, 1),
        )  # fmt: skip
    else:
        scale = matplotlib.cm.ScalarMappable(Normalize(-0.5, most - 0.5), ListedColormap(shades))
        colours = figure.colorbar(scale, ax=axes, fraction=0.03)
        for solids in colours.ax.collections:
            solids.set_rasterized(False)  # so that the page finds the shades
        colours.locator = MaxNLocator(6, integer=True)
        colours.outline.set_edgecolor(QUIET)
        colours.set_label("annotators", color=QUIET, fontsize=8)
        colours.ax.tick_params(labelsize=8, colors=QUIET)
    _quiet(axes)
    return figure


def _fitted(categories: Sequence[str]) -> list[str]:
    return [shortened(category, _MOST_CATEGORY_INCHES, _TICK_POINTS) for category in categories]


def _width_beside(names: Sequence[str]) -> float:
    """Inches of a figure whose bars stand beside these names."""
    longest = max((width_inches(name, _TICK_POINTS) for name in names), default=0.0)
    return max(_LEAST_WIDTH_INCHES, _BARS_INCHES + longest)


def shades_of(count: int) -> list[tuple[str, str]]:
    """Shades of Figure 6 on light and on dark, for nobody to everybody; of many, neighbours may be the same.

    On both, what more annotators name is farther from the paper.
    """
    light, dark = (
        [to_hex(colour) for colour in matplotlib.colormaps["Blues"](np.linspace(*ends, count))]
        for ends in (_SHADES_ON_LIGHT, _SHADES_ON_DARK)
    )
    return list(zip(light, dark, strict=True))


def matching_figures(categories: Sequence[AnalysedCategory]) -> list[tuple[AnalysedCategory, str]]:
    """Categories of which two namings can be drawn, and the name of the drawing."""
    drawn = [one for one in categories if one.found["most_in_common"]]
    stems = file_names(one.category for one in drawn)
    return [(one, f"figure_7_{stems[one.category]}") for one in drawn]


def matching_figure(drawn: Mapping[str, Any]) -> Figure:
    """Two namings and their matching: concepts on two sides, lines as thick as what they share (paper, Figure 7).

    Args:
        drawn: "most_in_common" of an analysis.
    """
    sides = drawn["concepts"]
    rows = max(map(len, sides))
    counts = [f"{concept['activations']:,}" for side in sides for concept in side]
    count_width = max(width_inches(number, _TICK_POINTS) for number in counts) + _GAP_INCHES
    side_width = max(_SIDE_INCHES, _MOST_NAME_INCHES + count_width)
    lines = (side_width, side_width + _LINKS_INCHES)
    width = lines[1] + side_width
    figure = Figure(figsize=(width, _CONCEPT_INCHES * (rows + 1)))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(rows + 0.1, -0.9), autoscale_on=False)
    axes.set_axis_off()
    heights = [[(place + 0.5) * rows / len(side) for place in range(len(side))] for side in sides]
    thickest = max(weight for _, _, weight, _ in drawn["overlaps"])
    for left, right, weight, is_inside in sorted(drawn["overlaps"], key=lambda one: (one[3], one[2])):
        ends = [heights[0][left], heights[1][right]]
        axes.plot(
            lines, ends, "-", solid_capstyle="butt", lw=0.8 + 7 * weight / thickest,
            color=ACCENT if is_inside else RULE, zorder=2 if is_inside else 1,
        )  # fmt: skip
        if is_inside:
            axes.text(width / 2, sum(ends) / 2, f"{weight:,}", ha="center", va="center", fontsize=7, color=INK,
                      zorder=3, bbox={"boxstyle": "round,pad=0.2", "fc": PAPER, "ec": "none"})  # fmt: skip
    for edge, outward, align, side, of_side, annotator in zip(
        lines, (-1, 1), ("right", "left"), sides, heights, drawn["annotators"], strict=True
    ):
        at = edge + outward * _GAP_INCHES
        name = shortened(annotator, side_width - 2 * _GAP_INCHES, 9, weight="bold")
        axes.text(at, -0.25, name, ha=align, va="bottom", fontsize=9, weight="bold", color=INK)
        for concept, height in zip(side, of_side, strict=True):
            numbers = f"{concept['activations']:,}"
            axes.text(at, height, numbers, ha=align, va="center", fontsize=_TICK_POINTS, color=QUIET)
            name = shortened(concept["name"], _MOST_NAME_INCHES - 2 * _GAP_INCHES, _NAME_POINTS) or "unnamed"
            axes.text(at + outward * count_width, height, name, ha=align, va="center", fontsize=_NAME_POINTS,
                      color=INK)  # fmt: skip
    return figure


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Scores of one class on the test images, its own and the others.

    Attributes:
        category: the class.
        scores: (n, 2) by the network and by the xNN, images of the class.
        others: (m, 2) likewise, images of other classes.
    """

    category: str
    scores: NDArray[np.float32]
    others: NDArray[np.float32]


def feature_count_figure(rows: Sequence[FeatureCountRow]) -> Figure:
    """Faithfulness (error) and sparsity (significant X-features an image) by K."""
    figure = Figure(figsize=(7.2, 2.7), layout="constrained")
    panels: list[Axes] = list(np.ravel(figure.subplots(1, 2)))
    counts = [row.x_feature_count for row in rows]
    errors, worst, significant, matter = (
        [np.nan if value is None else factor * value for value in values]
        for factor, values in (
            (100, [row.rmse for row in rows]),
            (100, [row.worst_rmse for row in rows]),
            (1, [row.significant_mean for row in rows]),
            (1, [row.mattering_mean for row in rows]),
        )
    )
    drawn = (
        ("error, % of the score's range", ((errors, "mean of the classes"), (worst, "worst class"))),
        ("X-features", ((significant, "significant, an image"), (matter, "that matter, a class"))),
    )
    for axes, (title, ((first, first_label), (second, second_label))) in zip(panels, drawn, strict=True):
        axes.plot(counts, first, "o-", ms=4, lw=1.3, color=ACCENT, label=first_label, clip_on=False)
        axes.plot(
            counts, second, "o--", ms=3.5, lw=1, color=QUIET, mfc="white", label=second_label, clip_on=False
        )
        axes.set_title(title, loc="left", fontsize=9, color=INK)
        axes.set_xlabel("K, X-features a class", fontsize=8, color=QUIET)
        axes.set_xticks(counts)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
        _quiet(axes)
    return figure


def scores_figure(maps: Sequence[CategoryMaps | ClassScores]) -> Figure:
    """The xNN's score against the network's, an image a dot, a category a panel; other classes' images in grey."""
    columns = min(5, len(maps))
    rows = -(-len(maps) // columns)
    has_others = any(isinstance(one, ClassScores) for one in maps)
    legend_inches = 0 if not has_others else 0.6 if columns <= 2 else 0.2
    titles = [
        f"{in_two_lines(one.category, _PANEL_TITLE_INCHES, _PANEL_TITLE_POINTS)}\nn = {len(one.scores):,}"
        for one in maps
    ]
    panel_inches = 1.75 + _LINE_INCHES * max(title.count("\n") for title in titles)
    figure = Figure(figsize=(1.66 * columns, panel_inches * rows + 0.2 + legend_inches), layout="constrained")
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes, category, title in zip(panels, maps, titles, strict=False):
        others = category.others if isinstance(category, ClassScores) else category.scores[:0]
        every = np.concatenate([category.scores, others])
        low, high = float(every.min()), float(every.max())
        axes.plot([low, high], [low, high], color=RULE, lw=1, zorder=0)
        axes.plot(*others.T, "o", ms=2, alpha=0.3, mec="none", mfc=QUIET, rasterized=True)
        axes.plot(*category.scores.T, "o", ms=2.5, alpha=0.6, mec="none", mfc=_DOT, rasterized=True)
        axes.set_title(title, loc="left", fontsize=_PANEL_TITLE_POINTS, color=INK)
        axes.locator_params(nbins=3)
        _quiet(axes)
    for axes in panels[len(maps) :]:
        axes.remove()
    figure.supxlabel("the network's score", fontsize=8, color=QUIET)
    figure.supylabel("the xNN's score", fontsize=8, color=QUIET)
    if has_others:
        marks = [
            Line2D([], [], marker="o", ls="", ms=4, mec="none", mfc=_DOT, label="image of the class"),
            Line2D([], [], marker="o", ls="", ms=4, mec="none", mfc=QUIET, alpha=0.5, label="of another"),
            Line2D([], [], color=RULE, lw=1, label="both scores equal"),
        ]
        figure.legend(
            handles=marks,
            ncols=1 if columns <= 2 else 3,
            loc="outside upper left",
            frameon=False,
            fontsize=8,
            labelcolor=QUIET,
        )
    return figure


def maps_figure(maps: CategoryMaps) -> Figure:
    """Maps over their pictures, an X-feature a row (the page's gallery as one picture)."""
    rows: dict[int, list[MapSample]] = {}
    for sample in sorted(maps.samples, key=lambda sample: sample.x_feature):
        rows.setdefault(sample.x_feature, []).append(sample)
    columns = min(_MAPS_PER_ROW, max(map(len, rows.values())))
    width = _LABEL_INCHES + _TILE_INCHES * max(columns, 3)
    height = _TITLE_INCHES + _TILE_INCHES * len(rows)
    figure = Figure(figsize=(width, height), facecolor="white")
    name = shortened(maps.category, width - 0.14, 10, weight="bold")
    figure.text(0.07 / width, 1 - 0.07 / height, name, va="top", fontsize=10, weight="bold")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), autoscale_on=False)
    axes.set_axis_off()
    for i, (x_feature, samples) in enumerate(rows.items()):
        bottom = height - _TITLE_INCHES - _TILE_INCHES * (i + 1)
        label = f"x{x_feature}\nn = {maps.x_feature_counts[x_feature]}"
        middle = (bottom + _TILE_INCHES / 2) / height
        figure.text(0.07 / width, middle, label, va="center", fontsize=8, color=QUIET)
        for j, sample in enumerate(samples[:columns]):
            tile = overlay(enlarge(sample.picture), sample.map)
            left = _LABEL_INCHES + _TILE_INCHES * j
            scale = (_TILE_INCHES - 0.05) / max(tile.shape[:2])
            right, top = left + scale * tile.shape[1], bottom + scale * tile.shape[0]
            axes.imshow(tile, extent=(left, right, bottom, top), aspect="auto")
    return figure


def save(draw: Callable[[], Figure], stem: Path, forms: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Draws a figure and writes it as `stem`.svg and `stem`.png; text stays as given, in the SVG as text."""
    paths = []
    with (
        matplotlib.rc_context(
            {
                "font.family": font_families(),
                "text.parse_math": False,
                "svg.fonttype": "none",
                "svg.hashsalt": stem.name,
            }
        ),
        boxes_for_missing_glyphs(),
    ):
        figure = draw()
        for form in forms:
            path = stem.parent / f"{stem.name}.{form}"
            figure.savefig(path, dpi=_PNG_DPI, metadata={"Date": None} if form == "svg" else None)
            paths.append(path)
    return paths


def _quiet(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(labelsize=_TICK_POINTS, labelcolor=QUIET, color=RULE, length=3)
    axes.tick_params(axis="y", length=0)
