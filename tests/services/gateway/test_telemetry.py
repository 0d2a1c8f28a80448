"""What the gateway says of requests: numbers by route, one line each, and nothing of what was asked for."""

import logging

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

from services.runtime import tracing

ROUTE = "/api/studies/{study_id}"


def count(route, status, method="GET"):
    labels = {"method": method, "route": route, "status": str(status)}
    return REGISTRY.get_sample_value("onoma_http_requests_total", labels) or 0


def test_requests_are_counted_by_route_and_status(owner):
    before = count(ROUTE, 200), count("page", 404)
    owner.get("/api/studies/s1")
    owner.get("/nowhere/at/all")
    assert (count(ROUTE, 200), count("page", 404)) == (before[0] + 1, before[1] + 1)


def test_namings_as_a_table_are_counted_apart_from_those_as_json(owner):
    csv, as_json = f"{ROUTE}/namings.csv", f"{ROUTE}/namings.json"
    before = count(csv, 200), count(as_json, 200)
    owner.get("/api/studies/s1/namings.csv").raise_for_status()
    assert (count(csv, 200), count(as_json, 200)) == (before[0] + 1, before[1])


def test_a_method_that_a_route_does_not_take_is_counted_at_the_route(owner):
    before = count("/api/models", 405, "DELETE"), count("page", 404)
    owner.delete("/api/models")
    owner.get("/api/nowhere")
    assert (count("/api/models", 405, "DELETE"), count("page", 404)) == (before[0] + 1, before[1] + 1)


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


def test_a_request_and_the_calls_it_makes_are_one_trace_below_the_browsers(owner):
    exporter = InMemorySpanExporter()
    tracing.add_processor(SimpleSpanProcessor(exporter), "test")
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    owner.get("/api/models", headers={"traceparent": f"00-{trace_id}-{span_id}-01"})
    call, request = exporter.get_finished_spans()
    assert (call.name, request.name) == ("onoma.v1.InferenceService/ListModels", "GET /api/models")
    assert {f"{span.context.trace_id:032x}" for span in (call, request)} == {trace_id}
    assert (call.parent.span_id, f"{request.parent.span_id:016x}") == (request.context.span_id, span_id)
    assert "127.0.0.1" not in call.to_json() + request.to_json()
