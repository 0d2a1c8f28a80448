from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from onoma.v1 import analytics_pb2_grpc
from services.analytics.service import build
from services.runtime.server import start
from services.runtime.settings import RuntimeSettings
from tests.services.analytics.stand_ins import World, add_all, worked_example


@pytest.fixture
def world() -> World:
    return worked_example()


@pytest.fixture
def analytics(world: World) -> Iterator[analytics_pb2_grpc.AnalyticsServiceStub]:
    """A stub of a real analytics server over stand-ins for the other services."""
    peers = grpc.server(ThreadPoolExecutor(4))
    add_all(world, peers)
    address = f"127.0.0.1:{peers.add_insecure_port('127.0.0.1:0')}"
    peers.start()
    settings = RuntimeSettings(inference_address=address, attribution_address=address, naming_address=address)
    server = start(build(settings), "127.0.0.1:0", settings)
    with grpc.insecure_channel(server.address) as channel:
        yield analytics_pb2_grpc.AnalyticsServiceStub(channel)
    server.stop()
    peers.stop(None)
