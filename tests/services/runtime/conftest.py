"""A server of the echo service and a channel to it."""

from collections.abc import Iterator

import pytest

from services.runtime.channels import open_channel
from services.runtime.server import RunningServer
from services.runtime.settings import RuntimeSettings
from tests.services.runtime.echo import Echo, EchoStub, start_echo


@pytest.fixture
def settings(tmp_path) -> RuntimeSettings:
    return RuntimeSettings(data_dir=tmp_path)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def server(echo: Echo, settings: RuntimeSettings) -> Iterator[RunningServer]:
    running = start_echo(echo, settings)
    yield running
    running.stop(within_s=0)


@pytest.fixture
def stub(server: RunningServer, settings: RuntimeSettings) -> Iterator[EchoStub]:
    with open_channel(server.address, settings) as channel:
        yield EchoStub(channel)
