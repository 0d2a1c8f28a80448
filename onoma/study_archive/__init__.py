"""A whole study as one zip file that another installation imports (docs/study-archives.md)."""

from onoma.study_archive.exporting import Exported, export_study
from onoma.study_archive.importing import Imported, import_study
from onoma.study_archive.zips import RefusedStudyArchive

__all__ = ["Exported", "Imported", "RefusedStudyArchive", "export_study", "import_study"]
