"""The services that analytics reads from, and calls to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from onoma.v1.attribution_pb2_grpc import AttributionServiceStub
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from onoma.v1.naming_pb2_grpc import NamingServiceStub
from services.runtime.errors import Unavailable

_SILENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@dataclass(frozen=True)
class Peers:
    """Stubs of the services behind analytics."""

    inference: InferenceServiceStub
    attribution: AttributionServiceStub
    naming: NamingServiceStub


@contextmanager
def asking(service: str) -> Iterator[None]:
    """Says which service it is that does not answer; what one refuses goes on to the caller as it is.

    Raises:
        Unavailable: the service is gone or too slow.
    """
    try:
        yield
    except grpc.RpcError as error:
        if error.code() not in _SILENT:
            raise
        raise Unavailable(
            f"the {service} service does not answer in time; try again: {error.details()}"
        ) from error
