"""A study's numbers and maps as a folder that anybody can open: one page, tables, figures."""

from onoma.report.data import (
    CategoryMaps,
    ClassRow,
    Comparison,
    CoverageRow,
    ImportedMaps,
    MapSample,
    NamingSummary,
    Provenance,
    ReportData,
    SummaryRow,
)
from onoma.report.write import write_report

__all__ = [
    "CategoryMaps",
    "ClassRow",
    "Comparison",
    "CoverageRow",
    "ImportedMaps",
    "MapSample",
    "NamingSummary",
    "Provenance",
    "ReportData",
    "SummaryRow",
    "write_report",
]
