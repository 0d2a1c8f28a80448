"""deploy/compose.yaml, brought up on the tests' engine with secrets of its own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onoma.client import Client
from tests.deploy.engine import CHECKOUT, Engine, run

PROJECT = "onoma-test"
SERVICES = ("inference", "naming", "attribution", "analytics", "gateway")
STORAGE = ("database", "objects")
ALL = (*SERVICES, *STORAGE)
PAGE = "http://127.0.0.1:8080"
_READY_S = 180


@dataclass(frozen=True)
class Stack:
    """A project of Compose.

    Attributes:
        folder: its .env, keys, and `imports`, which inference sees as /imports.
    """

    engine: Engine
    folder: Path

    def make_secrets(self) -> None:
        """By the script that people use."""
        script = CHECKOUT / "scripts" / "make-compose-secrets.sh"
        run(["sh", str(script), str(self.folder)], self.engine.environment, 60)
        (self.folder / "imports").mkdir()

    def compose(self, *arguments: str, timeout_s: float = 300) -> str:
        """What `docker-compose ARGUMENTS` prints."""
        command = [
            *("docker-compose", "--project-name", PROJECT, "--env-file", str(self.folder / ".env")),
            *("--file", str(CHECKOUT / "deploy" / "compose.yaml")),
            *arguments,
        ]
        environment = self.engine.environment | {"ONOMA_IMPORTS": str(self.folder / "imports")}
        return run(command, environment, timeout_s)

    def up(self) -> None:
        """Starts what does not run, and waits until all of it is healthy."""
        try:
            self.compose("up", "--detach", "--no-build")
        except subprocess.CalledProcessError as error:
            error.add_note(self.compose("logs", "--tail", "20")[-6000:])
            raise
        self.wait_until_healthy()

    def wait_until_healthy(self, *names: str) -> None:
        """Until every container's own check says so, or that of those named.

        Raises:
            TimeoutError: one is not, with what its check and its log say.
        """
        until = time.monotonic() + _READY_S
        while sick := {
            name: state for name, state in self._health(names or ALL).items() if state != "healthy"
        }:
            if time.monotonic() > until:
                logs = self.compose("logs", "--tail", "5", *sick)
                raise TimeoutError(f"after {_READY_S} s: {sick}\n{logs[-3000:]}")
            time.sleep(1)

    def container(self, name: str) -> dict[str, Any]:
        """What the engine says of a service's container."""
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", f"{PROJECT}_{name}_1"))
        return found[0]

    def secret(self, name: str) -> str:
        """A value of its .env."""
        lines = (self.folder / ".env").read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))

    def client(self) -> Client:
        """The owner's, over the published ports."""
        return Client(token=self.secret("ONOMA_ACCESS_TOKEN"))

    def _health(self, names: Iterable[str]) -> dict[str, str]:
        return {name: self.container(name)["State"]["Health"]["Status"] for name in names}
