"""Reports of studies that are given as files."""

import json
from dataclasses import replace
from pathlib import Path

from onoma.report import ReportData, analysed_category, summaries_of
from onoma.science.analysis import analyse_categories
from onoma.science.analysis_options import Options
from onoma.science.study_file import StudyFile

EXAMPLE = json.loads((Path(__file__).parents[1] / "data" / "worked_example.json").read_text(encoding="utf-8"))


def with_analysis(report: ReportData, file: StudyFile, options: Options = Options()) -> ReportData:  # noqa: B008
    """The report with this study's annotators and analysis in place of its own."""
    parts = list(analyse_categories(file, options))
    return replace(
        report,
        annotators=file.study.annotators,
        analysed=tuple(analysed_category(name, part) for name, part in parts),
        summaries=tuple(one for name, part in parts for one in summaries_of(name, part["expected"])),
    )
