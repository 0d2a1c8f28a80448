"""A picture that harms its decoder fails alone; the next is decoded."""

import io
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image

from onoma.science.pictures import FORMATS, BrokenPicture, Preprocessing, decode, encode_png, model_input
from services.runtime import decoding
from services.runtime.decoder_process import READY, send
from services.runtime.decoding import Decoders, Whole
from services.runtime.errors import Unavailable

PREPROCESSING = Preprocessing(channels=3, height=8, width=6, resize_shorter_side=8)
PLAIN = encode_png(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))


@pytest.fixture
def decoders():
    opened = Decoders(1)
    yield opened
    opened.close()


@pytest.fixture
def hostile(monkeypatch):
    """Decoders that do what a picture says, with three seconds for each."""
    monkeypatch.setattr(decoding, "_END_S", 30.0)  # how one ended is told, however long it took
    command = (sys.executable, "-P", "-m", "tests.services.runtime.hostile_decoder")
    monkeypatch.setattr(decoding, "_COMMAND", command)
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    opened = Decoders(1, max_pixels=1000, seconds=3.0)
    yield opened
    opened.close()


def refusal(decoders, data):
    with pytest.raises(BrokenPicture) as refused:
        decoders.check(data)
    return str(refused.value)


def children():
    return {child.pid for child in psutil.Process().children()}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_decoded_as_in_place(decoders, kind):
    file = io.BytesIO()
    Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(20, 20, 3)).save(file, kind)
    picture = decode(file.getvalue())
    assert decoders.check(file.getvalue()) == Whole(20, 20, picture.notes)
    seen = decoders.seen(file.getvalue(), PREPROCESSING)
    assert np.array_equal(seen, model_input(picture, PREPROCESSING))


def test_what_is_no_picture_is_refused_as_in_place(decoders):
    assert refusal(decoders, b"") == "empty file"
    assert refusal(decoders, b"<svg/>").startswith("SVG, a drawing")
    assert refusal(decoders, PLAIN[:-40]).startswith("damaged or truncated")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("crash", "was ended by signal 11"),
        ("exit", "ended with 3"),
        ("spin", "took over 3 s"),
        ("sleep", "took over 3 s"),
        ("swell", "more memory"),
        ("raise", "ended with 1"),
        ("much", "was ended by signal 9"),
        ("no message", "was ended by signal 9"),
        ("nonsense", "answered nonsense"),
    ],
)
def test_a_picture_that_harms_its_decoder_fails_alone(hostile, harm, reason):
    assert hostile.check(PLAIN) == Whole(10, 10, ())
    assert reason in refusal(hostile, harm.encode())
    assert hostile.check(PLAIN) == Whole(10, 10, ())


@pytest.mark.parametrize("harm", ["read", "connect"])
def test_a_decoder_that_was_taken_over_opens_nothing(hostile, harm):
    hostile.check(PLAIN)
    assert refusal(hostile, harm.encode()) == "cannot be decoded: the process that tried ended with 1"


def test_a_decoder_that_was_taken_over_starts_nothing(hostile):
    assert "ended with 1" in refusal(hostile, b"start")


def test_a_decoder_knows_no_setting(hostile, monkeypatch):
    monkeypatch.setenv("ONOMA_ACCESS_TOKEN", "secret")
    assert "ended with 0" in refusal(hostile, b"secrets")


def test_a_decoder_has_little_processor_time_where_nobody_looks_after_it(hostile):
    peer, theirs = socket.socketpair()
    with peer, theirs, subprocess.Popen(decoding._COMMAND, stdin=theirs, env=dict(os.environ)) as process:
        assert peer.recv(1) == READY
        send(peer, {"max_pixels": 1, "seconds": 0.1, "preprocessing": None}, b"spin")
        assert process.wait(20) == -signal.SIGXCPU


def test_the_pixel_limit_is_looked_at_before_anything_is_unpacked():
    decoders = Decoders(1, max_pixels=99)
    assert refusal(decoders, PLAIN) == "declares 100 pixels (10 x 10), limit 99"
    decoders.close()


def test_processes_are_started_when_needed_renewed_and_ended(monkeypatch):
    monkeypatch.setattr(decoding, "_PICTURES_A_PROCESS", 2)
    before = children()
    decoders = Decoders(3)
    assert children() == before
    used = []
    for _ in range(3):
        decoders.check(PLAIN)
        used += [children() - before]
    assert len(used[0]) == 1
    assert used[0] == used[1] != used[2]
    decoders.close()
    assert children() == before
    with pytest.raises(Unavailable, match="stopping"):
        decoders.check(PLAIN)


def test_processes_that_were_started_early_are_those_that_decode():
    before = children()
    decoders = Decoders(2)
    decoders.start_early()
    until_s = time.monotonic() + 60
    while len(children() - before) < 2 and time.monotonic() < until_s:
        time.sleep(0.01)
    started = children() - before
    assert len(started) == 2
    assert decoders.check(PLAIN) == Whole(10, 10, ())
    assert children() - before == started
    decoders.close()
    assert children() == before


def test_decoders_that_are_closed_while_they_start_leave_nothing():
    before = children()
    decoders = Decoders(3)
    decoders.start_early()
    decoders.close()
    assert children() == before
    with pytest.raises(Unavailable, match="stopping"):
        decoders.check(PLAIN)


def test_threads_share_the_processes():
    before = children()
    decoders = Decoders(2)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(decoders.check, [PLAIN] * 64)) == {Whole(10, 10, ())}
    assert len(children() - before) <= 2
    decoders.close()


def test_a_process_that_died_idle_is_replaced(decoders):
    before = children()
    decoders.check(PLAIN)
    for pid in children() - before:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert decoders.check(PLAIN) == Whole(10, 10, ())


def test_where_no_process_starts_the_picture_is_not_blamed(monkeypatch):
    monkeypatch.setattr(decoding, "_COMMAND", (sys.executable, "-c", "raise SystemExit(7)"))
    decoders = Decoders(1)
    for _ in range(2):
        with pytest.raises(Unavailable, match="can be started"):
            decoders.check(PLAIN)
    decoders.close()
