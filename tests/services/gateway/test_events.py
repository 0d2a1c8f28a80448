"""Streams of the services as server-sent events."""

import json

from starlette.testclient import TestClient

from tests.services.gateway.standins import StandIns


def data_of(text: str) -> list:
    """The events of a stream that has ended."""
    return [
        json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")
    ]


def test_each_message_of_a_stream_is_an_event(ada: TestClient, stand_ins: StandIns):
    answer = ada.get("/api/studies/s1/annotators/ada/naming/events", params={"category": "dress"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
    assert [event["naming"]["revision"] for event in data_of(answer.text)] == ["0", "1", "2"]
    assert stand_ins.naming.authorizations[-1] == ("WatchNaming", "Bearer ada-token")


def test_a_stream_that_cannot_begin_is_a_problem(owner: TestClient):
    answer = owner.get("/api/studies/s1/events")
    assert answer.status_code == 503
    assert "no database" in answer.json()["message"]
