"""What the client raises.

OnomaError
├── InvalidArgument       the request itself is wrong
├── NotFound              nothing by that name
├── AlreadyExists         something else has that name
├── FailedPrecondition    not in the present state (study closed, maps missing, ...)
├── Conflict              a stale revision; `.present` holds the present naming, where one was to be changed
├── ResourceExhausted     too large, too many, or a full disk
├── NotAllowed            nobody knows the token, or this is not for its holder
├── DataLoss              a stored object is damaged
├── NotImplementedYet     the server is older than this client and does not know the call
├── ServerUnavailable     nobody answers at that address, or not in time
└── JobFailed             a job ended without success; `.job` holds it
"""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from onoma.v1 import jobs_pb2, naming_pb2


class OnomaError(Exception):
    """Anything that Onoma's services refuse or fail at; the message is one clear line.

    Attributes:
        reason: the service's constant for programs ("REQUEST_ID_REUSED", say); empty where it gave none.
    """

    reason = ""


class InvalidArgument(OnomaError):
    """The request itself is wrong."""


class NotFound(OnomaError):
    """Nothing by that name."""


class AlreadyExists(OnomaError):
    """Something else has that name."""


class FailedPrecondition(OnomaError):
    """Right in itself, but not in the present state."""


class Conflict(OnomaError):
    """The revision is stale: another act or change came first.

    Attributes:
        present: the naming as it stands; None where it was no naming (a vocabulary, say): read it anew.
    """

    def __init__(self, message: str, present: naming_pb2.Naming | None) -> None:
        super().__init__(message)
        self.present = present


class ResourceExhausted(OnomaError):
    """Too large, too many, or a full disk."""


class NotAllowed(OnomaError):
    """Nobody knows the token that was sent, or what was asked for is not for its holder."""


class DataLoss(OnomaError):
    """A stored object is damaged."""


class NotImplementedYet(OnomaError):
    """The server is older than this client and does not know the call."""


class ServerUnavailable(OnomaError):
    """Nobody answers at that address, or not in time."""


class JobFailed(OnomaError):
    """A job ended without success."""

    def __init__(self, message: str, job: jobs_pb2.Job) -> None:
        super().__init__(message)
        self.job = job


_BY_CODE: dict[grpc.StatusCode, type[OnomaError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.DATA_LOSS: DataLoss,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowed,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
}


def translate(error: grpc.RpcError, service: str, address: str) -> OnomaError:
    """The exception that says in Onoma's terms what gRPC said in its own.

    Args:
        error: what a stub raised.
        service: name of the service that was called, for the message.
        address: where it was called.
    """
    translated = _translated(error, service, address)
    translated.reason = _reason(error)
    return translated


def _translated(error: grpc.RpcError, service: str, address: str) -> OnomaError:
    code, message = error.code(), error.details() or error.code().name
    if code is grpc.StatusCode.UNAVAILABLE:
        return ServerUnavailable(
            f"the {service} service does not answer at {address} "
            f"(start one with `onoma up`, or set ONOMA_{service.upper()}_ADDRESS): {message}"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ServerUnavailable(f"the {service} service at {address} did not answer in time")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NotImplementedYet(
            f"the {service} service at {address} does not know this call, as one that is older than this client: "
            f"bring it up to date ({message})"
        )
    if code is grpc.StatusCode.ABORTED:
        return Conflict(message, _present_naming(error))
    return _BY_CODE.get(code, OnomaError)(message)


def _reason(error: grpc.RpcError) -> str:
    status: status_pb2.Status | None = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            reason: str = info.reason
            return reason
    return ""


def _present_naming(error: grpc.RpcError) -> naming_pb2.Naming | None:
    status: status_pb2.Status | None = rpc_status.from_call(error)
    for detail in status.details if status else ():
        naming = naming_pb2.Naming()
        if detail.Unpack(naming):
            return naming
    return None
