from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from services.gateway.app import build
from services.runtime.settings import RuntimeSettings
from tests.services.gateway.standins import StandIns

LOOPBACK = ("127.0.0.1", 50000)


@pytest.fixture
def stand_ins() -> StandIns:
    return StandIns()


@pytest.fixture
def settings(stand_ins: StandIns, tmp_path) -> Iterator[RuntimeSettings]:
    server, address = stand_ins.start()
    yield RuntimeSettings(
        data_dir=tmp_path,
        inference_address=address,
        attribution_address=address,
        naming_address=address,
        analytics_address=address,
    )
    server.stop(grace=None).wait()


@pytest.fixture
def owner(settings: RuntimeSettings) -> Iterator[TestClient]:
    """The owner's browser: on the server's own machine."""
    with TestClient(
        build(settings), base_url="http://127.0.0.1:8080", client=LOOPBACK, raise_server_exceptions=False
    ) as client:
        yield client


@pytest.fixture
def ada(settings: RuntimeSettings) -> Iterator[TestClient]:
    """An annotator's browser, elsewhere, after following the link."""
    with TestClient(build(settings), base_url="http://onoma.test", client=("203.0.113.9", 50000)) as client:
        client.post("/api/invitations", json={"token": "ada-token"}).raise_for_status()
        yield client
