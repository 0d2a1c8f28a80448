"""Figures with names as data sets and people have them: nothing runs out of the picture or over something else."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from onoma.pictures_of_maps import boxes_for_missing_glyphs
from onoma.report import CoverageRow, ReportData, figures
from onoma.report.fitted_text import in_two_lines, shortened, width_inches
from tests.report.conftest import a_sample

BIRDS = (
    "001.Black_footed_Albatross", "002.Laysan_Albatross", "004.Groove_billed_Ani", "005.Crested_Auklet",
    "008.Rhinoceros_Auklet", "041.Scissor_tailed_Flycatcher",
)  # fmt: skip
SENTENCE = "a class that says everything that it has to say, and then something more, up to a hundred and ten letters"
WIDE = "\N{CJK UNIFIED IDEOGRAPH-5E3D}" * 28

pytestmark = pytest.mark.filterwarnings(
    "error::UserWarning"
)  # of matplotlib, where no room is left for the axes


@pytest.fixture(autouse=True)
def _whatever_fonts_are_installed() -> Iterator[None]:
    with boxes_for_missing_glyphs():
        yield


def drawn(draw: Callable[[], Figure]) -> Figure:
    figure = draw()
    figure.draw_without_rendering()
    return figure


def texts(figure: Figure) -> Iterator[tuple[str, Bbox]]:
    """What is written over and into the panels, and where."""
    for text in [*figure.texts, *(one for axes in figure.axes for one in axes.get_children())]:
        if isinstance(text, Text) and text.get_text():
            yield text.get_text(), text.get_window_extent()


def check(figure: Figure) -> None:
    """Every text lies within the figure, and none over another."""
    found = list(texts(figure))
    for text, box in found:
        assert figure.bbox.x0 <= box.x0, text
        assert box.x1 <= figure.bbox.x1, text
    for (text, box), (other, other_box) in combinations(found, 2):
        assert not box.overlaps(other_box), (text, other)


def scores(*names: str) -> Figure:
    own, others = np.array([[-5.0, -4.0], [20.0, 21.0]]), np.array([[-8.0, -8.0]])
    return drawn(lambda: figures.scores_figure([figures.ClassScores(name, own, others) for name in names]))


@pytest.mark.parametrize("names", [BIRDS, (SENTENCE,), ("hat", SENTENCE), (WIDE, "hat", "W" * 40)])
def test_titles_of_panels_keep_apart_and_each_says_its_n(names: tuple[str, ...]) -> None:
    figure = scores(*names)
    check(figure)
    said = [axes.get_title("left") for axes in figure.axes]
    assert all(title.endswith("\nn = 2") for title in said)
    assert said[0][:3] == names[0][:3]


def test_a_panel_has_as_much_height_below_a_title_of_many_lines() -> None:
    short, long = (scores(name).axes[0].get_window_extent().height for name in ("hat", SENTENCE))
    assert long > 0.95 * short


@pytest.mark.parametrize("name", [BIRDS[0], "x" * 45, SENTENCE, "W" * 110, WIDE])
def test_coverage_keeps_its_panels_whatever_a_category_is_called(name: str) -> None:
    rows = [CoverageRow(one, "", 0.5, 0.6, 0.4, None, 7, 4, 0, 1) for one in (name, "hat")]
    figure = drawn(lambda: figures.coverage_figure(rows))
    check(figure)
    assert min(axes.get_window_extent().width for axes in figure.axes) > 2 * figure.dpi
    assert min(label.get_window_extent().x0 for label in figure.axes[0].get_yticklabels()) >= 0


def test_figure_6_keeps_its_bars_and_its_n_whatever_a_category_is_called(analysed: ReportData) -> None:
    named = [replace(one, category=SENTENCE) for one in analysed.analysed]
    figure = drawn(lambda: figures.named_by_figure(named))
    labels = figure.axes[0].get_yticklabels()
    assert all("…, n = " in label.get_text() for label in labels)
    assert min(label.get_window_extent().x0 for label in labels) >= 0
    assert figure.axes[0].get_window_extent().width > 6 * figure.dpi


def matching(names: tuple[str, ...], count: int, annotator: str = "Ann") -> Figure:
    concepts = [{"name": name, "activations": count - n} for n, name in enumerate(names)]
    of_two = {
        "concepts": [concepts, concepts[::-1]],
        "annotators": [annotator, "Bo"],
        "overlaps": [[0, len(names) - 1, count, True]],
    }
    return drawn(lambda: figures.matching_figure(of_two))


@pytest.mark.parametrize("count", [12, 12_000, 12_345_678])
@pytest.mark.parametrize("names", [("eye", "wing"), (WIDE, "eye"), ("W" * 28, WIDE, "eye of the bird")])
def test_concepts_of_two_namings_stand_beside_their_counts(names: tuple[str, ...], count: int) -> None:
    check(matching(names, count))


def test_a_long_name_of_an_annotator_leaves_room_for_the_matching() -> None:
    figure = matching(("eye",), 3, annotator="A" * 200)
    check(figure)
    assert any(text.startswith("AAAA") and text.endswith("A…") for text, _ in texts(figure))


def test_a_long_category_stays_over_its_maps() -> None:
    maps = figures.CategoryMaps(SENTENCE, 1, (1,), (a_sample(0),))
    check(drawn(lambda: figures.maps_figure(maps)))


@pytest.mark.parametrize("text", [SENTENCE, "W" * 50, "i" * 500, WIDE])
def test_a_shortened_text_fills_its_room_and_no_more(text: str) -> None:
    short = shortened(text, 1.5, 8)
    assert short[:-1] == text[: len(short) - 1]
    assert short.endswith("…")
    assert width_inches(short, 8) <= 1.5 < width_inches(text[: len(short) + 1] + "…", 8)


def test_a_text_that_fits_stays_and_one_that_does_not_is_broken_between_words() -> None:
    assert in_two_lines("hat", 1.2, 8) == shortened("hat", 1.2, 8) == "hat"
    assert in_two_lines("001.Black_footed_Albatross", 1.2, 8) == "001.Black_footed_\nAlbatross"
    assert in_two_lines("great spotted woodpecker", 1.2, 8) == "great spotted\nwoodpecker"
    assert "\n" not in in_two_lines("W" * 50, 1.2, 8)
