"""What a service's health says, by and by."""

import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

DEADLINE_S = 60


def becomes(channel: grpc.Channel, status: health_pb2.HealthCheckResponse.ServingStatus) -> bool:
    """Whether health says so before long."""
    check = health_pb2_grpc.HealthStub(channel).Check
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        if check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_S).status == status:
            return True
        time.sleep(0.1)
    return False
