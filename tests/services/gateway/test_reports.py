"""Reports that the gateway keeps."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from onoma.client import Client
from onoma.v1 import naming_pb2
from services.gateway import reports
from tests.services.gateway.standins import StandIns


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[naming_pb2.Study]:
    """The studies of which a report was written, as they were then."""
    studies: list[naming_pb2.Study] = []

    def write(_client: Client, study: naming_pb2.Study, out: Path) -> None:
        studies.append(study)
        (out / "index.html").write_text(f"report {len(studies)}", encoding="utf-8")
        (out / "table1.csv").write_text("class", encoding="utf-8")

    monkeypatch.setattr(reports, "write_study_report", write)
    return studies


def test_a_report_is_kept_until_the_study_is_closed(
    owner: TestClient, stand_ins: StandIns, written: list[naming_pb2.Study]
) -> None:
    def index() -> str:
        return owner.get("/api/studies/s1/report/index.html").raise_for_status().text

    stand_ins.naming.state = naming_pb2.STUDY_STATE_OPEN
    assert index() == index() == "report 1"
    assert owner.get("/api/studies/s1/report/table1.csv").text == "class"
    stand_ins.naming.state = naming_pb2.STUDY_STATE_CLOSED
    assert index() == index() == "report 2"
    assert [study.state for study in written] == [naming_pb2.STUDY_STATE_OPEN, naming_pb2.STUDY_STATE_CLOSED]
