"""The services that analytics reads from."""

from dataclasses import dataclass

from onoma.v1.attribution_pb2_grpc import AttributionServiceStub
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from onoma.v1.naming_pb2_grpc import NamingServiceStub


@dataclass(frozen=True)
class Peers:
    """Stubs of the services behind analytics."""

    inference: InferenceServiceStub
    attribution: AttributionServiceStub
    naming: NamingServiceStub
