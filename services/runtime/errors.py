"""What services raise; `services.runtime.interceptors` turns it into gRPC status.

ServiceError
├── InvalidArgument      the request itself is wrong
├── NotFound             nothing by that name
├── AlreadyExists        something else has that name
├── FailedPrecondition   not in the present state
├── Aborted              a stale revision; `present` goes into the error's details
├── ResourceExhausted    too large, too many, or a full disk
├── DataLoss             a stored object is damaged
├── Unauthenticated      nobody knows who asks
├── PermissionDenied     not for the one who asks
└── Unavailable          something this service needs does not answer
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf.message import Message


def some_of(names: Sequence[str], most: int = 20) -> str:
    """The first names, for an error's line."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


class ServiceError(Exception):
    """Refused or failed, with one clear line.

    Args:
        message: names the thing, the value and the way out.
        reason: constant in capitals for programs (ErrorInfo.reason).
        details: more for programs (ErrorInfo.metadata).
    """

    code = grpc.StatusCode.INTERNAL

    def __init__(self, message: str, reason: str = "", details: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.code.name
        self.details = details or {}


class InvalidArgument(ServiceError):
    """The request itself is wrong."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(ServiceError):
    """Nothing by that name."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(ServiceError):
    """Something else has that name."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(ServiceError):
    """Right in itself, but not in the present state."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(ServiceError):
    """Another change came first.

    Args:
        message: what happened.
        present: the present state, sent along as a detail unless it is large; the caller then reads it anew.
    """

    code = grpc.StatusCode.ABORTED

    def __init__(self, message: str, present: Message | None = None, reason: str = "") -> None:
        super().__init__(message, reason)
        self.present = present


class ResourceExhausted(ServiceError):
    """Too large, too many, or a full disk.

    Args:
        retry_after_s: when to ask again, where time is what it takes.
    """

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(
        self,
        message: str,
        reason: str = "",
        details: dict[str, str] | None = None,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message, reason, details)
        self.retry_after_s = retry_after_s


class DataLoss(ServiceError):
    """A stored object is damaged."""

    code = grpc.StatusCode.DATA_LOSS


class Unauthenticated(ServiceError):
    """Nobody knows who asks."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(ServiceError):
    """Not for the one who asks."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unavailable(ServiceError):
    """Something this service needs does not answer."""

    code = grpc.StatusCode.UNAVAILABLE
