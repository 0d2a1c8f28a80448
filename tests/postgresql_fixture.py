"""A PostgreSQL server for tests: a cluster of its own in a temporary folder, reached over a socket in it."""

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
from typing import Any

import psycopg
import pytest
from psycopg import sql

_START_S = 60


class NoPostgresql(Exception):
    """Why no server can be started here."""


@dataclass(frozen=True)
class PostgresqlServer:
    """A running server.

    Attributes:
        folder: of its socket and its data.
    """

    folder: str
    _pg_ctl: list[str]
    _options: str
    _as_user: dict[str, Any]

    @property
    def url(self) -> str:
        """Of its database."""
        return f"postgresql+psycopg://onoma@/postgres?host={self.folder}"

    def kill(self) -> None:
        """kill -9 of all its processes."""
        pid = int((Path(self.folder) / "data" / "postmaster.pid").read_text().split()[0])
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
        subprocess.run([*self._pg_ctl, *log, "start"], check=True, stdout=subprocess.DEVNULL, **self._as_user)

    def stop(self) -> None:
        """Stops it at once."""
        immediately = [*self._pg_ctl, "--mode", "immediate", "stop"]
        subprocess.run(immediately, check=True, stdout=subprocess.DEVNULL, **self._as_user)


@contextmanager
def running_postgresql(*, is_durable: bool = False) -> Iterator[PostgresqlServer]:
    """A server of its own, on a socket in a temporary folder.

    Args:
        is_durable: whether it waits for the disk, as one that is used does and tests need not.
    Raises:
        NoPostgresql: it cannot be started here.
    """
    initdb, pg_ctl = shutil.which("initdb"), shutil.which("pg_ctl")
    if not initdb or not pg_ctl:
        raise NoPostgresql("PostgreSQL: initdb and pg_ctl are not on the path")
    with tempfile.TemporaryDirectory(prefix="onoma-pg-") as folder:  # a short path: sockets want one
        as_user = _owner(Path(folder))
        data = f"{folder}/data"
        make = [initdb, "--pgdata", data, "--username", "onoma", "--auth", "trust", "--no-sync"]
        made = subprocess.run(make, stdout=subprocess.DEVNULL, **as_user)
        if made.returncode < 0:  # ended by a signal: a SIGBUS was seen once in CI and never again
            shutil.rmtree(data, ignore_errors=True)
            made = subprocess.run(make, stdout=subprocess.DEVNULL, **as_user)
        made.check_returncode()
        control = [pg_ctl, "--pgdata", data, "--wait", "--timeout", str(_START_S)]
        options = f"-c listen_addresses='' -k {folder} -c fsync={'on' if is_durable else 'off'}"
        server = PostgresqlServer(folder, control, options, as_user)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Folder of a running server's socket; the test is skipped with the reason where none can be started."""
    try:
        with running_postgresql() as server:
            yield server.folder
    except NoPostgresql as error:
        pytest.skip(str(error))


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """URL of a database without any schema of a service; those of the test before are dropped."""
    with psycopg.connect(host=postgresql_server, user="onoma", dbname="postgres") as connection:
        connection.execute("SET lock_timeout = '20s'")
        schemas = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        ).fetchall()
        for (name,) in schemas:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))
    return f"postgresql+psycopg://onoma@/postgres?host={postgresql_server}"


def _owner(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: the folder and the processes are given to somebody else."""
    if os.geteuid() != 0:
        return {"cwd": folder}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, user.pw_uid, user.pw_gid)
        return {"cwd": folder, "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise NoPostgresql("PostgreSQL: this is root, and there is no other user to run the server")
