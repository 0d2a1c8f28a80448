"""The environment of every test that starts Ray."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def ray_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that every process of Ray's asks for, and the tests' modules where its workers find them.

    One for all tests: Ray keeps the token that it read first for as long as its process lives.
    """
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 63 + "1")
    monkeypatch.setenv(
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"
    )  # or it takes 127.0.0.1 for another interface
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
