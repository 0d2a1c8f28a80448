"""Databases and object stores that go away, say nothing, break off and come back: nothing is lost, and health tells."""

import time
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health_pb2
from sqlmodel import Session, select

from services.runtime import jobs, server
from services.runtime.database import open_database, session
from services.runtime.errors import Unavailable
from services.runtime.jobs import Job, Jobs
from services.runtime.objects import ObjectStore, open_object_store
from services.runtime.readiness import Looking, check_needs
from services.runtime.settings import RuntimeSettings
from tests.minio_fixture import MINIO
from tests.networks_that_fail import UNAVAILABLE_503, Proxy, proxy_before
from tests.services.health import becomes
from tests.services.runtime.echo import Echo, EchoStub, start_echo

AWAY_S = 10.0
DEADLINE_S = 60
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass
class Pair:
    """A database and an object store that can be taken away."""

    settings: RuntimeSettings
    database: object
    store: object


class Folder:
    """A folder or file that can be moved away, with what a database has beside it."""

    def __init__(self, path):
        self.path = path

    def down(self):
        self.path.rename(self.path.with_suffix(".away"))

    def up(self):
        self.path.with_suffix(".away").rename(self.path)


@pytest.fixture(params=["sqlite and a folder", pytest.param("postgresql and minio", marks=MINIO)])
def pair(request, tmp_path):
    if request.param == "sqlite and a folder":
        yield Pair(
            RuntimeSettings(data_dir=tmp_path),
            Folder(tmp_path / "inference.db"),
            Folder(tmp_path / "objects"),
        )
        return
    request.getfixturevalue("postgresql_url")
    with (
        before_postgresql(request.getfixturevalue("postgresql_server")) as database,
        before_minio(minio := request.getfixturevalue("minio_server").settings) as store,
    ):
        there = {"database_url": url_of(database), "s3_endpoint": f"127.0.0.1:{store.port}"}
        yield Pair(minio.model_copy(update=there), database, store)


@pytest.fixture
def minio(request):
    """The settings of a store behind a proxy, and the proxy."""
    settings = request.getfixturevalue("minio_server").settings
    with before_minio(settings) as proxy:
        yield settings.model_copy(update={"s3_endpoint": f"127.0.0.1:{proxy.port}"}), proxy


@pytest.fixture
def postgresql(request, tmp_path):
    """The settings of a database behind a proxy, and the proxy."""
    request.getfixturevalue("postgresql_url")
    with before_postgresql(request.getfixturevalue("postgresql_server")) as proxy:
        yield RuntimeSettings(data_dir=tmp_path, database_url=url_of(proxy)), proxy


def before_postgresql(folder):
    return proxy_before(f"{folder}/.s.PGSQL.5432")


def before_minio(settings):
    host, _, port = settings.s3_endpoint.partition(":")
    return proxy_before((host, int(port)))


def url_of(proxy: Proxy) -> str:
    return f"postgresql+psycopg://onoma@127.0.0.1:{proxy.port}/postgres"


@pytest.mark.parametrize("gone", ["database", "store"])
def test_readiness_goes_with_the_database_or_the_store_and_comes_back_and_the_server_lives(
    pair, gone, monkeypatch
):
    monkeypatch.setattr(server, "_READINESS_S", 0.2)
    engine, store = open_database(pair.settings, "inference"), open_object_store(pair.settings)
    running = start_echo(Echo(ready=lambda: check_needs(engine, store)), pair.settings)
    with grpc.insecure_channel(running.address) as channel:
        assert becomes(channel, SERVING)
        getattr(pair, gone).down()
        assert becomes(channel, NOT_SERVING)
        assert EchoStub(channel).unary(b"alive", timeout=DEADLINE_S) == b"alive"
        getattr(pair, gone).up()
        assert becomes(channel, SERVING)
    running.stop(within_s=0)
    engine.dispose()


def test_a_database_that_says_nothing_is_not_ready_in_time(postgresql):
    settings, proxy = postgresql
    engine = open_database(settings, "inference")
    Looking(lambda: check_needs(engine), within_s=DEADLINE_S).look()
    looking = Looking(lambda: check_needs(engine), within_s=0.5)
    proxy.hold.clear()
    begin = time.monotonic()
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"has not answered for 0\.5 s"):
            looking.look()
    assert time.monotonic() - begin < 5
    proxy.hold.set()
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            looking.look()
            break
        except Unavailable:
            assert time.monotonic() < until
    engine.dispose()


