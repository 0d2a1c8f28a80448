"""Which calls gRPC repeats by itself: the same from clients and among services."""

import json

from onoma.v1 import analytics_pb2, attribution_pb2, inference_pb2, jobs_pb2, naming_pb2

# Reads are sent again where a server is gone; a change is sent once, as is what costs too much to be repeated unasked.
READS = ("Get", "List", "Check", "Predict", "Watch", "Export", "Explain", "Attribute")
_RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    # A server that stops cancels what it has not begun with.
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}


def service_config() -> str:
    """gRPC's service config: reads are sent again where a server is gone or stops; calls are spread over replicas."""
    reads = [
        {"service": service.full_name, "method": method.name}
        for module in (inference_pb2, attribution_pb2, naming_pb2, analytics_pb2, jobs_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.name.startswith(READS)
    ]
    return json.dumps(
        {
            "loadBalancingConfig": [{"round_robin": {}}],
            "methodConfig": [{"name": reads, "retryPolicy": _RETRY}],
        }
    )
