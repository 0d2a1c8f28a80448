"""What only the analytics service is told, as ONOMA_* environment variables."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from onoma.wordnet_file import DATA_NOUN
from services.runtime.cores import cores
from services.runtime.decoding import PictureSettings


class AnalyticsSettings(PictureSettings):
    """How much is done at once, and what labels are compared by."""

    analysis_processes: int = Field(
        0,
        ge=0,
        le=1024,
        description="Categories of a study analysed beside each other where it has many pairs; 0: one a core.",
    )
    wordnet: Path = Field(DATA_NOUN, description="WordNet's data.noun, for parts as subsets of labels.")

    @property
    def cores(self) -> int:
        """Processes that an analysis may have."""
        return self.analysis_processes or cores()
