"""A container engine for the tests alone: a dockerd with a folder and a socket of its own, stopped at the end.

What it holds is kept in .cache/deploy, 10 GB, so that a second run builds nothing anew; `make clean` removes it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent
CACHE = CHECKOUT / ".cache" / "deploy"
_START_S = 60
_NEEDED = ("dockerd", "docker", "docker-compose", "debootstrap", "iptables")


class NoEngine(Exception):
    """Why no engine can be started here."""


@dataclass(frozen=True)
class Engine:
    """A running engine.

    Attributes:
        environment: of processes that speak to it.
    """

    environment: dict[str, str]

    def docker(self, *arguments: str, timeout_s: float = 300) -> str:
        """What `docker ARGUMENTS` prints.

        Raises:
            subprocess.CalledProcessError: it failed; its output is in the notes.
        """
        # Debian's client builds with BuildKit by itself; newer ones want a plug-in for it.
        client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
        return run([client, *arguments], self.environment, timeout_s)


def run(command: list[str], environment: dict[str, str], timeout_s: float) -> str:
    """What a command prints.

    Raises:
        subprocess.CalledProcessError: it failed; its output is in the notes.
    """
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s)
    try:
        done.check_returncode()
    except subprocess.CalledProcessError as error:
        error.add_note((done.stdout + done.stderr)[-3000:])
        raise
    return done.stdout


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Starts it; containers of a run that was killed are removed.

    Raises:
        NoEngine: it cannot be started here.
    """
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        raise NoEngine(
            f"no container engine: {', '.join(missing)} is missing (sh scripts/install-container-engine.sh, as root)"
        )
    if os.geteuid() != 0:
        raise NoEngine("no container engine: only root can start dockerd")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="onoma-engine-") as folder:
        log = Path(folder) / "log"
        socket = f"unix://{folder}/docker.sock"
        command = [
            *("dockerd", "--host", socket, "--data-root", str(CACHE / "docker")),
            *("--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"),
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        engine = Engine(
            os.environ | {"DOCKER_HOST": socket, "DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": f"{folder}/config"}
        )
        try:
            _wait(engine, process, log)
            left = engine.docker("ps", "--all", "--quiet").split()
            if left:
                engine.docker("rm", "--force", *left)
            yield engine
        finally:
            process.terminate()
            process.wait(timeout=60)


def _wait(engine: Engine, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_S
    while True:
        try:
            engine.docker("version")
            return
        except subprocess.CalledProcessError as error:
            if process.poll() is not None or time.monotonic() > until:
                lines = log.read_text(errors="replace").splitlines()
                said = lines[-1] if lines else "nothing"
                raise NoEngine(f"no container engine: dockerd does not start here: {said[-300:]}") from error
        time.sleep(0.2)
