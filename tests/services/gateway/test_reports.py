"""Reports that the gateway keeps."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from onoma.client import Client, ResourceExhausted, ServerUnavailable
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


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set, it lets the writing of a report go on."""
    go_on = threading.Event()

    def write(_client: Client, study: naming_pb2.Study, out: Path) -> None:
        assert go_on.wait(60)
        (out / "index.html").write_text("the report", encoding="utf-8")

    monkeypatch.setattr(reports, "write_study_report", write)
    yield go_on
    go_on.set()


def test_who_waits_for_a_report_keeps_nobody_else_waiting(
    owner: TestClient, held_up: threading.Event
) -> None:
    """More of them than there are threads for calls."""
    with ThreadPoolExecutor(60) as browsers:
        waiting = [browsers.submit(owner.get, "/api/studies/s1/report/index.html") for _ in range(60)]
        time.sleep(0.5)
        assert owner.get("/healthz").text == "ok\n"
        assert owner.get("/api/studies").status_code == 200
        assert not any(one.done() for one in waiting)
        held_up.set()
        assert {one.result(60).text for one in waiting} == {"the report"}


def _full_disk() -> ResourceExhausted:
    full = ResourceExhausted("the disk of the database at 10.0.0.7 is full")
    full.reason = "DISK_FULL"
    return full


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ServerUnavailable("the naming service does not answer at 10.0.0.7:50052"), 503, "UNAVAILABLE"),
        (ResourceExhausted("too many analyses at once"), 429, "RESOURCE_EXHAUSTED"),
        (_full_disk(), 429, "RESOURCE_EXHAUSTED"),
    ],
)
def test_a_report_that_may_be_had_later_is_no_wrong_request(
    owner: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    def write(*_: object) -> None:
        raise error

    monkeypatch.setattr(reports, "write_study_report", write)
    answer = owner.get("/api/studies/s1/report/index.html")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "10.0.0.7" not in answer.text
