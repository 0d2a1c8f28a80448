"""Whether a service of this machine is ready: `python -m services.runtime.probe` exits with 0 or 1.

What a container's health check runs; it asks on ONOMA_HEALTH_PORT.
"""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.runtime.settings import RuntimeSettings, read_settings

_TIMEOUT_S = 4.0


def problem(settings: RuntimeSettings) -> str:
    """What keeps the service from being ready, in one line; empty where nothing does."""
    if not settings.health_port:
        return "no port answers probes: set ONOMA_HEALTH_PORT, for the service too"
    straight = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"localhost:{settings.health_port}", straight) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            status = check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S).status
        except grpc.RpcError as error:
            return f"nothing answers on ONOMA_HEALTH_PORT={settings.health_port}: {error.details()}"
    if status != health_pb2.HealthCheckResponse.SERVING:
        return f"{health_pb2.HealthCheckResponse.ServingStatus.Name(status)}: the service's log says why"
    return ""


if __name__ == "__main__":
    sys.exit(problem(read_settings(RuntimeSettings)) or 0)
