"""What the gateway says of requests: numbers by route, one line each, and nothing of what was asked for."""

import logging

from prometheus_client import REGISTRY

ROUTE = "/api/studies/{study_id}"


def count(route, status, method="GET"):
    labels = {"method": method, "route": route, "status": str(status)}
    return REGISTRY.get_sample_value("onoma_http_requests_total", labels) or 0


def test_requests_are_counted_by_route_and_status(owner):
    before = count(ROUTE, 200), count("page", 404)
    owner.get("/api/studies/s1")
    owner.get("/nowhere/at/all")
    assert (count(ROUTE, 200), count("page", 404)) == (before[0] + 1, before[1] + 1)


def test_a_method_that_nobody_knows_makes_no_row_of_its_own(owner):
    before = count("page", 405, "other") + count("page", 404, "other")
    owner.request("BREW", "/nowhere")
    assert count("page", 405, "other") + count("page", 404, "other") == before + 1


def test_the_line_of_a_request_has_its_route_and_not_its_path(owner, caplog):
    caplog.set_level(logging.INFO, "onoma.requests")
    owner.get("/api/studies/s1?secret=Ada", headers={"x-request-id": "id-7"})
    (record,) = (record for record in caplog.records if record.name == "onoma.requests")
    assert (record.method, record.route, record.status) == ("GET", ROUTE, 400)
    assert "Ada" not in str(record.__dict__)
