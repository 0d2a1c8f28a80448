import csv
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from onoma.report import ClassRow, ReportData, write_report

VOID = {"meta", "link", "br", "img", "col"}


class Page(HTMLParser):
    """Collects what a page says and refers to, and checks that its tags close."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = ""
        self.references: list[str] = []
        self.titles: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.references += [given[key] or "" for key in ("src", "href", "xlink:href") if key in given]
        self.titles += [given["title"] or ""] if "title" in given else []
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if not self._open or self._open[-1] != "style" else ""


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_holds_a_page_tables_and_figures(named: ReportData, tmp_path: Path) -> None:
    written = write_report(named, tmp_path / "report")
    names = [path.relative_to(tmp_path / "report").as_posix() for path in written]
    assert names == [
        "index.html",
        "table1.csv",
        "table1.tex",
        "summary_T-shirt_top.csv",
        "summary_hat_cap.csv",
        "figures_3_to_5_coverage.csv",
        "figures_3_to_5_coverage.tex",
        "table4_explanations.csv",
        "table4_explanations.tex",
        "figures/figures_3_to_5_coverage.svg",
        "figures/figures_3_to_5_coverage.png",
        "figures/scores.svg",
        "figures/scores.png",
        "figures/maps_T-shirt_top.png",
    ]
    for path in written:
        assert path.stat().st_size > 0
        if path.suffix == ".png":
            Image.open(path).verify()


def test_the_page_needs_no_network_and_every_link_leads_somewhere(named: ReportData, tmp_path: Path) -> None:
    index = write_report(named, tmp_path)[0]
    assert not re.search(r"@import|url\(\s*['\"]?http|<script", index.read_text(encoding="utf-8"))
    for reference in Page(index).references:
        if not reference.startswith(("#", "data:")):
            assert (tmp_path / reference).is_file(), reference


def test_names_are_text_never_markup(named: ReportData, tmp_path: Path) -> None:
    index = write_report(named, tmp_path)[0]
    assert "<b>sleeve" not in index.read_text(encoding="utf-8")
    assert "<b>sleeve</b>" in Page(index).text


def test_undefined_numbers_are_a_dash_with_the_reason(named: ReportData, tmp_path: Path) -> None:
    page = Page(write_report(named, tmp_path)[0])
    assert "no test image of hat & cap" in page.titles
    assert "no image of hat & cap has a significant activation" in page.titles
    assert "nan" not in page.text.lower().split()
    assert "None" not in page.text


def test_a_set_that_nothing_was_measured_of_has_dashes(named: ReportData, tmp_path: Path) -> None:
    """Its data set has no test image."""
    bare = ClassRow("bird", 0, 0, None, None, None, None, None, None)
    page = Page(write_report(replace(named, classes=(bare,), test_image_count=0), tmp_path)[0])
    assert "no test images" in page.titles
    assert "the score is the same on every image" not in page.titles
    [row] = rows_of(tmp_path / "table1.csv")
    assert [row[name] for name in ("rmse", "score_min", "score_max", "rmse_share_of_range")] == [""] * 4
    assert r"bird & 0 & 0 & -- & -- & -- & -- & -- \\" in (tmp_path / "table1.tex").read_text(
        encoding="utf-8"
    )


def test_table_1_says_the_share_that_its_own_counts_rest_on(named: ReportData, tmp_path: Path) -> None:
    """A study's maps may be drawn by another."""
    maps = replace(named.provenance, significant_share=0.5)
    page = Page(write_report(replace(named, provenance=maps, xnn_significant_share=0.8), tmp_path)[0])
    assert "hold 80" in page.text


def test_undefined_numbers_are_empty_cells_and_numbers_keep_their_sign(
    named: ReportData, tmp_path: Path
) -> None:
    write_report(named, tmp_path)
    shirt, hat = rows_of(tmp_path / "table1.csv")
    assert hat["dnn_accuracy"] == ""
    assert hat["rmse_share_of_range"] == ""
    assert shirt["score_min"] == "-4.0"


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-x", "@sum", "'=x"])
def test_text_that_a_spreadsheet_would_run_is_escaped(named: ReportData, tmp_path: Path, name: str) -> None:
    coverage = tuple(replace(row, category=name) for row in named.coverage)
    write_report(replace(named, coverage=coverage), tmp_path)
    assert {row["category"] for row in rows_of(tmp_path / "figures_3_to_5_coverage.csv")} == {"'" + name}


def test_both_readings_are_in_the_summary(named: ReportData, tmp_path: Path) -> None:
    write_report(named, tmp_path)
    rows = rows_of(tmp_path / "summary_T-shirt_top.csv")
    assert [(row["reading"], row["names"]) for row in rows] == [
        ("named_only", "<b>sleeve</b>; =collar"),
        ("named_only", "unlabeled"),
        ("with_other", "<b>sleeve</b>; =collar"),
        ("with_other", "other"),
    ]


