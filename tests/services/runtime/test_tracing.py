"""One trace over all the services that a call goes through, and its id in their logs."""

import json
import logging
import threading

import grpc
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from services.runtime import errors, logs, tracing
from services.runtime.channels import open_channel
from services.runtime.settings import RuntimeSettings
from tests.services.runtime.echo import NAME, Echo, EchoStub, start_echo

DEADLINE_S = 20
_exporter = InMemorySpanExporter()


@pytest.fixture(scope="session", autouse=True)  # once, also where the module comes in two turns
def _collected():
    tracing.add_processor(SimpleSpanProcessor(_exporter), "test")


@pytest.fixture
def spans():
    """Spans that have ended, once there are so many."""

    def ended(count):
        pause = threading.Event()
        for _ in range(DEADLINE_S * 50):
            if len(_exporter.get_finished_spans()) >= count:
                break
            pause.wait(0.02)
        return sorted(_exporter.get_finished_spans(), key=lambda span: span.start_time)

    _exporter.clear()
    return ended


@pytest.fixture
def behind(settings):
    """A service behind the one that is called."""
    echo = Echo()
    running = start_echo(echo, settings)
    with open_channel(running.address, settings) as channel:
        yield echo, EchoStub(channel)
    running.stop(within_s=0)


@pytest.mark.parametrize("kind", ["unary", "stream_out", "stream_in", "both"])
def test_a_call_and_the_calls_it_makes_are_one_trace(stub, echo, behind, spans, kind):
    _, onward = behind

    def ask_on(request, context):
        return onward.unary(b"x", timeout=DEADLINE_S)

    is_streamed = kind in ("stream_out", "both")
    setattr(echo, kind, (lambda *given: iter([ask_on(*given)])) if is_streamed else ask_on)
    request = iter([b"x"]) if kind in ("stream_in", "both") else b"x"
    answer = getattr(stub, kind)(request, timeout=DEADLINE_S)
    assert (list(answer) if is_streamed else answer) in (b"x", [b"x"])
    called, answered, called_on, answered_on = spans(4)
    assert [span.kind for span in (called, answered, called_on, answered_on)] == [
        SpanKind.CLIENT, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.SERVER,
    ]  # fmt: skip
    assert len({span.context.trace_id for span in (called, answered, called_on, answered_on)}) == 1
    above = [answered.parent, called_on.parent, answered_on.parent]
    assert [span.span_id for span in above] == [
        span.context.span_id for span in (called, answered, called_on)
    ]


def test_two_calls_after_each_other_are_two_traces(stub, spans):
    for _ in range(2):
        stub.unary(b"x", timeout=DEADLINE_S)
    assert len({span.context.trace_id for span in spans(4)}) == 2


def test_a_refusal_is_no_error_of_the_server_and_a_crash_is(stub, echo, spans):
    def refusing(request, context):
        raise errors.NotFound("nothing") if request == b"refuse" else KeyError("a bug")

    echo.unary = refusing
    for request in (b"refuse", b"crash"):
        with pytest.raises(grpc.RpcError):
            stub.unary(request, timeout=DEADLINE_S)
    refused, crashed = (span for span in spans(4) if span.kind == SpanKind.SERVER)
    assert (refused.status.status_code, crashed.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)
    assert refused.attributes["rpc.response.status_code"] == "NOT_FOUND"


def test_a_stream_whose_client_goes_away_ends_its_spans(stub, echo, spans):
    def endless(request, context):
        while True:
            yield b"more"

    echo.stream_out = endless
    answers = stub.stream_out(b"x", timeout=DEADLINE_S)
    next(answers)
    answers.cancel()
    assert {span.attributes["rpc.response.status_code"] for span in spans(2)} == {"CANCELLED"}


def test_log_lines_of_a_call_carry_the_ids_of_its_trace(stub, echo, spans):
    lines = []

    def logging_one(request, context):
        record = logging.makeLogRecord({"msg": "at work", "levelname": "INFO", "name": "test"})
        lines.append(json.loads(logs._JsonFormatter().format(record)))
        return b""

    echo.unary = logging_one
    stub.unary(b"x", timeout=DEADLINE_S)
    _, answered = spans(2)
    assert lines[0]["trace_id"] == f"{answered.context.trace_id:032x}"
    assert lines[0]["span_id"] == f"{answered.context.span_id:016x}"


def test_spans_tell_nothing_of_what_was_sent(stub, spans):
    stub.unary(b"Ada Lovelace", timeout=DEADLINE_S)
    assert all("Ada" not in span.to_json() for span in spans(2))
    assert {span.name for span in spans(2)} == {f"{NAME}/Unary"}


def test_nothing_is_sent_unless_the_settings_say_where(monkeypatch):
    added = []
    monkeypatch.setattr(tracing, "add_processor", lambda processor, service: added.append(service))
    tracing.send_traces(RuntimeSettings(), "naming")
    assert added == []
