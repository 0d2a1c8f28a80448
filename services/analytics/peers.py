"""The services that analytics reads from, and calls to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from onoma.v1.attribution_pb2_grpc import AttributionServiceStub
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from onoma.v1.naming_pb2_grpc import NamingServiceStub
from services.runtime import errors

_ERRORS = {
    error.code: error
    for error in (
        errors.InvalidArgument,
        errors.NotFound,
        errors.FailedPrecondition,
        errors.ResourceExhausted,
        errors.DataLoss,
        errors.Unimplemented,
    )
}
_SILENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@dataclass(frozen=True)
class Peers:
    """Stubs of the services behind analytics."""

    inference: InferenceServiceStub
    attribution: AttributionServiceStub
    naming: NamingServiceStub


@contextmanager
def errors_of(service: str) -> Iterator[None]:
    """What a peer refuses is refused here for the same reason.

    Raises:
        ServiceError: with the peer's message, or that it does not answer.
    """
    try:
        yield
    except grpc.RpcError as error:
        code, message = error.code(), error.details()
        if code in _SILENT:
            raise errors.Unavailable(
                f"the {service} service does not answer in time; try again: {message}"
            ) from error
        if code not in _ERRORS:
            raise
        raise _ERRORS[code](message) from error
