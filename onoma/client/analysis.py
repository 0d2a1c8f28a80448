"""How a study is to be analysed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from google.protobuf.message import Message


@dataclass(frozen=True)
class AnalysisOptions:
    """What `onoma analyse` takes as options; None where the service's default is meant.

    Attributes:
        shuffles: of the permutation baseline, a category; 0 for none.
        seed: of the shuffles.
        time_limit_s: for one matching of one pair of annotators.
        confidence: of the intervals.
        part_of: whether parts count as subsets by WordNet ('eye' of 'head').
    """

    shuffles: int | None = None
    seed: int | None = None
    time_limit_s: float | None = None
    confidence: float | None = None
    part_of: bool | None = None

    def of(self, request: type[Message]) -> dict[str, Any]:  # each value is of its field's type
        """Those that are given and that a request has fields for, by the field's name."""
        known = request.DESCRIPTOR.fields_by_name
        return {name: value for name, value in asdict(self).items() if value is not None and name in known}


AS_BY_DEFAULT = AnalysisOptions()
"""What the services do where nothing else is asked for."""
