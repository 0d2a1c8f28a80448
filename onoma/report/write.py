"""Writes a report's folder."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from onoma.report import cells, figures, statistics, tables
from onoma.report.analysed import PAIR_COLUMNS
from onoma.report.cells import Table
from onoma.report.data import ReportData
from onoma.report.page import page_html

Progress = Callable[[str, int, int], None]
"""Called with what was written last, how many steps are done, and how many there are."""

Step = tuple[str, Callable[[], list[Path]]]


def write_report(
    data: ReportData, out: Path, progress: Progress = lambda _name, _done, _total: None
) -> list[Path]:
    """Writes index.html, CSV and LaTeX tables, and figures as SVG and PNG into a folder.

    Files of an earlier report are replaced; other files in the folder are left alone.

    Args:
        data: everything to show.
        out: the folder, made where it is missing.
        progress: called after each step.

    Returns:
        The files written, index.html first.

    Raises:
        OSError: the folder cannot be written to.
    """
    (out / "figures").mkdir(parents=True, exist_ok=True)
    summary_files = _summary_files(data)
    analysed = statistics.tables(data.analysed, data.summaries, data.coverage, data.confidence)
    steps = [
        *_table_steps(data, out, summary_files),
        *_analysis_steps(data, out, analysed),
        *_figure_steps(data, out / "figures"),
    ]
    written: list[Path] = []
    for done, (name, step) in enumerate(steps, start=1):
        written += step()
        progress(name, done, len(steps) + 1)
    index = out / "index.html"
    index.write_text(
        page_html(
            data,
            analysed,
            svg={path.stem: path.read_text(encoding="utf-8") for path in written if path.suffix == ".svg"},
            links=[path.relative_to(out).as_posix() for path in written],
            summary_files=summary_files,
        ),
        encoding="utf-8",
    )
    progress("page", len(steps) + 1, len(steps) + 1)
    return [index, *written]


def _summary_files(data: ReportData) -> dict[str, str]:
    """File name of each category's explanations."""
    categories = dict.fromkeys(summary.category for summary in data.summaries)
    return {category: f"summary_{stem}.csv" for category, stem in tables.file_names(categories).items()}


def _table_steps(data: ReportData, out: Path, summary_files: dict[str, str]) -> Iterator[Step]:
    if data.classes:
        yield "table 1 as CSV", partial(tables.write_table1_csv, out / "table1.csv", data.classes)
        yield "table 1 as LaTeX", partial(tables.write_table1_tex, out / "table1.tex", data.classes)
    for category, name in summary_files.items():
        of_category = [summary for summary in data.summaries if summary.category == category]
        yield (
            f"explanations of {category}",
            partial(tables.write_summary_csv, out / name, of_category),
        )


def _analysis_steps(data: ReportData, out: Path, analysed: dict[str, Table]) -> Iterator[Step]:
    for table in analysed.values():
        yield f"{table.name} as CSV and LaTeX", partial(cells.write, table, out)
    if data.analysed:
        rows = (row for one in data.analysed for row in one.pair_rows)
        yield "pairs as CSV", partial(tables.write_csv, out / "pairs.csv", PAIR_COLUMNS, rows)


def _figure_steps(data: ReportData, folder: Path) -> Iterator[Step]:
    def saved(name: str, draw: Callable[[], Figure], forms: Sequence[str] = ("svg", "png")) -> Step:
        return name, partial(figures.save, draw, folder / name, forms)

    if data.is_named:
        yield saved("figures_3_to_5_coverage", partial(figures.coverage_figure, data.coverage))
    scored = [maps for maps in data.maps if len(maps.scores)]
    if scored:
        yield saved("scores", partial(figures.scores_figure, scored))
    if data.analysed:
        yield saved("figure_6_named_by", partial(figures.named_by_figure, data.analysed))
    for one, name in figures.matching_figures(data.analysed):
        yield saved(name, partial(figures.matching_figure, one.found["most_in_common"]))
    drawn = [maps for maps in data.maps if maps.samples]
    stems = tables.file_names(maps.category for maps in drawn)
    for maps in drawn:
        yield saved(f"maps_{stems[maps.category]}", partial(figures.maps_figure, maps), forms=["png"])
