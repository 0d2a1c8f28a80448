"""A study's numbers and maps as a folder that anybody can open: one page, tables, figures."""

from onoma.faithfulness import ClassRow
from onoma.report.analysed import AnalysedCategory, analysed_category
from onoma.report.data import (
    CategoryMaps,
    CoverageRow,
    ImportedMaps,
    MapSample,
    NamingSummary,
    Provenance,
    ReportData,
    SummaryRow,
    Suspect,
    summaries_of,
)
from onoma.report.write import write_report

__all__ = [
    "AnalysedCategory",
    "CategoryMaps",
    "ClassRow",
    "CoverageRow",
    "ImportedMaps",
    "MapSample",
    "NamingSummary",
    "Provenance",
    "ReportData",
    "SummaryRow",
    "Suspect",
    "analysed_category",
    "summaries_of",
    "write_report",
]
