"""Calls to other services: saying which of them it is that does not answer."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from services.runtime.errors import Unavailable

# What a call ends with whose server is gone, or stops: that cancels what it has not ended.
GOES_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_SILENT = (*GOES_AWAY, grpc.StatusCode.DEADLINE_EXCEEDED)


@contextmanager
def asking(service: str) -> Iterator[None]:
    """Says which service it is that does not answer; what one refuses goes on to the caller as it is.

    Raises:
        Unavailable: the service is gone, stops or is too slow.
    """
    try:
        yield
    except grpc.RpcError as error:
        if error.code() not in _SILENT:
            raise
        raise Unavailable(
            f"the {service} service does not answer in time; try again: {error.details()}", _reason(error)
        ) from error


def _reason(error: grpc.RpcError) -> str:
    """The service's own constant for it; empty where it gave none."""
    status, info = rpc_status.from_call(error), ErrorInfo()
    return info.reason if status and any(detail.Unpack(info) for detail in status.details) else ""
