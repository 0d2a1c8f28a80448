"""Traces across the services: one span a call on either side, sent to an OpenTelemetry collector.

Off until ONOMA_OTLP_ENDPOINT says where to; then too, what names a person stays out: a span has the method, the code
and the request id. The instrumentation that OpenTelemetry brings for gRPC breaks on streams
(opentelemetry-python-contrib#3066), so the spans are made by our own interceptors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

import grpc
from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from services.runtime.settings import RuntimeSettings

# What the caller did wrong is its own affair; these are the server's.
_SERVERS_FAULT = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
_lock = threading.Lock()
_provider: TracerProvider | None = None


def send_traces(settings: RuntimeSettings, service: str) -> None:
    """Sends this process's spans from now on, where the settings say to which collector.

    Args:
        service: what the spans are said to come from.
    """
    if settings.otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint)
        add_processor(BatchSpanProcessor(exporter), service)


def add_processor(processor: SpanProcessor, service: str) -> None:
    """Hands the process's spans to a processor too; the first name given is the process's."""
    global _provider  # OpenTelemetry has one provider a process, set once
    with _lock:
        if _provider is None:
            _provider = TracerProvider(resource=Resource({"service.name": f"onoma-{service}"}))
            trace.set_tracer_provider(_provider)
        _provider.add_span_processor(processor)


def send_the_rest() -> None:
    """Sends what is still waiting to be sent; for the end of a process."""
    with _lock:
        if _provider is not None:
            _provider.shutdown()


def begin(name: str, carried: Iterable[tuple[str, Any]], **attributes: str) -> Span:
    """A span for what this process was asked to do, below the caller's; the present one of this thread from now on.

    It is not taken back at the end: a thread's next call begins with its own. (A stream that is given up is closed
    by whichever thread collects it, where nothing could be taken back.)

    Args:
        carried: the metadata of the call, or the headers of the request.
    """
    above = propagate.extract({key: value for key, value in carried if isinstance(value, str)})
    span = _tracer().start_span(name, above, SpanKind.SERVER, attributes)
    contexts.attach(trace.set_span_in_context(span, above))
    return span


def end(span: Span, code: str) -> None:
    """Ends a call's span with its gRPC code."""
    span.set_attribute("rpc.response.status_code", code)
    if code in _SERVERS_FAULT:
        span.set_status(Status(StatusCode.ERROR, code))
    span.end()


def ids() -> dict[str, str]:
    """Ids of the present trace and span, as a log line has them; empty where there is none."""
    present = trace.get_current_span().get_span_context()
    if not present.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(present.trace_id),
        "span_id": trace.format_span_id(present.span_id),
    }


class CallTracing(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """A span for each call that this process makes; the call carries it on."""

    def _continue(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        span = _tracer().start_span(str(details.method).removeprefix("/"), kind=SpanKind.CLIENT)
        metadata: MutableMapping[str, str] = {}
        propagate.inject(metadata, trace.set_span_in_context(span))
        carried = (*(details.metadata or ()), *metadata.items())
        call = continuation(details._replace(metadata=carried), request)
        call.add_done_callback(lambda done: end(span, done.code().name))
        return call

    intercept_unary_unary = _continue
    intercept_unary_stream = _continue
    intercept_stream_unary = _continue
    intercept_stream_stream = _continue


def _tracer() -> trace.Tracer:
    return trace.get_tracer("onoma")
