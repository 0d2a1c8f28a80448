"""Strangers' pictures are decoded in processes of their own: one that crashes, hangs or swells fails its picture."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from onoma.science.pictures import MAX_PIXELS, BrokenPicture, Pixels, Preprocessing
from services.runtime.decoder_process import READY, receive, send
from services.runtime.errors import Unavailable

DECODE_S = 30.0
# -P: nothing of the working directory is imported.
_COMMAND = (sys.executable, "-P", "-m", "services.runtime.decoder_process")
_START_S = 60.0
_END_S = 1.0
_HEADER_BYTES = 16 << 10  # of an answer: sizes, notes or why it was refused
_PICTURES_A_PROCESS = 10_000  # then it is renewed, with all that its decoders leaked


class PictureSettings(BaseSettings):
    """What every service is told that decodes pictures."""

    model_config = SettingsConfigDict(env_prefix="ONOMA_", env_ignore_empty=True)

    max_image_pixels: int = Field(MAX_PIXELS, gt=0, description="Most pixels that a picture may declare.")


@dataclass(frozen=True)
class Whole:
    """What is known of a picture that decodes.

    Attributes:
        height: in pixels, upright.
        width: in pixels, upright.
        notes: what was changed on the way from the file, in words.
    """

    height: int
    width: int
    notes: tuple[str, ...]


class Decoders:
    """Processes that decode pictures, started when they are needed or early; called by several threads.

    Args:
        processes: at most; calls beyond wait.
        max_pixels: most that a picture may declare.
        seconds: that one picture may take.
    """

    def __init__(self, processes: int, max_pixels: int = MAX_PIXELS, seconds: float = DECODE_S) -> None:
        self._limits = {"max_pixels": max_pixels, "seconds": seconds}
        self._seconds = seconds
        self._processes = processes
        self._is_closed = False
        # The one used last is used next, so that few are awake where few are needed.
        self._places: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(processes):
            self._places.put(None)

    def check(self, data: bytes) -> Whole:
        """Size of the one still picture in a file.

        Raises:
            BrokenPicture: it is not one (see `onoma.science.pictures.decode`), or takes too much time or memory.
            Unavailable: no process can be started, or the server stops.
        """
        whole, _ = self._ask(data, None)
        return whole

    def seen(self, data: bytes, preprocessing: Preprocessing) -> Pixels:
        """The picture as a network sees it, uint8 (height, width, channels); raises as `check`."""
        _, pixels = self._ask(data, preprocessing)
        return pixels

    def start_early(self) -> None:
        """Starts the processes on a thread of its own, so that the first pictures need not wait for them."""
        threading.Thread(target=self._start, name="decoders", daemon=True).start()

    def close(self) -> None:
        """Ends the processes, each when its picture is done; calls that come after are refused."""
        self._is_closed = True
        for process in [self._places.get() for _ in range(self._processes)]:
            if process:
                process.end()
            self._places.put(None)

    def _start(self) -> None:
        # All at once, as the queue would give the one just started again; each goes back when it has started.
        taken = []
        with contextlib.suppress(queue.Empty):
            while True:
                taken.append(self._places.get_nowait())
        for process in taken:
            # Where it cannot be started, the first picture says so to whoever sent it.
            started = process
            with contextlib.suppress(Unavailable):
                if started is None and not self._is_closed:
                    started = _Process()
            self._places.put(started)

    def _ask(self, data: bytes, preprocessing: Preprocessing | None) -> tuple[Whole, Pixels]:
        question = {**self._limits, "preprocessing": preprocessing and asdict(preprocessing)}
        shape = (0,)
        if preprocessing:
            shape = (preprocessing.height, preprocessing.width, preprocessing.channels)
        process = self._places.get()
        try:
            if self._is_closed:
                raise Unavailable("the server is stopping")
            if process is None or not process.is_fresh():
                if process:
                    process.end()
                process = None  # where the next cannot be started
                process = _Process()
            answer, content = process.answer(question, data, prod(shape), self._seconds)
            if "refused" in answer:
                raise BrokenPicture(str(answer["refused"]))
            try:
                whole = Whole(int(answer["height"]), int(answer["width"]), tuple(map(str, answer["notes"])))
                return whole, np.frombuffer(content, np.uint8).reshape(shape)
            except (KeyError, TypeError, ValueError) as error:
                process.end()
                raise BrokenPicture("cannot be decoded: the process that tried answered nonsense") from error
        finally:
            self._places.put(process)


class _Process:
    """One process and the socket to it."""

    def __init__(self) -> None:
        self._left = _PICTURES_A_PROCESS
        self._peer, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603  the command is ours
                    _COMMAND,
                    stdin=theirs,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                )
            except OSError as error:
                self._peer.close()
                raise _cannot_start(str(error)) from error
        self._peer.settimeout(_START_S)
        try:
            is_ready = self._peer.recv(1) == READY
        except OSError:
            is_ready = False
        if not is_ready:
            self.end()
            raise _cannot_start(f"it {self._how_it_ended()}")

    def is_fresh(self) -> bool:
        return self._left > 0 and self._process.poll() is None

    def answer(
        self, question: dict[str, Any], data: bytes, size_bytes: int, seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        """What the process says; it is not used again where it says nothing, nonsense or too much."""
        self._left -= 1
        try:
            self._peer.settimeout(seconds)
            until_s = time.monotonic() + seconds
            send(self._peer, question, data)
            return receive(self._peer, most_bytes=size_bytes + _HEADER_BYTES, until_s=until_s)
        except (OSError, EOFError, ValueError) as error:
            if isinstance(error, EOFError):  # it is ending; how, it can say itself
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_END_S)
            self.end()
            how = f"took over {seconds:g} s" if isinstance(error, TimeoutError) else self._how_it_ended()
            raise BrokenPicture(f"cannot be decoded: the process that tried {how}") from error
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        self._peer.close()
        self._process.kill()
        self._process.wait()

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        return f"was ended by signal {-code}" if code < 0 else f"ended with {code}"


def _cannot_start(why: str) -> Unavailable:
    return Unavailable(
        f"no process that decodes pictures can be started, send again later: {why}", "NO_DECODER"
    )


def _environment() -> dict[str, str]:
    """What Python needs to start; no setting and no secret. One thread computes, so that little memory is reserved."""
    kept = {
        name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ
    }
    return {**kept, "OPENBLAS_NUM_THREADS": "1"}
