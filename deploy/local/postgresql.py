"""A PostgreSQL server of this machine: a cluster of its own, reached over a socket in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_S = 60


class NoPostgresql(Exception):
    """Why no server can be started here."""


@dataclass(frozen=True)
class PostgresqlServer:
    """A running server.

    Attributes:
        folder: of its socket.
        data: of its cluster.
    """

    folder: str
    data: Path
    _pg_ctl: list[str]
    _options: str
    _as_user: list[str]

    @property
    def url(self) -> str:
        """Of its database."""
        return f"postgresql+psycopg://onoma@/postgres?host={self.folder}"

    def kill(self) -> None:
        """kill -9 of all its processes."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGSTOP)  # it makes no more of them
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
        processes = [pid, *map(int, children)]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        until = time.monotonic() + _START_S
        while any(Path(f"/proc/{process}").exists() for process in processes) and time.monotonic() < until:
            time.sleep(0.02)

    def start(self) -> None:
        """Starts it, after a kill too."""
        log = ["--log", f"{self.folder}/log", "--options", self._options]
        self._run([*log, "start"]).check_returncode()

    def stop(self, mode: str = "immediate") -> None:
        """Stops it at once, or ("fast") after it has written what it holds."""
        self._run(["--mode", mode, "stop"]).check_returncode()

    def runs(self) -> bool:
        """Whether a server holds the cluster, this one or one that was left behind."""
        return self._run(["status"]).returncode == 0

    def _run(self, arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
        command = [*self._as_user, *self._pg_ctl, *arguments]
        return subprocess.run(command, stdout=subprocess.DEVNULL, cwd=self.folder)


@contextmanager
def running_postgresql(folder: Path | None = None, *, is_durable: bool = False) -> Iterator[PostgresqlServer]:
    """A server of its own; its socket lies in a temporary folder, for sockets want a short path.

    Args:
        folder: of its cluster, made at the first start and kept; None: one that is gone afterwards.
        is_durable: whether it waits for the disk, as one that is used does and tests need not.
    Raises:
        NoPostgresql: it cannot be started here.
    """
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    with tempfile.TemporaryDirectory(prefix="onoma-pg-") as sockets:
        as_user = _owner(Path(sockets))
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            _owner(folder)
        data = (folder or Path(sockets)).absolute() / "data"
        if not (data / "PG_VERSION").exists():
            _make_cluster([*as_user, initdb], data, sockets)
        control = [pg_ctl, "--pgdata", str(data), "--wait", "--timeout", str(_START_S)]
        options = f"-c listen_addresses='' -k {sockets} -c fsync={'on' if is_durable else 'off'}"
        server = PostgresqlServer(sockets, data, control, options, as_user)
        if folder is not None and server.runs():
            server.stop("fast")  # whoever started it was killed
        server.start()
        try:
            yield server
        finally:
            server.stop("fast" if is_durable else "immediate")


def _make_cluster(initdb: list[str], data: Path, folder: str) -> None:
    make = [
        *(*initdb, "--pgdata", str(data), "--username", "onoma", "--auth", "trust", "--no-sync"),
        *("--encoding", "UTF8", "--locale", "C.UTF-8"),
    ]
    made = subprocess.run(make, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=folder)
    if made.returncode:
        raise NoPostgresql(f"PostgreSQL: no cluster can be made in {data}: {made.stderr.strip()[-500:]}")


def _program(name: str) -> str:
    """Debian keeps the server's programs off the path."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3])
    )
    found = shutil.which(name) or (str(installed[-1]) if installed else None)
    if found is None:
        raise NoPostgresql(f"PostgreSQL: {name} is not here (apt-get install postgresql)")
    return found


def _owner(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: the folder is given to somebody else, and what makes commands theirs returned.

    By a program and not by subprocess's `user`, for that forks: a child of a process with gRPC's threads was seen to
    crash before it became the program.
    """
    if os.geteuid() != 0:
        return []
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, user.pw_uid, user.pw_gid)
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
    raise NoPostgresql("PostgreSQL: this is root, and there is no other user to run the server")
