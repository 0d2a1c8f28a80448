"""A report's numbers as files: CSV for programs, LaTeX for papers."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from onoma.faithfulness import ClassRow
from onoma.report.data import NamingSummary
from onoma.table_cells import guarded

Value = str | int | float | bool | None

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",  # these three are other signs in LaTeX's oldest fonts, which it takes by itself
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Value]]) -> list[Path]:
    """A CSV file in UTF-8; undefined numbers are empty cells.

    Text that a spreadsheet would take for a formula is preceded by an apostrophe; numbers are not.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(_csv_cell, header))
        writer.writerows([_csv_cell(cell) for cell in row] for row in rows)
    return [path]


def write_table1_csv(path: Path, classes: Sequence[ClassRow]) -> list[Path]:
    """Table 1, one class a row, shares as fractions of 1."""
    header = (
        "class", "images", "significant_activations", "significant_activations_per_image", "dnn_accuracy",
        "xnn_accuracy", "rmse", "score_min", "score_max", "rmse_share_of_range", "x_features_that_matter",
        "x_features_that_mattered_at_first", "restarts", "restart_rule_satisfied",
        "mean_abs_correlation",
    )  # fmt: skip
    rows = (
        (
            row.class_name, row.image_count, row.significant_count, row.significant_mean, row.dnn_accuracy,
            row.xnn_accuracy, row.rmse, row.score_min, row.score_max, row.rmse_share, row.mattering_count,
            row.first_mattering_count, row.restart_count, row.accepted,
            row.mean_abs_correlation,
        )
        for row in classes
    )  # fmt: skip
    return write_csv(path, header, rows)


def write_summary_csv(path: Path, summaries: Iterable[NamingSummary]) -> list[Path]:
    """The explanations of one category under every naming, in both readings."""
    header = ("category", "annotator", "reading", "names", "images", "share", "of_images", "images_left_out")
    rows = (
        (
            summary.category, summary.annotator, reading, "; ".join(row.names), row.image_count, row.share,
            summary.image_count, summary.left_out_count,
        )
        for summary in summaries
        for reading, explanations in (("named_only", summary.named_only), ("with_other", summary.with_other))
        for row in explanations
    )  # fmt: skip
    return write_csv(path, header, rows)


def write_table1_tex(path: Path, classes: Sequence[ClassRow], *, ours: bool = False) -> list[Path]:
    """Table 1 in the paper's form: a booktabs table, one class a row; on demand with the columns that are ours."""
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{lrrrrrrr" + "rrrrrl" * ours + "}",
        r"\toprule",
        r"& & \multicolumn{2}{c}{Sig.\ activations} & \multicolumn{2}{c}{Accuracy} & &"
        + r" & & & \multicolumn{2}{c}{X-features that matter} & &" * ours
        + r" \\",
        r"\cmidrule(lr){3-4} \cmidrule(lr){5-6}" + r" \cmidrule(lr){11-12}" * ours,
        r"Class & Images & Total & Mean & DNN & xNN & RMSE & Score range"
        + r" & RMSE/range & Mean $|r|$ & At last & At first & Restarts & Accepted" * ours
        + r" \\",
        r"\midrule",
    ]
    for row in classes:
        cells = [
            latex(row.class_name),
            str(row.image_count),
            str(row.significant_count),
            _number(row.significant_mean, 2),
            _number(row.dnn_accuracy, 3),
            _number(row.xnn_accuracy, 3),
            _number(row.rmse, 3),
            _range(row.score_min, row.score_max),
        ]
        if ours:
            cells += [
                _number(row.rmse_share, 4),
                _number(row.mean_abs_correlation, 2),
                str(row.mattering_count),
                str(row.first_mattering_count),
                str(row.restart_count),
                "yes" if row.accepted else "no",
            ]
        lines.append(latex_row(cells))
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return [path]


def latex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex_row(cells: Iterable[str]) -> str:
    """A row of a LaTeX table; one that begins with [ or * is kept from being an argument of the command before it."""
    row = " & ".join(cells) + r" \\"
    return "{}" + row if row.lstrip().startswith(("[", "*")) else row


def file_names(names: Iterable[str]) -> dict[str, str]:
    """A distinct, harmless file-name stem for each name ("T-shirt/top" gives "T-shirt_top").

    Distinct also where a file system does not tell upper from lower case.
    """
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^\w-]+", "_", name).strip("_")[:80] or "unnamed"
        stem, n = plain, 2
        while stem.casefold() in taken:
            stem, n = f"{plain}_{n}", n + 1
        taken.add(stem.casefold())
        stems[name] = stem
    return stems


def _csv_cell(cell: Value) -> Value:
    return guarded(cell) if isinstance(cell, str) else cell


def _range(low: float | None, high: float | None) -> str:
    return "--" if low is None or high is None else f"${low:.3g}$ to ${high:.3g}$"


def _number(value: float | None, digits: int) -> str:
    return "--" if value is None else f"{value:.{digits}f}"