class Storing:
    """A job of twenty parts, each an object and a row."""

    def __init__(self, engine, store: ObjectStore):
        self.engine, self.store = engine, store
        self.on_part = lambda number: None

    def __call__(self, context):
        context.stage("storing", 20)
        for number in range(20):
            context.check()
            self.on_part(number)
            key = self.store.put(f"part {number}".encode())
            self.store.flush()
            with session(self.engine) as opened:
                if opened.get(Job, key) is None:
                    opened.add(Job(job_id=key, kind="part", params={"number": number}, state="kept"))
            context.advance()
        return {"parts": 20}


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["database", "store"])
def test_a_job_outlasts_ten_seconds_without_its_database_or_its_store(pair, gone):
    engine, store = open_database(pair.settings, "inference"), open_object_store(pair.settings)
    storing, taken_away = Storing(engine, store), []

    def take_away(number):
        if number == 7 and not taken_away:
            getattr(pair, gone).down()
            taken_away.append(time.monotonic())

    storing.on_part = take_away
    some = Jobs(engine, {"store": storing})
    job_id = some.start("store", {}).job_id
    while not taken_away:
        time.sleep(0.05)
    time.sleep(AWAY_S)
    getattr(pair, gone).up()
    row, until = some.get(job_id), time.monotonic() + DEADLINE_S
    while row.state in (jobs.PENDING, jobs.RUNNING) and time.monotonic() < until:
        time.sleep(0.1)
        row = some.get(job_id)
    some.close()
    assert (row.state, row.error, row.result) == (jobs.SUCCEEDED, "", {"parts": 20})
    with Session(engine) as opened:
        kept = {
            found.job_id: found.params["number"]
            for found in opened.exec(select(Job).where(Job.kind == "part"))
        }
    assert {key: store.get(key) for key in kept} == {
        key: f"part {number}".encode() for key, number in kept.items()
    }
    assert sorted(kept.values()) == list(range(20))
    engine.dispose()


@pytest.mark.minio
@pytest.mark.timeout(2100)
class TestS3:
    def test_a_store_that_answers_503_for_a_moment_is_asked_again(self, minio):
        settings, proxy = minio
        store = open_object_store(settings)
        proxy.answer = UNAVAILABLE_503
        proxy.drop()
        with pytest.raises(Unavailable):
            store.put(b"not now")
        proxy.answer = b""
        assert store.get(store.put(b"now")) == b"now"

    def test_an_object_that_stops_in_the_middle_is_unavailable_and_not_half(self, minio):
        settings, proxy = minio
        store, content = open_object_store(settings), bytes(range(256)) * 4000
        key = store.put(content)
        proxy.cut_after = 200_000
        proxy.drop()
        for read in (lambda: store.get(key), lambda: store.get_range(key, 0, 900_000)):
            with pytest.raises(Unavailable):
                read()
        proxy.cut_after = None
        assert store.get(key) == content

    def test_a_slow_network_is_no_fault(self, minio):
        settings, proxy = minio
        proxy.delay_s = 0.1
        store = open_object_store(settings)
        content = bytes(300_000)
        assert store.get(store.put(content)) == content

    def test_a_store_that_says_nothing_is_known_within_seconds(self, minio):
        settings, proxy = minio
        store = open_object_store(settings)
        store.check()
        proxy.hold.clear()
        begin = time.monotonic()
        with pytest.raises(Unavailable):
            store.check()
        assert time.monotonic() - begin < 10


def test_a_folder_that_is_away_is_no_empty_store(tmp_path):
    store = open_object_store(RuntimeSettings(data_dir=tmp_path))
    key = store.put(b"kept")
    folder = Folder(tmp_path / "objects")
    folder.down()
    for ask in (store.get, store.exists, store.size, lambda _: store.put(b"more"), lambda _: store.check()):
        with pytest.raises(Unavailable, match="is not there now"):
            ask(key)
    folder.up()
    assert store.get(key) == b"kept"
