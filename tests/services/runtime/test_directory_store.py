"""A directory as object store: whole or not there, durable after flush, clear when the disk is full."""

import errno
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.runtime import directory_store
from services.runtime.directory_store import DirectoryStore
from services.runtime.errors import DataLoss, ResourceExhausted


@pytest.fixture
def store(tmp_path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


def file_of(store: DirectoryStore, key: str) -> Path:
    return store._path / key[:2] / key


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.write_bytes(data)


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip, empty])
def test_a_damaged_object_is_data_loss_that_names_it_and_the_way_out(store, damage):
    key = store.put(b"some bytes")
    damage(file_of(store, key))
    with pytest.raises(DataLoss, match=f"{key} is damaged.*put the same bytes again"):
        store.get(key)


@pytest.mark.parametrize("damage", [truncate, flip, empty])
def test_the_same_bytes_again_repair_a_damaged_object(store, damage):
    key = store.put(b"some bytes")
    damage(file_of(store, key))
    store.put(b"some bytes")
    assert store.get(key) == b"some bytes"


def test_an_object_that_is_being_written_is_not_there_yet(store, monkeypatch):
    seen = []
    write = Path.write_bytes

    def look_half_way(path, data):
        write(path, data[: len(data) // 2])
        seen.extend(store.keys())
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", look_half_way)
    key = store.put(b"half and half")
    assert seen == []
    assert list(store.keys()) == [key]


def test_a_full_disk_is_named_and_leaves_nothing_behind(store, monkeypatch):
    def full(path, data):
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(
            ResourceExhausted, match=f"disk is full: 1,000 more bytes.*{store._path}"
        ) as error:
            store.put(bytes(1000))
    assert error.value.details == {"path": str(store._path)}
    assert [path for path in store._path.rglob("*") if path.is_file()] == []
    assert store.get(store.put(bytes(1000))) == bytes(1000)


def test_a_disk_that_is_really_full_keeps_what_was_stored(mount_disk):
    disk = mount_disk(256 * 1024)
    store = DirectoryStore(disk)
    key = store.put(os.urandom(100_000))
    with pytest.raises(ResourceExhausted, match=str(disk)):
        store.put(os.urandom(300_000))
    store.flush()
    assert list(store.keys()) == [key]
    assert len(store.get(key)) == 100_000
    assert len(store.get(store.put(os.urandom(50_000)))) == 50_000


def test_a_flush_that_fails_is_repeated_by_the_next(store, monkeypatch):
    synced = []

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    key = store.put(b"some bytes")
    with monkeypatch.context() as patched:
        patched.setattr(directory_store, "sync", full)
        with pytest.raises(ResourceExhausted):
            store.flush()
    monkeypatch.setattr(directory_store, "sync", synced.append)
    store.flush()
    assert file_of(store, key) in synced


def test_an_object_that_another_process_put_is_made_durable_too(store, monkeypatch):
    key = store.put(b"some bytes")
    other, synced = DirectoryStore(store._path), []
    other.put(b"some bytes")
    monkeypatch.setattr(directory_store, "sync", synced.append)
    other.flush()
    assert {file_of(store, key), file_of(store, key).parent} <= set(synced)


def test_a_flush_does_not_return_before_another_that_took_up_its_objects(store, monkeypatch):
    begun, go_on, synced = threading.Event(), threading.Event(), []

    def slow(path):
        begun.set()
        assert go_on.wait(30)
        synced.append(path)

    monkeypatch.setattr(directory_store, "sync", slow)
    key = store.put(b"of both")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(store.flush)
        assert begun.wait(30)
        second = threads.submit(store.flush)
        time.sleep(0.2)  # in which it would have returned
        assert not second.done()
        go_on.set()
        second.result(30)
        assert file_of(store, key) in synced
        first.result(30)


def test_many_objects_are_made_durable_by_one_sync(store, monkeypatch):
    synced = []
    monkeypatch.setattr(directory_store, "_sync_file_system", synced.append)
    for number in range(100):
        store.put(bytes([number]))
    store.flush()
    store.flush()
    assert synced == [store._path]


def test_what_a_killed_process_was_writing_is_removed_at_the_next_start(tmp_path):
    script = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from services.runtime.directory_store import DirectoryStore\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "DirectoryStore(Path(sys.argv[1])).put(b'never whole')\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, tmp_path])
    assert killed.returncode == -9
    assert len(list((tmp_path / "incoming").iterdir())) == 1
    assert list(DirectoryStore(tmp_path).keys()) == []
    assert list((tmp_path / "incoming").iterdir()) == []


def test_what_another_process_is_writing_now_is_left_alone(store):
    partial = store._incoming / f"{store._process}.0011223344556677"
    of_another_machine = store._incoming / "other-machine-1.1.1.aa.0011223344556677"
    abandoned = store._incoming / "other-machine-1.1.1.bb.0011223344556677"
    for file in (partial, of_another_machine, abandoned):
        file.write_bytes(b"half")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(abandoned, (two_days_ago, two_days_ago))
    DirectoryStore(store._path)
    assert sorted(store._incoming.iterdir()) == sorted([partial, of_another_machine])
