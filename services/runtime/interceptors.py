"""What happens around every call: request id, deadline, errors as status, metrics, a span, one log line."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from prometheus_client import Counter, Gauge, Histogram

from services.runtime import audit, tracing
from services.runtime.errors import Aborted, InvalidArgument, ResourceExhausted, ServiceError
from services.runtime.logs import REQUEST_ID, request_id, request_id_of

_LEAST_TIME_LEFT_S = 0.002
_FOR_EVER_S = 10 * 365 * 24 * 3600.0
_DOMAIN = "onoma.v1"
# Status travels in HTTP/2 headers, where clients take 8 KiB in all; details are sent in base64.
_MAX_MESSAGE_CHARACTERS = 1000
_MAX_PRESENT_BYTES = 2048
_CALLERS_FAULT = (
    code_pb2.INVALID_ARGUMENT,
    code_pb2.NOT_FOUND,
    code_pb2.ALREADY_EXISTS,
    code_pb2.FAILED_PRECONDITION,
    code_pb2.ABORTED,
    code_pb2.UNAUTHENTICATED,
    code_pb2.PERMISSION_DENIED,
)

_calls = Counter("onoma_grpc_calls_total", "Calls that ended.", ["method", "code"])
_seconds = Histogram("onoma_grpc_call_seconds", "Duration of calls in seconds.", ["method"])
_in_flight = Gauge("onoma_grpc_calls_in_flight", "Calls being answered.", ["method"])
_log = logging.getLogger("onoma.calls")


class CallInterceptor(grpc.ServerInterceptor):
    """Wraps the handler of each method, unary and streaming alike; health and reflection are left alone."""

    def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """See grpc.ServerInterceptor."""
        handler = continuation(details)
        if handler is None or details.method.startswith(("/grpc.health.", "/grpc.reflection.")):
            return handler
        request = "stream" if handler.request_streaming else "unary"
        response = "stream" if handler.response_streaming else "unary"
        wrap = _streaming if handler.response_streaming else _unary
        behaviour = getattr(handler, f"{request}_{response}")
        make = getattr(grpc, f"{request}_{response}_rpc_method_handler")
        read = _readable_stream if handler.request_streaming else _readable
        return make(
            wrap(lambda given, context: behaviour(read(given), context), details.method),
            handler.request_deserializer and _or_unreadable(handler.request_deserializer),
            handler.response_serializer,
        )


class _Unreadable:
    """Stands for bytes that are no message: gRPC itself would say INTERNAL, as if it were the server's fault."""


