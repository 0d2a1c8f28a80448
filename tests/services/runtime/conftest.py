"""A server of the echo service and a channel to it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

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


@pytest.fixture
def mount_disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many bytes."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    folder = tmp_path / "disk"

    def mount(size_bytes: int) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", folder]
        mounted = subprocess.run(command, capture_output=True, text=True)
        if mounted.returncode != 0:
            pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)
