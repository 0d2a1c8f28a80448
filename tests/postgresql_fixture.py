"""A PostgreSQL server for tests: a cluster of its own in a temporary folder, reached over a socket in it."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

_START_S = 60


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Folder of a running server's socket; the test is skipped with the reason where none can be started."""
    initdb, pg_ctl = shutil.which("initdb"), shutil.which("pg_ctl")
    if not initdb or not pg_ctl:
        pytest.skip("PostgreSQL: initdb and pg_ctl are not on the path")
    with tempfile.TemporaryDirectory(prefix="onoma-pg-") as folder:  # a short path: sockets want one
        as_user = _owner(Path(folder))
        data = Path(folder) / "data"
        server = [pg_ctl, "--pgdata", data, "--wait", "--timeout", str(_START_S)]
        log = ["--log", Path(folder) / "log"]
        options = ["--options", f"-c listen_addresses='' -k {folder} -c fsync=off"]
        make = [initdb, "--pgdata", data, "--username", "onoma", "--auth", "trust", "--no-sync"]
        made = subprocess.run(make, stdout=subprocess.DEVNULL, **as_user)
        if made.returncode < 0:  # ended by a signal: a SIGBUS was seen once in CI and never again
            shutil.rmtree(data, ignore_errors=True)
            made = subprocess.run(make, stdout=subprocess.DEVNULL, **as_user)
        made.check_returncode()
        subprocess.run([*server, *log, *options, "start"], check=True, stdout=subprocess.DEVNULL, **as_user)
        try:
            yield folder
        finally:
            subprocess.run(
                [*server, "--mode", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, **as_user
            )


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


def _owner(folder: Path) -> dict[str, object]:
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
    pytest.skip("PostgreSQL: this is root, and there is no other user to run the server")
