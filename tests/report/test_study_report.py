"""A study's report, gathered over the client from the real analytics service."""

from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest

from onoma.client import AnalysisOptions, Client
from onoma.client.transport import Transport
from onoma.report.study import STAGES, write_study_report
from services.analytics import statistics
from tests.bench.report import served
from tests.report.test_write_report import Page, rows_of
from tests.studies import synthetic_study


@pytest.fixture
def client():
    with served(synthetic_study(2, 4, 120, (3, 4))) as addresses, Client(addresses) as client:
        yield client


def test_the_report_asks_each_annotators_namings_once_and_the_bar_moves_within_a_category(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counted(transport: Transport, service: str, method: str, *rest: object, **named: object):
        calls[method] += 1
        return original(transport, service, method, *rest, **named)

    original = Transport.stream
    monkeypatch.setattr(Transport, "stream", counted)
    monkeypatch.setattr(statistics, "_PROGRESS_S", 0.001)
    told: list[tuple[str, int, int]] = []
    write_study_report(client, client.get_study("s"), tmp_path, lambda *step: told.append(step))
    assert [stage for stage, _ in groupby(told, lambda step: step[0])] == list(STAGES)
    steps = {stage: [(done, of) for of_stage, done, of in told if of_stage == stage] for stage in STAGES}
    for of_stage in steps.values():
        assert of_stage == sorted(of_stage)
        assert of_stage[-1][0] == of_stage[-1][1]
    assert steps["read maps"] == [(1, 2), (2, 2)]  # categories
    assert len(steps["analyse"]) > 2  # more steps than categories
    assert calls["ExportNamings"] == 4
    assert calls["AnalyseStudy"] == 1


def test_what_the_report_shows_is_the_study(client: Client, tmp_path: Path) -> None:
    options = AnalysisOptions(shuffles=0, confidence=0.8)
    page = Page(write_study_report(client, client.get_study("s"), tmp_path, options=options))
    words = " ".join(page.text.split())
    assert "no shuffles were asked for" in page.titles
    assert "with 80\N{NO-BREAK SPACE}% intervals" in page.text or "with 80 % intervals" in page.text
    assert "on average over annotators" in words
    rows = rows_of(tmp_path / "pairs.csv")
    assert Counter(row["category"] for row in rows) == {"class 000": 6, "class 001": 6}
    explained = rows_of(tmp_path / "summary_class_000.csv")
    assert {row["annotator"] for row in explained} == {f"annotator 0{i}" for i in range(4)}
    shares = [float(row["share"]) for row in explained if row["annotator"] == "annotator 00"]
    assert sum(shares) == pytest.approx(2)  # both readings
    assert "annotator 0" in page.text[page.text.index("Where did it look?") :]  # names under the maps
