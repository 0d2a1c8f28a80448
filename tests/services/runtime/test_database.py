"""SQLite and PostgreSQL alike: migrated once, written by many, clear when something is wrong with them."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy import Engine, inspect, make_url, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from services.runtime import database
from services.runtime.database import open_database, session
from services.runtime.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from services.runtime.jobs import Job
from services.runtime.settings import RuntimeSettings
from tests.migrations import assert_migrations_match

SERVICE = "inference"  # any service with migrations would do


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path) -> RuntimeSettings:
    url = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else ""
    return RuntimeSettings(data_dir=tmp_path, database_url=url)


@pytest.fixture
def engine(settings):
    engine = open_database(settings, SERVICE)
    yield engine
    engine.dispose()


def count(engine: Engine) -> int:
    with Session(engine) as opened:
        return len(opened.exec(select(Job)).all())


def a_job(number: int = 0) -> Job:
    return Job(job_id=f"job-{number}", kind="any", params={"number": number})


def test_migrations_match_the_classes_down_and_up(engine):
    assert_migrations_match(engine, SERVICE)


@pytest.mark.parametrize("service", ["inference", "naming", "attribution"])
def test_services_share_a_database_without_meeting(settings, service):
    engine = open_database(settings, service)
    assert "alembic_version" in inspect(engine).get_table_names()
    engine.dispose()


def test_an_id_with_a_zero_byte_is_no_fault_of_the_server(engine):
    """SQLite looks for it and finds nothing; PostgreSQL holds no such text."""
    refused = pytest.raises(InvalidArgument, match="zero byte")
    with (
        refused if engine.dialect.name == "postgresql" else contextlib.nullcontext(),
        session(engine) as opened,
    ):
        assert opened.get(Job, "job\0") is None


def test_a_session_commits_at_its_end(engine):
    with session(engine) as opened:
        opened.add(a_job())
    assert count(engine) == 1


def test_a_session_that_raises_leaves_nothing(engine):
    def write_and_fail():
        with session(engine) as opened:
            opened.add(a_job())
            opened.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert count(engine) == 0


def test_eight_writers_that_read_first_all_get_through(engine):
    with session(engine) as opened:
        opened.add(a_job())
    failed = []

    def write():
        try:
            for _ in range(10):
                with session(engine) as opened:
                    row = opened.exec(select(Job).with_for_update()).one()
                    row.done += 1
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    writers = [threading.Thread(target=write) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with Session(engine) as opened:
        assert (failed, opened.exec(select(Job)).one().done) == ([], 80)


def test_a_reader_waits_for_no_writer(engine):
    with session(engine) as opened:
        opened.add(a_job())
        opened.flush()
        assert count(engine) == 0


def test_a_second_row_of_the_same_key_stays_an_integrity_error(engine):
    def write():
        with session(engine) as opened:
            opened.add(a_job())

    write()
    with pytest.raises(IntegrityError):
        write()


def test_a_wrong_statement_is_not_taken_for_a_database_that_is_away(engine):
    with pytest.raises(Exception, match="no_such_table") as caught, Session(engine) as opened:
        opened.execute(text("SELECT 1 FROM no_such_table"))
    assert not isinstance(caught.value, Unavailable)


def test_many_processes_may_open_a_new_database_at_once(settings, tmp_path):
    script = (
        "import sys\nfrom services.runtime.database import open_database\n"
        "from services.runtime.settings import RuntimeSettings\n"
        f"open_database(RuntimeSettings(data_dir=sys.argv[1], database_url=sys.argv[2]), '{SERVICE}')\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), settings.database_url]
    opening = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=100)[1] for process in opening] == ["", "", ""]
    assert [process.returncode for process in opening] == [0, 0, 0]


def test_one_migrates_at_a_time(settings, monkeypatch):
    migrate, inside, most = database.migrate, [], []

    def slowly(engine, service):
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.1)
        migrate(engine, service)
        inside.pop()

    monkeypatch.setattr(database, "migrate", slowly)
    opening = [threading.Thread(target=open_database, args=(settings, SERVICE)) for _ in range(3)]
    for one in opening:
        one.start()
    for one in opening:
        one.join()
    assert most == [1, 1, 1]


def test_a_database_of_a_newer_version_is_refused_with_the_way_out(engine, settings):
    with session(engine) as opened:
        opened.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(FailedPrecondition, match=r"revision 9999.*install the version that wrote it"):
        open_database(settings, SERVICE)


def test_a_migration_that_fails_half_way_leaves_nothing(settings, tmp_path, monkeypatch):
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001_broken.py").write_text(
        "from alembic import op\nimport sqlalchemy as sa\nrevision, down_revision = '0001', None\n"
        "def upgrade():\n    op.create_table('half', sa.Column('id', sa.Integer))\n    raise RuntimeError('broken')\n"
    )
    config = database._config(SERVICE)
    config.set_main_option("version_locations", str(tmp_path / "migrations"))
    with monkeypatch.context() as patched:
        patched.setattr(database, "_config", lambda service: config)
        with pytest.raises(RuntimeError, match="broken"):
            open_database(settings, SERVICE)
    assert "half" not in inspect(open_database(settings, SERVICE)).get_table_names()


def test_sqlite_keeps_what_was_committed_and_checks_foreign_keys(tmp_path):
    engine = open_database(RuntimeSettings(data_dir=tmp_path), SERVICE)
    with engine.connect() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert pragmas == ["wal", 2, 1, 30_000]


def test_a_copy_taken_in_the_middle_of_a_write_opens_with_every_committed_row(tmp_path):
    engine = open_database(RuntimeSettings(data_dir=tmp_path), SERVICE)
    for number in range(5):
        with session(engine) as opened:
            opened.add(a_job(number))
    with session(engine) as opened:
        opened.add(a_job(5))
        opened.flush()
        copied = tmp_path / "copy"
        copied.mkdir()
        for suffix in ("", "-wal"):
            (copied / f"inference.db{suffix}").write_bytes((tmp_path / f"inference.db{suffix}").read_bytes())
    assert count(open_database(RuntimeSettings(data_dir=copied), SERVICE)) == 5


def test_a_file_that_is_no_database_is_named_with_the_way_out(tmp_path):
    (tmp_path / "inference.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(FailedPrecondition, match=r"inference\.db is damaged.*restore it from a backup"):
        open_database(RuntimeSettings(data_dir=tmp_path), SERVICE)


def test_a_locked_database_is_unavailable_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr("services.runtime.database._BUSY_TIMEOUT_MS", 1)
    engine = open_database(RuntimeSettings(data_dir=tmp_path), SERVICE)
    with sqlite3.connect(tmp_path / "inference.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=r"inference\.db.*locked"), session(engine) as opened:
            opened.add(a_job())
        other.execute("ROLLBACK")
    with session(engine) as opened:
        opened.add(a_job())


def test_a_full_disk_is_named(tmp_path):
    engine = open_database(RuntimeSettings(data_dir=tmp_path), SERVICE)
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 5}")
        with pytest.raises(Exception, match=r"the disk of the database .*inference\.db is full"):
            connection.exec_driver_sql(
                "INSERT INTO image SELECT hex(randomblob(100000)), 1, 1, '[]' FROM (SELECT 1)"
            )


def test_a_database_on_a_disk_that_is_really_full_is_not_opened(mount_disk, tmp_path):
    open_database(RuntimeSettings(data_dir=tmp_path), SERVICE).dispose()
    file = tmp_path / "inference.db"
    disk = mount_disk(file.stat().st_size + 400 * 1024)
    shutil.copy(file, disk)
    filling = disk / "filling"
    filling.write_bytes(bytes(250 * 1024))
    with pytest.raises(
        ResourceExhausted, match=f"^the disk of the database {disk} is full; free space there"
    ):
        open_database(RuntimeSettings(data_dir=disk), SERVICE)
    filling.unlink()
    engine = open_database(RuntimeSettings(data_dir=disk), SERVICE)
    with session(engine) as opened:
        opened.add(a_job())
    assert count(engine) == 1
    engine.dispose()


def test_a_fault_of_a_full_disk_is_said_to_be_one(tmp_path, monkeypatch):
    engine = open_database(RuntimeSettings(data_dir=tmp_path), SERVICE)
    fault = sqlite3.OperationalError("disk I/O error")
    fault.sqlite_errorname = "SQLITE_IOERR_SHMSIZE"
    context = SimpleNamespace(is_pre_ping=False, engine=engine, original_exception=fault, is_disconnect=False)
    assert isinstance(database._translate(context), Unavailable)
    monkeypatch.setattr(database, "_LEAST_FREE_BYTES", shutil.disk_usage(tmp_path).free * 2)
    assert isinstance(database._translate(context), ResourceExhausted)


def test_a_postgresql_that_does_not_answer_is_unavailable_and_its_password_not_shown():
    settings = RuntimeSettings(database_url="postgresql+psycopg://onoma:hidden@127.0.0.1:1/onoma")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1/onoma") as caught:
        open_database(settings, SERVICE)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://127.0.0.1/onoma", "not a url"])
def test_another_kind_of_database_is_refused_with_the_way_out(url):
    with pytest.raises(FailedPrecondition, match=r"ONOMA_DATABASE_URL.*postgresql\+psycopg://"):
        open_database(RuntimeSettings(database_url=url), SERVICE)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_postgresql_that_does_not_hold_every_word_is_refused_with_the_way_out(postgresql_url, encoding):
    url = make_url(postgresql_url)
    with psycopg.connect(host=url.query["host"], user="onoma", dbname="postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE in_{encoding} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    settings = RuntimeSettings(database_url=str(url.set(database=f"in_{encoding.lower()}")))
    with pytest.raises(
        FailedPrecondition, match=rf"/in_{encoding.lower()}.* is in {encoding}, .*--encoding=UTF8"
    ):
        open_database(settings, SERVICE)


@pytest.fixture
def as_app(postgresql_url):
    """A connection of the administrator's, and the database's URL as a role that has no rights there."""
    url = make_url(postgresql_url)
    with psycopg.connect(host=url.query["host"], user="onoma", dbname="postgres", autocommit=True) as server:
        server.execute("CREATE ROLE app LOGIN")
        yield server, str(url.set(username="app"))
        server.execute("DROP OWNED BY app CASCADE")
        server.execute("DROP ROLE app")


def migrate_all(url, tmp_path):
    told = {"ONOMA_DATA_DIR": str(tmp_path), "ONOMA_DATABASE_URL": url}
    command = [sys.executable, "-m", "services.migrate"]
    return subprocess.run(command, env=os.environ | told, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("schema_is_of_another", [False, True])
def test_a_role_without_the_right_to_make_schemas_is_told_so_in_a_line(
    as_app, tmp_path, schema_is_of_another
):
    server, url = as_app
    if schema_is_of_another:
        for name in database.SERVICES_WITH_DATABASE:
            server.execute(f"CREATE SCHEMA {name}")
    refused = migrate_all(url, tmp_path)
    assert refused.returncode == 1
    [line] = refused.stderr.splitlines()
    assert line.startswith("migrate: the database postgresql+psycopg://app@")
    assert "GRANT CREATE ON DATABASE" in line
    assert "attribution, inference, naming" in line


def test_a_role_that_owns_its_schemas_needs_no_right_to_make_any(as_app, tmp_path):
    server, url = as_app
    for name in database.SERVICES_WITH_DATABASE:
        server.execute(f"CREATE SCHEMA {name} AUTHORIZATION app")
    for _ in range(2):
        assert migrate_all(url, tmp_path).returncode == 0


def test_a_right_to_make_schemas_can_be_taken_back_once_they_are_made(as_app, tmp_path):
    server, url = as_app
    server.execute("GRANT CREATE ON DATABASE postgres TO app")
    assert migrate_all(url, tmp_path).returncode == 0
    server.execute("REVOKE CREATE ON DATABASE postgres FROM app")
    assert migrate_all(url, tmp_path).returncode == 0


def test_a_service_does_not_start_on_a_database_of_a_newer_version(engine, settings):
    with session(engine) as opened:
        opened.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    told = {"ONOMA_DATA_DIR": str(settings.data_dir), "ONOMA_DATABASE_URL": settings.database_url}
    older = subprocess.run(
        [sys.executable, "-m", f"services.{SERVICE}"],
        env=os.environ | told | {f"ONOMA_{SERVICE.upper()}_ADDRESS": "127.0.0.1:0"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert older.returncode == 1
    assert "is ready" not in older.stderr
    [line] = older.stderr.splitlines()
    assert line.startswith(
        f"{SERVICE}: the {SERVICE} database is at revision 9999, which this version does not know"
    )
