"""A report as one page that needs no network: everything it shows is inside it."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from onoma.pictures_of_maps import enlarge, overlay
from onoma.report import figures
from onoma.report.cells import Table
from onoma.report.data import MapSample, ReportData, Suspect
from onoma.report.paper_tables import numbers_of_annotators
from onoma.science.summary import OTHER, UNLABELED

_THUMBNAIL_PX = 168
SUMMARY_ROWS_SHOWN = 8
_ANNOTATORS_LISTED = 3
_TABLE_ROWS_SHOWN = 40
THUMB_PX = 64
_PAGE_COLOURS = {
    figures.PAPER: "var(--paper)",
    figures.INK: "var(--ink)",
    figures.QUIET: "var(--quiet)",
    figures.RULE: "var(--rule)",
    figures.BAR: "var(--bar)",
    figures.ACCENT: "var(--accent)",
}


def page_html(
    data: ReportData,
    analysed: Mapping[str, Table],
    svg: Mapping[str, str],
    links: Sequence[str],
    summary_files: Mapping[str, str],
) -> str:
    """The page as HTML.

    Args:
        data: everything to show.
        analysed: tables of the analysis, by their names.
        svg: the figures to put into the page, by name, as matplotlib wrote them.
        links: files of the report's folder to link to, relative to the page.
        summary_files: file with all explanations, by category.
    """
    environment = Environment(
        loader=PackageLoader("onoma.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        number=number,
        map_over_picture=_map_over_picture,
        named=_named,
        apart=_apart,
        small=_small,
        seen=_seen,
    )
    shades = figures.shades_of(len(numbers_of_annotators(data.analysed)))
    return environment.get_template("page.html").render(
        data=data,
        analysed=analysed,
        compared=[
            (one.category, one.found["most_in_common"], name)
            for one, name in figures.matching_figures(data.analysed)
        ],
        picture_classes={image_id: f"i{place}" for place, image_id in enumerate(data.pictures)},
        table_rows_shown=_TABLE_ROWS_SHOWN,
        svg={name: _inlined(text, [on_light for on_light, _ in shades]) for name, text in svg.items()},
        shades=shades,
        links=links,
        summary_files=summary_files,
        sentences=[sentence.replace(" %", "\N{NO-BREAK SPACE}%") for sentence in _at_a_glance(data)],
        summary_rows_shown=SUMMARY_ROWS_SHOWN,
        words_for_unnamed={OTHER: OTHER, UNLABELED: "nothing named"},
    )


def percent(share: float | None, reason: str = "0 of 0", digits: int = 1) -> str:
    """A share as a percentage, or a dash that gives the reason on hover."""
    return _dash(reason) if share is None else f"{100 * share:.{digits}f}"


def number(value: float | None, digits: int, reason: str = "0 of 0") -> str:
    """A number with a true minus sign, or a dash that gives the reason on hover."""
    return _dash(reason) if value is None else f"{value:z,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _dash(reason: str) -> Markup:
    return Markup(
        '<span class="undefined" title="{0}">&ndash;<span class="spoken"> {0}</span></span>'
    ).format(reason)


def _at_a_glance(data: ReportData) -> list[str]:
    sentences = []
    shares = [row.rmse_share for row in data.classes]
    known = [share for share in shares if share is not None]
    if known:
        worst = max(data.classes, key=lambda row: row.rmse_share or 0)
        mean, largest = 100 * sum(known) / len(known), 100 * max(known)
        sentences.append(
            f"The explanation networks of {_count(len(known), 'class', 'classes')} miss the network's "
            f"score by {mean:.2f} % of its range on average, by {largest:.2f} % in the worst class "
            f"({worst.class_name}; n = {data.test_image_count:,} test images)."
        )
    if data.argmax_agreement is not None:
        sentences.append(
            f"They choose the same class in {100 * data.argmax_agreement:.1f} % of "
            f"{data.test_image_count:,} test images."
        )
    images = sum(row.image_count for row in data.classes)
    activations = sum(row.significant_count for row in data.classes)
    if images:
        sentences.append(
            f"{activations / images:.1f} X-features carry a decision on average (n = {images:,} images)."
        )
    by_any = [row for row in data.coverage if not row.annotator and row.activation is not None]
    total = sum(row.activation_count for row in by_any)
    if total and data.is_named:
        named = sum(round(row.activation_count * (row.activation or 0)) for row in by_any)
        naming = len({row.annotator for row in data.coverage if row.annotator and row.activation})
        who = _count(naming, "annotator", "annotators")
        if naming < len(data.annotators):
            who = f"{naming:,} of {_count(len(data.annotators), 'annotator', 'annotators')}"
        sentences.append(
            f"{who} named {named:,} of {total:,} significant activations ({100 * named / total:.0f} %)."
        )
    return sentences


def _count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def _apart(names: Iterable[str]) -> list[Markup]:
    """Names that keep their order in a sentence where some are written from right to left."""
    return [Markup("<bdi>{}</bdi>").format(name) for name in names]


def _named(sample: MapSample) -> Markup:
    """What annotators called an activation: 'sleeve (Ann, Bo), arm (Cy)'; of many, how many."""
    annotators: dict[str, list[str]] = {}
    for annotator, name in sample.names:
        annotators.setdefault(name or "unnamed", []).append(annotator)
    return Markup(", ").join(
        Markup("{} ({})").format(
            name, Markup(", ").join(_apart(who)) if len(who) <= _ANNOTATORS_LISTED else len(who)
        )
        for name, who in zip(_apart(annotators), annotators.values(), strict=True)
    )


def _map_over_picture(sample: MapSample | Suspect) -> str:
    """The map over its picture, small, as a data URI."""
    return _webp(overlay(enlarge(sample.picture, _THUMBNAIL_PX), sample.map), 2 * _THUMBNAIL_PX)


def _small(picture: npt.NDArray[np.uint8]) -> str:
    """A small picture as a data URI."""
    return _webp(np.broadcast_to(picture, (*picture.shape[:2], 3)), THUMB_PX)


def _seen(suspect: Suspect) -> str:
    """What the network saw of a suspect, large enough to be judged, as a data URI."""
    return _webp(enlarge(suspect.picture, _THUMBNAIL_PX), 2 * _THUMBNAIL_PX)


def _webp(pixels: npt.NDArray[np.uint8], most_px: int) -> str:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((most_px, most_px))
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _inlined(svg: str, shades: Iterable[str]) -> Markup:
    """matplotlib's SVG for use inside HTML: the page's font and colours, no background, no prolog."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="patch_1">.*?</g>', "", svg, count=1, flags=re.DOTALL)  # the figure's background
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "inherit", svg)
    shades_on_page = {shade: f"var(--shade-{n})" for n, shade in enumerate(shades)}
    for printed, on_page in {**shades_on_page, **_PAGE_COLOURS}.items():
        svg = svg.replace(printed, on_page)
    return Markup(svg)  # noqa: S704  matplotlib escapes the text that it draws
