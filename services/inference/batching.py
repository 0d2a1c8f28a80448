"""Images of many callers gathered into batches for one network: largest batch, longest wait, longest queue."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from services.runtime.errors import ResourceExhausted, Unavailable

Images = npt.NDArray[np.float32]
Outputs = tuple[npt.NDArray[np.float32], ...]


@dataclass(frozen=True)
class BatchLimits:
    """How requests are gathered.

    Attributes:
        images: of the largest batch; a request with more goes alone.
        wait_s: that a request waits at most for others to join it while the network is idle.
        queue_images: that wait at most; more are refused.
    """

    images: int
    wait_s: float
    queue_images: int


@dataclass(frozen=True, eq=False)
class _Request:
    images: Images
    answer: Future[Outputs] = field(default_factory=Future)


class Batcher:
    """One network's queue and the thread that empties it.

    Args:
        run: the network: images (n, C, H, W) to outputs (n, ...).
    """

    def __init__(self, run: Callable[[Images], Outputs], limits: BatchLimits) -> None:
        self._run = run
        self._limits = limits
        self._waiting: deque[_Request] = deque()
        self._is_closed = False
        self._changed = threading.Condition()
        self._worker = threading.Thread(target=self._work, name="batches", daemon=True)
        self._worker.start()

    def submit(self, images: Images) -> Future[Outputs]:
        """Outputs for images (n, C, H, W), n >= 1; a future that is cancelled in time is not computed.

        Raises:
            ResourceExhausted: too many images are waiting.
            Unavailable: the queue is closed.
        """
        request = _Request(images)
        with self._changed:
            if self._is_closed:
                raise Unavailable("the server is stopping; call another one, or this one again later")
            ahead = sum(len(other.images) for other in self._waiting)
            if ahead and ahead + len(images) > self._limits.queue_images:
                raise ResourceExhausted(
                    f"{ahead} images are waiting for this network, and {len(images)} more would be over the "
                    f"{self._limits.queue_images} of ONOMA_QUEUE_IMAGES; send again a little later",
                    "QUEUE_FULL",
                )
            self._waiting.append(request)
            self._changed.notify()
        return request.answer

    def close(self) -> None:
        """Takes no more requests, answers those that wait, and ends."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._worker.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._answer(batch)

    def _next_batch(self) -> list[_Request]:
        """The requests that go together; none once the queue is closed and empty."""
        with self._changed:
            while not self._waiting and not self._is_closed:
                self._changed.wait()
            until = time.monotonic() + self._limits.wait_s
            while (
                self._waiting
                and not self._is_closed
                and sum(len(request.images) for request in self._waiting) < self._limits.images
                and (left := until - time.monotonic()) > 0
            ):
                self._changed.wait(left)
            batch: list[_Request] = []
            count = 0
            while self._waiting and (
                not batch or count + len(self._waiting[0].images) <= self._limits.images
            ):
                batch.append(self._waiting.popleft())
                count += len(batch[-1].images)
            return batch

    def _answer(self, batch: list[_Request]) -> None:
        wanted = [request for request in batch if request.answer.set_running_or_notify_cancel()]
        if not wanted:
            return
        try:
            outputs = self._run(_joined([request.images for request in wanted]))
        except Exception as error:  # noqa: BLE001  whatever it is, it is the callers' to hear
            if len(wanted) == 1:
                wanted[0].answer.set_exception(error)
            else:
                self._answer_each(wanted)
            return
        start = 0
        for request in wanted:
            until = start + len(request.images)
            request.answer.set_result(tuple(output[start:until] for output in outputs))
            start = until

    def _answer_each(self, wanted: list[_Request]) -> None:
        """One by one, so that a request on which the network fails spoils no other."""
        for request in wanted:
            try:
                request.answer.set_result(self._run(request.images))
            except Exception as error:  # noqa: BLE001  as above
                request.answer.set_exception(error)


def _joined(images: list[Images]) -> Images:
    return images[0] if len(images) == 1 else np.concatenate(images)
