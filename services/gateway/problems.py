"""What went wrong, as JSON: {"code", "message", "reason", "request_id"}.

A stale revision is 409 with the reason STALE_REVISION and, where it is small, "naming": the naming as it stands.
Of what is 429, only an answer with the header Retry-After may be asked again unchanged; the others are limits.
"""

from __future__ import annotations

import logging
import math
import re
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status
from starlette.responses import JSONResponse

from onoma.v1 import naming_pb2
from services.gateway.telemetry import asked_for
from services.runtime import audit

if TYPE_CHECKING:
    from starlette.exceptions import HTTPException
    from starlette.requests import Request

# As gRPC writes them: where services are is nobody's business outside.
_ADDRESS = re.compile(r"\b(ipv4|ipv6|unix|dns):")
# Reasons of errors whose message says where a database, an object store or a disk is.
_OF_STORAGE = ("DATABASE_", "OBJECT_STORE_", "DISK_FULL")
log = logging.getLogger(__name__)

# gRPC status -> HTTP status, as google/rpc/code.proto maps them but for the first.
HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 503,  # by a server that stops; a browser that has left reads no answer
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}


# Reasons of RESOURCE_EXHAUSTED that pass by themselves, or when somebody has made room.
PASSING = frozenset({"BUSY", "QUEUE_FULL", "TOO_MANY_STREAMS", "DISK_FULL"})
RETRY_AFTER_S = 2


class RefusedError(Exception):
    """The gateway itself refuses a request.

    Args:
        code: a gRPC status; decides the HTTP status.
        message: one line for people.
        reason: constant in capitals for programs, where it is more than the status says.
        retry_after_s: when to ask again, where that helps.
    """

    def __init__(
        self, code: grpc.StatusCode, message: str, reason: str = "", retry_after_s: float = 0.0
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.code = code
        self.message = message
        self.reason = reason


def proto_json(message: Any) -> dict[str, Any]:
    """Protobuf JSON with the field names of the .proto files and every plain field present."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def of_refusal(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that the gateway refuses."""
    assert isinstance(error, RefusedError)
    if error.code.name in audit.REFUSED:
        nobody_known = {"role": "", "subject": "", "study": ""}
        said = {"outcome": error.code.name, "request_id": request.state.request_id}
        audit.log.info(asked_for(request.scope), extra=nobody_known | said)
    status = HTTP_STATUS[error.code]
    return _problem(request, status, error.code.name, error.message, error.reason, error.retry_after_s)


def of_rpc(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that a service refused or could not serve."""
    assert isinstance(error, grpc.RpcError)
    # Every error of a finished call is also a grpc.Call.
    code, message = error.code(), error.details() or ""
    extra: dict[str, Any] = {}
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        if detail.Is(ErrorInfo.DESCRIPTOR):
            info = ErrorInfo()
            detail.Unpack(info)
            extra["reason"] = info.reason
        elif detail.Is(naming_pb2.Naming.DESCRIPTOR):
            naming = naming_pb2.Naming()
            detail.Unpack(naming)
            extra["naming"] = proto_json(naming)
        elif detail.Is(RetryInfo.DESCRIPTOR):
            info = RetryInfo()
            detail.Unpack(info)
            extra["retry_after_s"] = info.retry_delay.ToTimedelta().total_seconds()
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and not extra:  # gRPC itself: the services give reasons
        extra["reason"] = "TOO_LARGE" if "larger than max" in message else "BUSY"
    if extra.get("reason", "").startswith(_OF_STORAGE):
        message = of_storage(extra["reason"], message)
    elif code is grpc.StatusCode.UNAVAILABLE:
        if _ADDRESS.search(message):
            message = unanswered(message).message
        else:
            message = f"a service of Onoma does not answer ({message})"
    return _problem(request, HTTP_STATUS[code], code.name, message, **extra)


def unanswered(why: str) -> RefusedError:
    """What is said where a service does not answer; `why`, with its address, goes to the log only."""
    log.warning("a service does not answer: %s", why)
    return RefusedError(
        grpc.StatusCode.UNAVAILABLE, "a service of Onoma does not answer; the gateway's log says which"
    )


def of_client(code: grpc.StatusCode, message: str, reason: str) -> RefusedError:
    """What is said where the client that writes reports was refused."""
    told = of_storage(reason, message) if reason.startswith(_OF_STORAGE) else message
    return RefusedError(code, told, reason)


def of_storage(reason: str, why: str) -> str:
    """What is said where the trouble is the database's, the object store's or a disk's; `why` goes to the log only."""
    log.warning("what a service keeps its data in fails: %s: %s", reason, why)
    if reason == "DISK_FULL":
        return "a disk of the server is full: free space there (the gateway's log says where), and repeat the work"
    return "Onoma's database or object store cannot be used now: try again later (the gateway's log says why)"


def of_http(request: Request, error: Exception) -> JSONResponse:
    """The answer where no route fits."""
    http: HTTPException = error  # type: ignore[assignment]
    code = {404: "NOT_FOUND", 405: "UNIMPLEMENTED"}.get(http.status_code, "INVALID_ARGUMENT")
    return _problem(request, http.status_code, code, f"{http.detail}: {request.method} {request.url.path}")


def of_bug(request: Request, error: Exception) -> JSONResponse:
    """The answer where the gateway itself failed; the traceback goes to the log only."""
    log.error("request %s failed", request.state.request_id, exc_info=error)
    answer = _problem(request, 500, "INTERNAL", "internal error of the gateway; its log has more")
    answer.headers.update(request.state.envelope)  # Starlette sends this one past every middleware
    return answer


def _problem(
    request: Request,
    status: int,
    code: str,
    message: str,
    reason: str = "",
    retry_after_s: float = 0.0,
    **extra: Any,
) -> JSONResponse:
    if reason in PASSING:
        retry_after_s = retry_after_s or RETRY_AFTER_S
    body = {
        "code": code,
        "message": message,
        "reason": reason,
        "request_id": request.state.request_id,
        **extra,
    }
    return JSONResponse(
        body,
        status_code=413 if reason == "TOO_LARGE" else status,
        media_type="application/problem+json",
        headers={"Cache-Control": "no-store"}
        | ({"Retry-After": str(math.ceil(retry_after_s))} if retry_after_s else {}),
    )
