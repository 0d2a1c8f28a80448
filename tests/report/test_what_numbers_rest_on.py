"""Every number of the report says what it rests on, and every dash why there is none."""

import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from onoma.report import ReportData, write_report
from onoma.report.cells import DASH
from onoma.science.analysis_options import Options
from onoma.science.study_file import study_from_document
from tests.report.analyses import EXAMPLE, with_analysis
from tests.report.test_write_report import rows_of
from tests.studies import synthetic_study

N_HEADERS = {
    "n",
    "images",
    "activations",
    "maps",
    "pairs",
    "of",
    "the rest",
    "support",
    "left out",
    "significant activations",
}
"""Headings of columns of counts: what the other numbers of their row rest on."""
MEASURED = re.compile(r"[+\-\N{MINUS SIGN}≥ ]*\d+\.\d+")
"""A measured number, not a count."""
SAYS_N = re.compile(r"n = [\d,]+|[\d,]+ of [\d,]+|shuffles over [\d,]+|mean over [\d,]+|[\d,]+ test images")


@dataclass
class PageCell:
    text: str = ""
    titles: list[str] = field(default_factory=list)


class Tables(HTMLParser):
    """The tables of a page: words above each, headings, and rows of cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[tuple[str, list[str], list[list[PageCell]]]] = []
        self._above = ""
        self._cell: PageCell | None = None
        self._row: list[PageCell] = []
        self._in_caption = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "p":
            self._above = ""
        if tag == "table":
            self.tables.append((self._above, [], []))
        if tag == "tr":
            self._row = []
        if tag in ("td", "th"):
            self._cell = PageCell()
            self._row.append(self._cell)
        if self._cell is not None and given.get("title"):
            self._cell.titles.append(given["title"] or "")
        if tag == "br":
            self.handle_data(" ")
        self._in_caption = self._in_caption or tag == "caption"

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr":
            self.tables[-1][2].append(self._row)
        if tag == "thead":
            _, headings, rows = self.tables[-1]
            headings += [cell.text for cell in rows[-1]]
            rows.clear()
        if tag in ("td", "th"):
            self._cell = None
        if tag == "caption":
            self._in_caption = False

    def handle_data(self, data: str) -> None:
        self._above += data
        if self._cell is not None:
            self._cell.text += data.replace("\N{NO-BREAK SPACE}", " ")
        if self._in_caption and self.tables:
            above, headings, rows = self.tables[-1]
            self.tables[-1] = (above + data, headings, rows)


def unfounded(page: str) -> list[str]:
    """Measured numbers of a page's tables that nothing says the n of, and dashes without a reason."""
    found = []
    for above, headings, rows in Tables(page).tables:
        names = [" ".join(heading.split()) for heading in headings]
        for row in rows:
            has_n = any(
                name in N_HEADERS and re.search(r"\d", cell.text)
                for name, cell in zip(names, row, strict=False)
            )
            for cell in row:
                words = cell.text.strip()
                if words.startswith(DASH) and not any(title.strip() for title in cell.titles):
                    found.append(f"a dash without a reason in {names}")
                if MEASURED.match(words) and not (
                    has_n or any(SAYS_N.search(title) for title in cell.titles) or SAYS_N.search(above)
                ):
                    found.append(f"{words} in {names}")
    return found


def reports(named: ReportData) -> dict[str, ReportData]:
    document = EXAMPLE["input"] | {"annotators": ["A1"]}
    alone = document | {"namings": {"A1": EXAMPLE["input"]["namings"]["A1"]}}
    empty = dict(EXAMPLE["input"]["categories"]) | {"empty": {"images": [], "activations": {}}}
    namings = {
        **EXAMPLE["input"]["namings"],
        "A1": EXAMPLE["input"]["namings"]["A1"] | {"empty": {"clusters": {}}},
    }
    return {
        "worked example": with_analysis(named, study_from_document(EXAMPLE["input"])),
        "with an empty category": with_analysis(
            named, study_from_document(EXAMPLE["input"] | {"categories": empty, "namings": namings})
        ),
        "one annotator": with_analysis(named, study_from_document(alone)),
        "many, no shuffles": with_analysis(
            named,
            synthetic_study(categories=2, annotators=10, activations=100, concepts=(3, 4)),
            Options(shuffles=0),
        ),
        "nobody": replace(named, annotators=(), summaries=()),
    }


def test_every_number_of_every_table_says_its_n_and_every_dash_its_reason(
    named: ReportData, tmp_path: Path
) -> None:
    for name, report in reports(named).items():
        page = write_report(report, tmp_path / name)[0].read_text(encoding="utf-8")
        assert len(Tables(page).tables) >= 2
        assert unfounded(page) == [], name


@pytest.mark.parametrize(
    ("cell", "count"),
    [
        ("<td>12.5</td>", 1),
        ('<td title="1 of 8">12.5</td>', 0),
        ("<td>&ndash;</td>", 1),
        ('<td title="0 of 0">&ndash;</td>', 0),
        ("<td>12</td>", 0),
    ],
)
def test_a_number_without_n_would_be_found(cell: str, count: int) -> None:
    head = "<thead><tr><th>category</th><th>share</th></tr></thead>"
    page = f"<p>Shares.</p><table>{head}<tbody><tr><td>a</td>{cell}</tr></tbody></table>"
    assert len(unfounded(page)) == count


def test_numbers_above_the_tables_say_their_n(named: ReportData, tmp_path: Path) -> None:
    page = write_report(named, tmp_path)[0].read_text(encoding="utf-8")
    assert "X-features carry a decision on average (n = 4 images)." in page
    assert "(T-shirt/top; n = 4 test images)" in page


def test_table_4_has_its_denominator_and_means_are_marked_in_the_files(
    analysed: ReportData, tmp_path: Path
) -> None:
    write_report(analysed, tmp_path)
    for row in rows_of(tmp_path / "table4_explanations.csv"):
        assert float(row["percent"]) == pytest.approx(100 * int(row["images"]) / int(row["of_images"]))
    tex = (tmp_path / "table4_explanations.tex").read_text(encoding="utf-8")
    assert "images & of &" in tex
    for name in (
        "table2_cx_purity",
        "table3_xc_purity",
        "table5_agreement",
        "table6_compatibility",
        "figure6_named_by",
    ):
        assert [row["row"] for row in rows_of(tmp_path / f"{name}.csv")] == ["category", "category", "mean"]
    purity = rows_of(tmp_path / "table2_cx_purity.csv")
    assert purity[-1]["CX_mean_n"] == "2"
    assert purity[0]["A1_n"] == "10"
