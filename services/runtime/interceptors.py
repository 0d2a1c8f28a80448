"""What happens around every call: request id, deadline, errors as status, metrics, one log line."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from prometheus_client import Counter, Histogram

from services.runtime.errors import Aborted, ServiceError

REQUEST_ID = "x-request-id"
_REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LEAST_TIME_LEFT_S = 0.002
_DOMAIN = "onoma.v1"

_calls = Counter("onoma_grpc_calls_total", "Calls that ended", ["method", "code"])
_seconds = Histogram("onoma_grpc_call_seconds", "Duration of calls in seconds", ["method"])
_log = logging.getLogger("onoma.calls")


class CallInterceptor(grpc.ServerInterceptor):
    """Wraps the handler of each method; one for unary and streaming calls alike."""

    def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = continuation(details)
        if handler is None or details.method.startswith(("/grpc.health.", "/grpc.reflection.")):
            return handler
        if handler.response_streaming:
            behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
            wrapped = _streaming(behaviour, details.method)
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
        else:
            behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
            wrapped = _unary(behaviour, details.method)
            make = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
        return make(wrapped, handler.request_deserializer, handler.response_serializer)


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
        self._request_id = _request_id(context)
        self._start = time.monotonic()

    def __enter__(self) -> None:
        self._context.send_initial_metadata(((REQUEST_ID, self._request_id),))
        left = self._context.time_remaining()
        if left is not None and left < _LEAST_TIME_LEFT_S:
            self._end("DEADLINE_EXCEEDED")
            self._context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too little time is left to begin")

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, GeneratorExit):
            self._end("OK" if error is None else "CANCELLED")
            return
        if not isinstance(error, Exception):
            return
        status = self._status(error)
        self._end(code_pb2.Code.Name(status.code), status.message)
        self._context.abort_with_status(rpc_status.to_status(status))

    def _status(self, error: Exception) -> status_pb2.Status:
        if isinstance(error, ServiceError):
            return _rich_status(error, self._request_id)
        if isinstance(error, ValueError):  # onoma.science refuses its input
            return status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=str(error))
        if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):  # a service behind this one
            code = error.code() or grpc.StatusCode.UNKNOWN
            return rpc_status.from_call(error) or status_pb2.Status(
                code=code.value[0], message=error.details() or code.name
            )
        _log.exception("%s failed", self._method, extra={"request_id": self._request_id})
        return status_pb2.Status(
            code=code_pb2.INTERNAL, message=f"internal error, request id {self._request_id}"
        )

    def _end(self, code: str, message: str = "") -> None:
        seconds = time.monotonic() - self._start
        _calls.labels(self._method, code).inc()
        _seconds.labels(self._method).observe(seconds)
        fields = {"request_id": self._request_id, "method": self._method, "code": code, "seconds": seconds}
        level = logging.INFO if code in ("OK", "CANCELLED") else logging.WARNING
        _log.log(level, message or "done", extra=fields)


def _request_id(context: grpc.ServicerContext) -> str:
    given = dict(context.invocation_metadata()).get(REQUEST_ID, "")
    return given if isinstance(given, str) and _REQUEST_ID_FORM.fullmatch(given) else uuid.uuid4().hex


def _rich_status(error: ServiceError, request_id: str) -> status_pb2.Status:
    """google.rpc status: the message, an ErrorInfo, and the present state where there is one."""
    info = any_pb2.Any()
    info.Pack(
        error_details_pb2.ErrorInfo(
            reason=error.reason, domain=_DOMAIN, metadata={**error.details, "request_id": request_id}
        )
    )
    details = [info]
    if isinstance(error, Aborted) and error.present is not None:
        present = any_pb2.Any()
        present.Pack(error.present)
        details.append(present)
    return status_pb2.Status(code=error.code.value[0], message=str(error), details=details)