def test_images_without_a_name_are_said_to_have_nothing_named(named: ReportData, tmp_path: Path) -> None:
    page = write_report(named, tmp_path)[0].read_text(encoding="utf-8")
    assert '<bdi class="unnamed">nothing named</bdi>' in page
    assert ">unlabeled<" not in page


def test_latex_escapes_names_and_prints_undefined_as_a_dash(named: ReportData, tmp_path: Path) -> None:
    write_report(named, tmp_path)
    table = (tmp_path / "table1.tex").read_text(encoding="utf-8")
    assert r"hat \& cap & 0 & 0 & -- & -- & -- & 0.040" in table


@pytest.mark.parametrize("name", ["[left]", "*star"])
def test_a_row_of_latex_that_begins_like_an_argument_is_none(
    named: ReportData, tmp_path: Path, name: str
) -> None:
    classes = tuple(replace(row, class_name=name) for row in named.classes)
    coverage = tuple(replace(row, category=name) for row in named.coverage)
    write_report(replace(named, classes=classes, coverage=coverage), tmp_path)
    for table in ("table1", "figures_3_to_5_coverage"):
        lines = (tmp_path / f"{table}.tex").read_text(encoding="utf-8").splitlines()
        assert any(line.startswith("{}" + name) for line in lines)
        assert not any(line.startswith(name[0]) for line in lines)


def test_nobody_says_how_many_concepts_all_annotators_together_have(
    named: ReportData, tmp_path: Path
) -> None:
    write_report(named, tmp_path)
    rows = rows_of(tmp_path / "figures_3_to_5_coverage.csv")
    assert [(row["annotator"], row["concepts"]) for row in rows[:2]] == [("Ann", "2"), ("", "")]


def test_those_who_were_invited_and_named_nothing_are_not_said_to_have_named(
    named: ReportData, tmp_path: Path
) -> None:
    assert "1 annotator named 6 of 7 significant" in Page(write_report(named, tmp_path)[0]).text
    three = replace(named, annotators=("Ann", "Bo", "Cy"))
    assert "1 of 3 annotators named 6 of 7 significant" in Page(write_report(three, tmp_path)[0]).text


def test_nobody_has_named_anything_yet(unnamed: ReportData, tmp_path: Path) -> None:
    page = Page(write_report(unnamed, tmp_path)[0])
    assert "Nobody has named anything yet" in page.text
    assert not (tmp_path / "figures" / "figures_3_to_5_coverage.svg").exists()
    assert "nobody has begun to name T-shirt/top" in page.titles


def test_a_study_without_maps_and_classes_still_gives_a_page(unnamed: ReportData, tmp_path: Path) -> None:
    page = Page(write_report(replace(unnamed, classes=(), maps=(), coverage=()), tmp_path)[0])
    assert "No maps are computed yet" in page.text


def test_imported_maps_say_what_made_them_and_there_is_no_table_1(
    imported: ReportData, tmp_path: Path
) -> None:
    written = write_report(imported, tmp_path)
    text = " ".join(Page(written[0]).text.split())
    assert "imported: Grad-CAM on vgg16 of torchvision" in text
    assert "SHA-256 " + "ef" * 32 in text
    assert "Grad-CAM: targetlogit" in text  # a term and its definition
    assert "map layerfeatures.29, 14" in text
    assert "contrastive" not in text
    assert not any(path.name.startswith("table1") for path in written)


def test_computed_maps_say_what_made_them(named: ReportData, tmp_path: Path) -> None:
    text = " ".join(Page(write_report(named, tmp_path)[0]).text.split())
    assert (
        "Excitation Backpropcontrastive, strict mode; strict mode loses" in text
    )  # a term and its definition
    assert "Onomaversion 0.1.0 drew the maps" in text


def test_progress_reaches_its_total_once(named: ReportData, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_report(named, tmp_path, lambda _name, done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1] == (len(seen), len(seen))


def test_writing_again_replaces_and_leaves_other_files_alone(named: ReportData, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    first = {path: path.read_bytes() for path in write_report(named, tmp_path)}
    assert {path: path.read_bytes() for path in write_report(named, tmp_path)} == first
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_categories_whose_names_differ_by_case_or_slash_get_their_own_files(
    named: ReportData, tmp_path: Path
) -> None:
    summaries = tuple(
        replace(named.summaries[0], category=category) for category in ("a/b", "a b", "A_b", "../..")
    )
    written = write_report(replace(named, summaries=summaries), tmp_path)
    names = {path.name.casefold() for path in written if path.name.startswith("summary")}
    assert len(names) == 4
    assert all(tmp_path in path.parents for path in written)
