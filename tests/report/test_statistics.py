"""The tables of an analysis: their numbers, what they rest on, and how they come out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onoma.report import ReportData, SummaryRow, statistics, write_report
from onoma.science.analysis import analyse
from onoma.science.category_analysis import Options
from onoma.science.study_file import study_from_document
from tests.report.test_write_report import Page, rows_of
from tests.studies import synthetic_study

EXAMPLE = json.loads((Path(__file__).parents[1] / "data" / "worked_example.json").read_text(encoding="utf-8"))
TABLES = {
    "cx_purity", "xc_purity", "named_by", "explanations", "agreement", "compatibility", "other_measures", "consensus",
    "removed", "labels",
}  # fmt: skip


def test_every_table_is_written_as_csv_and_latex(analysed: ReportData, tmp_path: Path) -> None:
    names = {path.name for path in write_report(analysed, tmp_path)}
    assert {f"{name}.{form}" for name in TABLES for form in ("csv", "tex")} <= names
    assert {"pairs.csv", "named_by.svg", "matching_p.svg"} <= names


def test_the_numbers_are_those_of_the_worked_example(analysed: ReportData, tmp_path: Path) -> None:
    write_report(analysed, tmp_path)
    expected = EXAMPLE["expected"]["p"]
    [of_p, of_q] = rows_of(tmp_path / "agreement.csv")
    assert float(of_p["jaccard_mean"]) == pytest.approx(expected["pair_summary"]["jaccard"]["mean"])
    assert (of_q["one_to_one_n"], of_q["one_to_one_std_sample"]) == ("1", "")
    pairs = {
        (row["category"], row["annotator"], row["other_annotator"]): row
        for row in rows_of(tmp_path / "pairs.csv")
    }
    for key, pair in expected["pairs"].items():
        row = pairs["p", *key.split("-")]
        for kind in ("one_to_one", "one_to_many", "biclique"):
            assert int(row[f"{kind}_weight"]) == pair[kind]["weight"]
    purity = rows_of(tmp_path / "cx_purity.csv")[0]
    assert float(purity["A3"]) == pytest.approx(0.75)
    assert float(purity["CX_mean"]) == pytest.approx(
        np.mean([float(purity[name]) for name in ("A1", "A2", "A3")])
    )


def test_means_leave_out_what_is_undefined_and_say_so(analysed: ReportData) -> None:
    table = statistics.purity_table(analysed.analysis["expected"], "CX", 2)
    undefined = [cell for row in table.rows for cell in row if cell.is_undefined]
    assert undefined
    assert all(cell.note for cell in undefined)
    assert table.means[2].note == "n = 1 of 2 categories"


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
    assert "100 shuffles over 3 pairs" in page.titles
    assert not {"nan", "none", "inf"} & set(words.lower().replace(".", " ").split()) - {"none"}
    assert "None" not in words


def test_tables_5_and_6_say_of_how_many_pairs_the_matching_is_one_of_several_optima(
    analysed: ReportData, tmp_path: Path
) -> None:
    write_report(analysed, tmp_path)
    pairs = list(analysed.analysis["expected"]["p"]["pairs"].values())
    for name in ("agreement", "compatibility"):
        of_p = rows_of(tmp_path / f"{name}.csv")[0]
        for kind in ("one_to_one", "one_to_many", "biclique"):
            several = sum(pair[kind]["several_optima"] for pair in pairs)
            assert int(of_p[f"{kind}_pairs_with_several_optima"]) == several
            assert int(of_p[f"{kind}_pairs_settled"]) == 3


def test_ambiguous_names_are_shown_apart(named: ReportData, tmp_path: Path) -> None:
    document = json.loads(json.dumps(EXAMPLE["input"]).replace('"Wing"', '"other"'))
    del document["label_judgements"]
    analysis = analyse(study_from_document(document))
    write_report(replace(named, annotators=("A1", "A2", "A3"), analysis=analysis), tmp_path)
    pairs = [pair["one_to_one"]["ambiguous_compat"] for pair in analysis["expected"]["p"]["pairs"].values()]
    of_p = rows_of(tmp_path / "compatibility.csv")[0]
    assert float(of_p["one_to_one_ambiguous_mean"]) == pytest.approx(np.mean([one["value"] for one in pairs]))
    assert float(of_p["one_to_one_ambiguous_mean"]) > 0


def test_headings_over_columns_span_them_in_latex(analysed: ReportData, tmp_path: Path) -> None:
    write_report(analysed, tmp_path)
    lines = (tmp_path / "compatibility.tex").read_text(encoding="utf-8").splitlines()
    headings, rules = lines[lines.index(r"\toprule") + 1 : lines.index(r"\toprule") + 3]
    assert headings == (
        r" & \multicolumn{4}{c}{one to one} & \multicolumn{4}{c}{one to many} & \multicolumn{4}{c}{biclique} &  \\"
    )
    assert rules == r"\cmidrule(lr){2-5} \cmidrule(lr){6-9} \cmidrule(lr){10-13}"


def test_figure_6_has_a_column_for_each_number_of_annotators_and_no_more(
    named: ReportData, tmp_path: Path
) -> None:
    document = json.loads(json.dumps(EXAMPLE["input"]))
    document["categories"]["empty"] = {"images": [], "activations": {}}
    document["namings"]["A1"]["empty"] = {"clusters": {}}
    analysis = analyse(study_from_document(document))
    write_report(replace(named, annotators=("A1", "A2", "A3"), analysis=analysis), tmp_path)
    rows = rows_of(tmp_path / "named_by.csv")
    assert list(rows[0]) == ["category", "activations", "by_0", "by_1", "by_2", "by_3"]
    assert "by 4" not in (tmp_path / "figures" / "named_by.svg").read_text(encoding="utf-8")
    page = Page(tmp_path / "index.html")
    assert "the category has no significant activation" in page.titles


def test_names_in_tables_and_figures_are_text(tmp_path: Path, named: ReportData) -> None:
    renamed = json.loads(json.dumps(EXAMPLE["input"]).replace('"Eye"', '"<i>$Eye_1$</i> 眼"'))
    del renamed["label_judgements"]
    analysis = analyse(study_from_document(renamed))
    write_report(replace(named, annotators=("A1", "A2", "A3"), analysis=analysis), tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<i>$Eye" not in page
    assert "<i>$Eye_1$</i> 眼" in Page(tmp_path / "index.html").text
    assert r"<i>\$Eye\_1\$</i> 眼" in (tmp_path / "consensus.tex").read_text(encoding="utf-8")


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
    analysis = analyse(study, Options(shuffles=0))
    write_report(replace(named, annotators=people, analysis=analysis), tmp_path)
    first = rows_of(tmp_path / "cx_purity.csv")[0]
    assert list(first) == ["category", "CX_lowest", "CX_mean", "CX_highest"]
    assert "no shuffles were asked for" in Page(tmp_path / "index.html").titles
    rows = rows_of(tmp_path / "accuracy.csv")
    highs = [float(row["difference_high"]) for row in rows if row["difference_high"]]
    assert highs == sorted(highs)
    assert {row["annotator"] for row in rows_of(tmp_path / "places.csv")} == set(people)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_annotators_to_agree(named: ReportData, tmp_path: Path, count: int) -> None:
    document = EXAMPLE["input"] | {"annotators": EXAMPLE["input"]["annotators"][:count]}
    document |= {"namings": {name: EXAMPLE["input"]["namings"][name] for name in document["annotators"]}}
    analysis = analyse(study_from_document(document))
    page = Page(
        write_report(replace(named, annotators=tuple(document["annotators"]), analysis=analysis), tmp_path)[0]
    )
    assert "Agreement needs two annotators" in page.text
    assert "nan" not in page.text.lower().split()
