"""`make up-local`: PostgreSQL and MinIO beside the services; gone with Ctrl-C, and all there at the next start."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from deploy.local.postgresql import NoPostgresql, running_postgresql
from onoma.client import Addresses, Client
from tests.minio_fixture import MINIO
from tests.synthetic import write_image_folder

pytestmark = MINIO
_END_S = 60


@dataclass(frozen=True)
class Local:
    """A running one."""

    process: subprocess.Popen[str]
    addresses: Addresses

    def end(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(_END_S)


@pytest.fixture
def folder(minio_binary: Path) -> Iterator[Path]:
    """One that PostgreSQL's user can reach too; nothing that works in it is left behind."""
    with tempfile.TemporaryDirectory(prefix="onoma-local-") as made:
        Path(made).chmod(0o755)
        try:
            with running_postgresql():
                pass
        except NoPostgresql as error:
            pytest.skip(str(error))
        yield Path(made)
        left = [process for process in psutil.process_iter(["cmdline"]) if _is_of(process, Path(made))]
        for process in left:
            process.kill()
        psutil.wait_procs(left, _END_S)


def test_a_second_start_finds_what_the_first_kept(folder: Path, tmp_path: Path) -> None:
    first = _start(folder)
    images = write_image_folder(tmp_path / "shapes", train=2, test=1)
    with Client(first.addresses) as client:
        client.import_dataset("shapes", str(images)).wait()
        kept = list(client.list_images("shapes"))
    assert {"postgres", "minio"} <= {_kind(process) for process in _servers(folder)}
    first.end(signal.SIGINT)
    assert first.process.returncode == 0
    assert _servers(folder) == []
    second = _start(folder)
    with Client(second.addresses) as client:
        assert list(client.list_images("shapes")) == kept
        assert client.get_image(kept[0].image_id)
    second.end(signal.SIGTERM)
    assert second.process.returncode == 0


@pytest.mark.slow
def test_what_a_killed_one_left_keeps_the_next_off_until_it_is_ended(folder: Path) -> None:
    _start(folder).end(signal.SIGKILL)
    refused = _run(folder)
    _, said = refused.communicate(timeout=_END_S)
    assert refused.returncode == 1
    assert "is in use" in said
    for process in _servers(folder):
        if _kind(process) == "minio":
            process.kill()
            process.wait(_END_S)
    after = _start(folder)
    after.end(signal.SIGINT)
    assert after.process.returncode == 0


def _run(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "deploy.local", "--data", str(folder), "--port", "0", "--free-ports"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )


def _start(folder: Path) -> Local:
    process = _run(folder)
    assert process.stdout is not None
    addresses: dict[str, str] = {}
    for line in process.stdout:
        if found := re.match(r"  (\w+) at (\S+)", line):
            addresses[found[1]] = found[2]
        if line.startswith("Bound to loopback"):
            return Local(process, Addresses(**addresses))
    pytest.fail(f"it did not start: {process.stderr.read() if process.stderr else ''}")


def _servers(folder: Path) -> list[psutil.Process]:
    """Those of PostgreSQL and MinIO that were started on this folder."""
    return [
        process for process in psutil.process_iter(["cmdline"]) if _kind(process) and _is_of(process, folder)
    ]


def _is_of(process: psutil.Process, folder: Path) -> bool:
    return str(folder) in " ".join(process.info["cmdline"] or ())


def _kind(process: psutil.Process) -> str:
    command = process.info["cmdline"] or [""]
    name = Path(command[0]).name.partition("-")[0]
    return name if name in ("postgres", "minio") else ""