def _or_unreadable(deserialise: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        try:
            return deserialise(data)
        except DecodeError:
            return _Unreadable()

    return read


def _readable(request: Any) -> Any:
    if isinstance(request, _Unreadable):
        raise InvalidArgument(
            "these bytes are no message that the method takes: is the client of this version?"
        )
    return request


def _readable_stream(requests: Iterator[Any]) -> Iterator[Any]:
    return map(_readable, requests)


def _unary(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        with _Call(method, context):
            return behaviour(request, context)

    return call


def _streaming(behaviour: Callable[..., Any], method: str) -> Callable[..., Iterator[Any]]:
    def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        with _Call(method, context):
            yield from behaviour(request, context)

    return call


class _Call:
    """One call from its first to its last moment."""

    def __init__(self, method: str, context: grpc.ServicerContext) -> None:
        self._method = method.removeprefix("/")
        self._context = context
        self._request_id = request_id_of(dict(context.invocation_metadata()).get(REQUEST_ID))
        self._id_metadata = ((REQUEST_ID, self._request_id),)
        self._start = time.monotonic()
        self._time_left_s = _time_left_s(context)

    def __enter__(self) -> None:
        request_id.set(self._request_id)
        audit.who.set(audit.Who())
        carried = self._context.invocation_metadata()
        self._span = tracing.begin(self._method, carried, **{"onoma.request_id": self._request_id})
        _in_flight.labels(self._method).inc()
        # As initial metadata it would be an answer of its own to send.
        self._context.set_trailing_metadata(self._id_metadata)
        if self._time_left_s is not None and self._time_left_s < _LEAST_TIME_LEFT_S:
            self._end("DEADLINE_EXCEEDED", "too little time is left to begin")
            self._context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too little time is left to begin")

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, GeneratorExit) or (error is not None and not self._context.is_active()):
            self._end("CANCELLED", "the client went away")  # or its deadline passed
        elif error is None:
            self._end("OK", "done")
        elif self._context.code() is not None:  # the handler has called context.abort itself
            self._end(self._context.code().name, "refused")
        elif isinstance(error, Exception):
            status = self._status(error)
            self._end(code_pb2.Code.Name(status.code), _for_the_log(status))
            refused = rpc_status.to_status(status)
            self._context.set_trailing_metadata((*refused.trailing_metadata, *self._id_metadata))
            self._context.abort(refused.code, refused.details)
        else:
            self._end("INTERNAL", type(error).__name__)

    def _status(self, error: Exception) -> status_pb2.Status:
        if isinstance(error, ServiceError):
            return self._rich(error.code, str(error), error.reason, error.details, _more(error))
        if isinstance(error, ValueError):  # onoma.science refuses its input
            return self._rich(grpc.StatusCode.INVALID_ARGUMENT, str(error), "INVALID_VALUE")
        if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):  # a service behind this one
            if passed_on := rpc_status.from_call(error):
                return passed_on
            return self._rich(error.code(), error.details() or error.code().name, "BEHIND_THIS_SERVICE")
        _log.error("%s failed", self._method, exc_info=error)
        message = f"internal error, request id {self._request_id}"
        return self._rich(grpc.StatusCode.INTERNAL, message, "INTERNAL")

    def _rich(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str,
        metadata: dict[str, str] | None = None,
        more: Message | None = None,
    ) -> status_pb2.Status:
        """google.rpc status: the message, an ErrorInfo, and the present state or when to ask again."""
        if len(message) > _MAX_MESSAGE_CHARACTERS:
            message = f"{message[: _MAX_MESSAGE_CHARACTERS - 1]}…"
        info = error_details_pb2.ErrorInfo(
            reason=reason, domain=_DOMAIN, metadata={**(metadata or {}), "request_id": self._request_id}
        )
        details = [any_pb2.Any() for _ in range(1 if more is None else 2)]
        for packed, detail in zip(details, (info, more), strict=False):
            packed.Pack(detail)
        return status_pb2.Status(code=code.value[0], message=message, details=details)

    def _end(self, code: str, message: str) -> None:
        seconds = time.monotonic() - self._start
        _in_flight.labels(self._method).dec()
        _calls.labels(self._method, code).inc()
        _seconds.labels(self._method).observe(seconds)
        fields = {
            "method": self._method,
            "code": code,
            "seconds": round(seconds, 6),
            "time_left_s": None if self._time_left_s is None else round(self._time_left_s, 3),
        }
        _log.log(logging.INFO if code in ("OK", "CANCELLED") else logging.WARNING, message, extra=fields)
        audit.note_call(self._method, code)
        tracing.end(self._span, code)


def _time_left_s(context: grpc.ServicerContext) -> float | None:
    """Seconds until the deadline; None where the client sets none, for which grpc says 292 thousand million years."""
    left = context.time_remaining()
    return None if left is None or left > _FOR_EVER_S else left


def _for_the_log(status: status_pb2.Status) -> str:
    """What went wrong here, or why a call was refused: refusals name what was sent, names of persons among it."""
    if status.code not in _CALLERS_FAULT:
        return status.message
    info = error_details_pb2.ErrorInfo()
    return info.reason if any(detail.Unpack(info) for detail in status.details) else "refused"


def _more(error: ServiceError) -> Message | None:
    """What goes along with an error: the present state, or when to ask again."""
    if isinstance(error, ResourceExhausted) and error.retry_after_s:
        again = error_details_pb2.RetryInfo()
        again.retry_delay.FromMilliseconds(math.ceil(error.retry_after_s * 1000))
        return again
    present = error.present if isinstance(error, Aborted) else None
    return None if present is None or present.ByteSize() > _MAX_PRESENT_BYTES else present
