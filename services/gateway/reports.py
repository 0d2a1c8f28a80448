"""Reports of studies for the page: written when asked for, kept for a while, served file by file."""

from __future__ import annotations

import io
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, Lock, to_thread

from onoma.client import Addresses, Client
from onoma.report.study import write_study_report
from onoma.v1 import naming_pb2
from services.runtime.channels import open_channel
from services.runtime.last_used import LastUsed

if TYPE_CHECKING:
    from services.runtime.settings import RuntimeSettings

MAX_KEPT = 4
_LOOK_S = 10.0  # so long may somebody who was erased still stand in a report that is kept

Report = dict[str, bytes]
"""Bytes of each file, by its path in the report's folder; "report.zip" holds all of them."""


@dataclass
class _Kept:
    """A report, of the study as it was, whose work it shows (annotators' ids), and when they were last all there."""

    files: Report
    study: naming_pb2.Study
    people: frozenset[str]
    looked_at: float


class Reports:
    """Writes reports, one at a time, and keeps those of the studies last asked for."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        # Who waits for a report holds no thread meanwhile: others' calls need those.
        self._of_study: WeakValueDictionary[str, Lock] = WeakValueDictionary()
        self._writing = CapacityLimiter(1)
        self._kept = LastUsed[str, _Kept](MAX_KEPT)

    async def of(self, study: naming_pb2.Study, *, is_fresh: bool) -> Report:
        """A study's report; takes seconds to minutes where it has to be written.

        Args:
            study: as it is now. Where it was closed or renamed since, the report is written anew.
            is_fresh: write it anew, with what was named since. So it is where somebody was erased since.
        Raises:
            OnomaError: a service refuses or fails.
        """
        study_id = study.study_id
        async with self._of_study.setdefault(study_id, Lock()):
            kept = self._kept.get(study_id)
            if (
                is_fresh
                or kept is None
                or kept.study != study
                or not await to_thread.run_sync(self._are_all_there, kept)
            ):
                self._kept.drop(study_id)
                kept = await to_thread.run_sync(self._written, study_id, limiter=self._writing)
                self._kept.put(study_id, kept)
            return kept.files

    def _are_all_there(self, kept: _Kept) -> bool:
        if time.monotonic() - kept.looked_at < _LOOK_S:
            return True
        kept.looked_at = time.monotonic()
        with self._client() as client:
            return kept.people <= _people(client, kept.study.study_id)

    def _written(self, study_id: str) -> _Kept:
        with tempfile.TemporaryDirectory(prefix="onoma-report-") as folder, self._client() as client:
            out, asked_at = Path(folder), time.monotonic()
            people, study = _people(client, study_id), client.get_study(study_id)
            write_study_report(client, study, out)
            files = {
                path.relative_to(out).as_posix(): path.read_bytes()
                for path in sorted(out.rglob("*"))
                if path.is_file()
            }
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return _Kept(files | {"report.zip": packed.getvalue()}, study, people, asked_at)

    def _client(self) -> Client:
        settings = self._settings
        addresses = Addresses(
            inference=settings.inference_address,
            attribution=settings.attribution_address,
            naming=settings.naming_address,
            analytics=settings.analytics_address,
        )
        return Client(addresses, connect=lambda address, _: open_channel(address, settings, "gateway"))


def _people(client: Client, study_id: str) -> frozenset[str]:
    return frozenset(person.annotator_id for person in client.list_annotators(study_id))
