"""The tables of an analysis: their numbers, what they rest on, and how they come out."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onoma.report import ReportData, SummaryRow, statistics, write_report
from onoma.report.figures import named_by_figure, save, shades_of
from onoma.science.analysis_options import Options
from onoma.science.study_file import study_from_document
from tests.report.analyses import EXAMPLE, with_analysis
from tests.report.test_write_report import Page, rows_of
from tests.studies import synthetic_study

TABLES = {
    "table2_cx_purity", "table3_xc_purity", "table4_explanations", "table5_agreement", "table6_compatibility",
    "figure6_named_by", "other_measures", "consensus", "removed", "labels",
}  # fmt: skip


def test_every_table_is_written_as_csv_and_latex(analysed: ReportData, tmp_path: Path) -> None:
    names = {path.name for path in write_report(analysed, tmp_path)}
    assert {f"{name}.{form}" for name in TABLES for form in ("csv", "tex")} <= names
    assert {"pairs.csv", "figure_6_named_by.svg", "figure_7_p.svg", "figure_7_p.png"} <= names


def test_the_numbers_are_those_of_the_worked_example(analysed: ReportData, tmp_path: Path) -> None:
    write_report(analysed, tmp_path)
    expected = EXAMPLE["expected"]["p"]
    [of_p, of_q, of_both] = rows_of(tmp_path / "table5_agreement.csv")
    assert (of_p["row"], of_q["row"], of_both["row"]) == ("category", "category", "mean")
    assert int(of_both["jaccard_n"]) == 2
    assert float(of_p["jaccard_mean"]) == pytest.approx(expected["pair_summary"]["jaccard"]["mean"])
    assert (of_q["one_to_one_n"], of_q["one_to_one_std_sample"]) == ("1", "")
    common = [pair["common"] for pair in expected["pairs"].values()]
    assert [int(of_p["common_min"]), int(of_p["common_max"])] == [min(common), max(common)]
    assert float(of_p["common_mean"]) == pytest.approx(np.mean(common))
    assert of_both["common_mean"] == ""
    pairs = {
        (row["category"], row["annotator"], row["other_annotator"]): row
        for row in rows_of(tmp_path / "pairs.csv")
    }
    for key, pair in expected["pairs"].items():
        row = pairs["p", *key.split("-")]
        for kind in ("one_to_one", "one_to_many", "biclique"):
            assert int(row[f"{kind}_weight"]) == pair[kind]["weight"]
    purity = rows_of(tmp_path / "table2_cx_purity.csv")[0]
    assert float(purity["A3"]) == pytest.approx(0.75)
    assert float(purity["CX_mean"]) == pytest.approx(
        np.mean([float(purity[name]) for name in ("A1", "A2", "A3")])
    )


def test_means_leave_out_what_is_undefined_and_say_so(analysed: ReportData) -> None:
    table = statistics.purity_table(analysed.analysed, "CX", 2)
    undefined = [cell for row in table.rows for cell in row if cell.is_undefined]
    assert undefined
    assert all(cell.note for cell in undefined)
    assert table.means[2].note == "n = 1 of 2 categories"
    assert table.means[2].printed.endswith("\N{NO-BREAK SPACE}(1)")
    assert table.means[0].printed == "mean of 2, or of (n)"
    assert table.means[-1].note == "n = 2 of 2 categories"
    assert "(" not in table.means[-1].printed
    whole = statistics.named_by_table(analysed.analysed[:1])
    assert whole.means[0].printed == "mean of 1"


def test_the_page_shows_all_of_it_and_nothing_undefined_as_a_number(
    analysed: ReportData, tmp_path: Path
) -> None:
    page = Page(write_report(analysed, tmp_path)[0])
    words = " ".join(page.text.split())
    for caption in (
        "Table 2.",
        "Table 3.",
        "Table 4.",
        "Table 5.",
        "Table 6.",
        "Figure 6.",
        "Figure 7, p: A1 and A2",
    ):
        assert caption in words
    assert "9 of 9 activations; proven optimal" in words
    assert "3 of 3 pairs" in " ".join(page.titles)
    assert any(re.fullmatch(r"[\d,]+ shuffles over 3 of 3 pairs", title) for title in page.titles)
    assert not {"nan", "none", "inf"} & set(words.lower().replace(".", " ").split()) - {"none"}
    assert "None" not in words


def test_tables_5_and_6_say_of_how_many_pairs_the_matching_is_one_of_several_optima(
    analysed: ReportData, tmp_path: Path
) -> None:
    write_report(analysed, tmp_path)
    pairs = [row for row in rows_of(tmp_path / "pairs.csv") if row["category"] == "p"]
    for name in ("table5_agreement", "table6_compatibility"):
        of_p = rows_of(tmp_path / f"{name}.csv")[0]
        for kind in ("one_to_one", "one_to_many", "biclique"):
            several = sum(pair[f"{kind}_several_optima"] == "True" for pair in pairs)
            assert int(of_p[f"{kind}_pairs_with_several_optima"]) == several
            assert int(of_p[f"{kind}_pairs_settled"]) == 3


def test_ambiguous_names_are_shown_apart(named: ReportData, tmp_path: Path) -> None:
    document = json.loads(json.dumps(EXAMPLE["input"]).replace('"Wing"', '"other"'))
    del document["label_judgements"]
    write_report(with_analysis(named, study_from_document(document)), tmp_path)
    pairs = [row for row in rows_of(tmp_path / "pairs.csv") if row["category"] == "p"]
    of_p = rows_of(tmp_path / "table6_compatibility.csv")[0]
    shares = [float(pair["one_to_one_ambiguous_compat"]) for pair in pairs]
    assert float(of_p["one_to_one_ambiguous_mean"]) == pytest.approx(np.mean(shares))
    assert float(of_p["one_to_one_ambiguous_mean"]) > 0


def test_intervals_are_called_by_their_confidence(analysed: ReportData) -> None:
    """They are those of the analysis; here only what they are called changes."""
    for confidence, said in ((0.95, "95 % intervals"), (0.5, "50 % intervals"), (0.999, "99.9 % intervals")):
        assert said in statistics.accuracy_table(analysed.analysed, confidence).caption


def test_headings_over_columns_span_them_in_latex(analysed: ReportData, tmp_path: Path) -> None:
    write_report(analysed, tmp_path)
    lines = (tmp_path / "table6_compatibility.tex").read_text(encoding="utf-8").splitlines()
    headings, rules = lines[lines.index(r"\toprule") + 1 : lines.index(r"\toprule") + 3]
    assert headings == (
        r"&  & \multicolumn{4}{c}{one to one} & \multicolumn{4}{c}{one to many} & \multicolumn{4}{c}{biclique} &  \\"
    )
    assert rules == r"\cmidrule(lr){3-6} \cmidrule(lr){7-10} \cmidrule(lr){11-14}"


def test_figure_6_has_a_column_for_each_number_of_annotators_and_no_more(
    named: ReportData, tmp_path: Path
) -> None:
    document = json.loads(json.dumps(EXAMPLE["input"]))
    document["categories"]["empty"] = {"images": [], "activations": {}}
    document["namings"]["A1"]["empty"] = {"clusters": {}}
    write_report(with_analysis(named, study_from_document(document)), tmp_path)
    rows = rows_of(tmp_path / "figure6_named_by.csv")
    shares = [name for n in range(4) for name in (f"by_{n}", f"by_{n}_n")]
    assert list(rows[0]) == ["row", "category", "activations", *shares]
    assert "by 4" not in (tmp_path / "figures" / "figure_6_named_by.svg").read_text(encoding="utf-8")
    page = Page(tmp_path / "index.html")
    assert "the category has no significant activation" in page.titles


def test_a_printed_page_has_every_column_and_what_is_folded(analysed: ReportData, tmp_path: Path) -> None:
    page = write_report(analysed, tmp_path)[0].read_text(encoding="utf-8")
    style = page[page.index("@media print") : page.index("</style>")]
    assert "details::details-content { content-visibility: visible; block-size: auto; }" in style
    assert ".wide th, .wide td { white-space: normal; }" in style  # a paper cannot be scrolled sideways
    for name in ("table5_agreement", "table6_compatibility"):
        assert f'<table class="dense densest" aria-describedby="{name}">' in page
    assert "±\N{NO-BREAK SPACE}" in page  # where such a cell is broken, its spread stays whole
    tex = (tmp_path / "table5_agreement.tex").read_text(encoding="utf-8")
    assert re.search(r"[\d.]+ \$\\pm\$~[\d.]+ &", tex)
    assert "\N{NO-BREAK SPACE}" not in tex


@pytest.mark.parametrize("annotators", [3, 12])
def test_figure_6_takes_its_shades_from_the_page(named: ReportData, tmp_path: Path, annotators: int) -> None:
    study = synthetic_study(categories=1, annotators=annotators, activations=60, concepts=(2, 3))
    page = write_report(with_analysis(named, study, Options(shuffles=0)), tmp_path)[0].read_text(
        encoding="utf-8"
    )
    drawn = page[page.index('<section id="coverage"') : page.index('<section id="explanations"')]
    shades = shades_of(annotators + 1)
    assert set(re.findall(r"--shade-\d+", drawn)) >= {f"--shade-{n}" for n in (0, annotators)}
    assert not [on_light for on_light, _ in shades if on_light in drawn]
    for shade in shades[0]:
        assert f"--shade-0:{shade};" in page


def test_figure_6_of_hundreds_of_annotators_holds_no_picture_whose_shades_the_page_could_not_find(
    analysed: ReportData, tmp_path: Path
) -> None:
    shares = {str(n): {"value": 1 / 300} for n in range(300)}
    one = replace(analysed.analysed[0], found={"named_by_exactly_n": shares, "n": {"activations": 300}})
    [path] = save(lambda: named_by_figure([one]), tmp_path / "figure_6", ("svg",))
    drawn = path.read_text(encoding="utf-8")
    assert "<image" not in drawn
    assert all(on_light in drawn for on_light, _ in shades_of(300))


def test_on_light_and_dark_pages_what_more_annotators_name_is_farther_from_the_paper() -> None:
    def lightness(colour: str) -> int:
        return sum(bytes.fromhex(colour.removeprefix("#")))

    light, dark = zip(*shades_of(6), strict=True)
    assert sorted(light, key=lightness, reverse=True) == list(light)
    assert sorted(dark, key=lightness) == list(dark)


def test_names_in_tables_and_figures_are_text(tmp_path: Path, named: ReportData) -> None:
    renamed = json.loads(json.dumps(EXAMPLE["input"]).replace('"Eye"', '"<i>$Eye_1$</i> 眼"'))
    del renamed["label_judgements"]
    write_report(with_analysis(named, study_from_document(renamed)), tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<i>$Eye" not in page
    assert "<i>$Eye_1$</i> 眼" in Page(tmp_path / "index.html").text
    assert "\N{FIRST STRONG ISOLATE}" not in (tmp_path / "consensus.tex").read_text(encoding="utf-8")
    assert r"\textless{}i\textgreater{}\$Eye\_1\$\textless{}/i\textgreater{} 眼" in (
        tmp_path / "consensus.tex"
    ).read_text(encoding="utf-8")


def test_names_keep_their_order_where_one_is_written_from_right_to_left(
    tmp_path: Path, named: ReportData
) -> None:
    renamed = json.loads(json.dumps(EXAMPLE["input"], ensure_ascii=False).replace('"Eye"', '"عين"'))
    del renamed["label_judgements"]
    report = with_analysis(named, study_from_document(renamed))
    table = statistics.consensus_table(report.analysed)
    printed, [plain] = next(
        (cell.printed, cell.values) for row in table.rows for cell in row[1:2] if "عين" in cell.printed
    )
    assert re.search("\N{FIRST STRONG ISOLATE}عين\N{POP DIRECTIONAL ISOLATE} \\(\\d", printed)
    assert "\N{FIRST STRONG ISOLATE}" not in str(plain)
    write_report(report, tmp_path)
    assert "<bdi>عين</bdi>" in (tmp_path / "index.html").read_text(encoding="utf-8")
    for path in [*tmp_path.glob("*.csv"), *tmp_path.glob("*.tex")]:
        assert "\N{FIRST STRONG ISOLATE}" not in path.read_text(encoding="utf-8"), path


def test_a_picture_is_in_the_page_once_however_often_it_is_shown(
    analysed: ReportData, tmp_path: Path
) -> None:
    row = SummaryRow(("sleeve",), 1, 1.0, ("p1",))
    summaries = tuple(replace(one, named_only=(row, row)) for one in analysed.summaries)
    write_report(replace(analysed, summaries=summaries), tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("background-image:url(data:image/webp") == 1
    assert page.count('class="thumb i0"') == 2 * len(summaries)


def test_many_annotators_get_extremes_in_place_of_columns(named: ReportData, tmp_path: Path) -> None:
    study = synthetic_study(categories=2, annotators=12, activations=120, concepts=(3, 5))
    people = study.study.annotators
    write_report(with_analysis(named, study, Options(shuffles=0)), tmp_path)
    first = rows_of(tmp_path / "table2_cx_purity.csv")[0]
    shares = [name for end in ("lowest", "mean", "highest") for name in (f"CX_{end}", f"CX_{end}_n")]
    assert list(first) == ["row", "category", *shares]
    assert "no shuffles were asked for" in Page(tmp_path / "index.html").titles
    rows = rows_of(tmp_path / "accuracy.csv")
    highs = [float(row["difference_high"]) for row in rows if row["difference_high"]]
    assert highs == sorted(highs)
    assert {row["annotator"] for row in rows_of(tmp_path / "places.csv")} == set(people)


def test_annotators_columns_are_told_apart_whatever_they_are_called(
    analysed: ReportData, tmp_path: Path
) -> None:
    people = dict(zip(analysed.annotators, ("category", "=Bo()", "=Bo()_n"), strict=True))
    renamed = tuple(
        replace(one, found={**one.found, "purity": {people[who]: of for who, of in one.found["purity"].items()}})
        for one in analysed.analysed
    )  # fmt: skip
    write_report(replace(analysed, analysed=renamed), tmp_path)
    row = rows_of(tmp_path / "table2_cx_purity.csv")[0]
    assert list(row) == [
        "row",
        "category",
        "category (2)",
        "category (2)_n",
        "'=Bo()",
        "'=Bo()_n",
        "'=Bo()_n (2)",
        "'=Bo()_n (2)_n",
        "CX_mean",
        "CX_mean_n",
    ]
    assert row["category"] == analysed.analysed[0].category
    assert float(row["category (2)"]) == renamed[0].found["purity"]["category"]["CX"]["value"]


def test_a_bound_on_chance_is_what_latex_can_set(analysed: ReportData, tmp_path: Path) -> None:
    first, *others = analysed.analysed
    bound = {"value": 0.25, "shuffles": 3, "pairs": 1}
    chance = {"one_to_one": None, "one_to_one_at_least": bound, "pairs_in_all": 3}
    bounded = replace(first, found={**first.found, "chance": {**first.found["chance"], **chance}})
    write_report(replace(analysed, analysed=(bounded, *others)), tmp_path)
    tex = (tmp_path / "table5_agreement.tex").read_text(encoding="utf-8")
    assert r"& $\geq$ 25.0 &" in tex
    assert "≥" not in tex


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_annotators_to_agree(named: ReportData, tmp_path: Path, count: int) -> None:
    document = EXAMPLE["input"] | {"annotators": EXAMPLE["input"]["annotators"][:count]}
    document |= {"namings": {name: EXAMPLE["input"]["namings"][name] for name in document["annotators"]}}
    page = Page(write_report(with_analysis(named, study_from_document(document)), tmp_path)[0])
    assert "Agreement needs two annotators" in page.text
    assert "nan" not in page.text.lower().split()


def test_suspects_are_shown_as_the_network_saw_them_and_with_what_it_looked_at(
    analysed: ReportData, tmp_path: Path
) -> None:
    page = Page(write_report(analysed, tmp_path)[0])
    shown = [reference for reference in page.references if reference.startswith("data:image/webp")]
    pictures = [Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) for uri in shown]
    seen, looked = pictures[:2]
    assert min(seen.size) >= 128
    assert seen.size == looked.size
    difference = np.abs(np.asarray(seen.convert("RGB"), int) - np.asarray(looked.convert("RGB"), int))
    assert difference.max() > 50  # the map is over the second
    words = " ".join(page.text.split())
    assert "p; on average over annotators 25.0 % of 6 images are explained so" in words
    assert "A1: Eye, <i>Wing</i>A2: other" in words
    assert "1 of 4 are shown" in words


def two_namings(named: ReportData, left: list[dict], right: list[dict], activations: dict) -> ReportData:
    images = sorted({image for image, _ in activations.values()})
    document = {
        "categories": {"bird": {"images": images, "activations": activations}},
        "annotators": ["Ann", "Bo"],
        "namings": {"Ann": {"bird": {"clusters": left}}, "Bo": {"bird": {"clusters": right}}},
    }
    return with_analysis(named, study_from_document(document), Options(shuffles=0))


def test_a_removed_concept_that_is_named_like_a_kept_one_is_not_drawn(
    named: ReportData, tmp_path: Path
) -> None:
    activations = {f"a{i}": [f"i{i}", "x0"] for i in range(4)}
    kept = {"name": "eye", "activations": ["a0", "a1", "a2"]}
    too_few = {"name": "eye", "activations": ["a3"]}
    whole = {"name": "head", "activations": ["a0", "a1", "a2", "a3"]}
    report = two_namings(named, [kept, too_few], [whole], activations)
    drawn = report.analysed[0].found["most_in_common"]
    assert drawn["concepts"] == [[{"name": "eye", "activations": 3}], [{"name": "head", "activations": 3}]]
    page = Page(write_report(report, tmp_path)[0])
    assert "3 of 3 activations; proven optimal" in " ".join(page.text.split())


def test_of_many_concepts_the_largest_overlaps_are_drawn_and_the_caption_says_so(
    named: ReportData, tmp_path: Path
) -> None:
    activations = {f"a{i}": [f"i{i}", "x0"] for i in range(1300 * 3)}
    concepts = [
        {"name": f"part {c}", "activations": [f"a{3 * c + i}" for i in range(3)]} for c in range(1300)
    ]
    report = two_namings(named, concepts, concepts, activations)
    page = Page(write_report(report, tmp_path)[0])
    words = " ".join(page.text.split())
    assert "1270 and 1270 others are left out, and with them 3810 activations." in words
    with Image.open(tmp_path / "figures" / "figure_7_bird.png") as picture:
        assert picture.height < 2000
