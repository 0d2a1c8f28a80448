"""Images of many callers gathered into batches for one network: largest batch, longest wait, longest queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from prometheus_client import Gauge

from services.runtime.errors import ResourceExhausted, Unavailable

_waiting = Gauge("onoma_images_waiting", "Images that wait for a network.")

RETRY_AFTER_S = 1.0  # when to ask again of what is refused because others are being served

Images = npt.NDArray[np.float32]
Outputs = tuple[npt.NDArray[np.float32], ...]


@dataclass(frozen=True)
class BatchLimits:
    """How requests are gathered.

    Attributes:
        images: that the network takes at once at most; a request with more goes in so many pieces.
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
        self._waiting_images = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._worker = threading.Thread(target=self._work, name="batches", daemon=True)
        self._worker.start()

    def submit(self, images: Images) -> Future[Outputs]:
        """Outputs for images (n, C, H, W), n >= 1; a future that is cancelled in time is not computed.

        Raises:
            ResourceExhausted: too many images are waiting; a request that finds none waiting is always taken.
            Unavailable: the queue is closed.
        """
        request = _Request(images)
        with self._changed:
            if self._is_closed:
                raise Unavailable("the server is stopping; call another one, or this one again later")
            ahead = self._waiting_images
            if ahead and ahead + len(images) > self._limits.queue_images:
                raise ResourceExhausted(
                    f"{ahead} images are waiting for this network, and {len(images)} more would be over the "
                    f"{self._limits.queue_images} of ONOMA_QUEUE_IMAGES; send again a little later",
                    "QUEUE_FULL",
                    retry_after_s=RETRY_AFTER_S,
                )
            self._waiting.append(request)
            self._waiting_images += len(images)
            _waiting.inc(len(images))
            self._changed.notify()
        return request.answer

    def close(self) -> None:
        """Takes no more requests, answers those that wait, and ends."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._worker.join()

    def _work(self) -> None:
        while self._gathered():
            if batch := self._next_batch():
                self._answer(batch)

    def _gathered(self) -> bool:
        """True once requests wait that are to go now; False once the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            self._changed.wait_for(
                lambda: self._waiting_images >= self._limits.images or self._is_closed, self._limits.wait_s
            )
            return bool(self._waiting)

    def _next_batch(self) -> list[_Request]:
        """The requests that go together, without those whose callers have gone."""
        batch: list[_Request] = []
        count = 0
        with self._changed:
            while self._waiting and (
                not batch or count + len(self._waiting[0].images) <= self._limits.images
            ):
                request = self._waiting.popleft()
                self._waiting_images -= len(request.images)
                _waiting.dec(len(request.images))
                if request.answer.set_running_or_notify_cancel():
                    batch.append(request)
                    count += len(request.images)
        return batch

    def _answer(self, batch: list[_Request]) -> None:
        """To each its own outputs; where the network fails, one by one, so that an error reaches its own caller."""
        try:
            outputs = self._outputs(_joined([request.images for request in batch]))
        except Exception as error:  # noqa: BLE001  whatever it is, it is the callers' to hear
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
            else:
                for request in batch:
                    self._answer([request])
            return
        start = 0
        for request in batch:
            until = start + len(request.images)
            request.answer.set_result(tuple(output[start:until] for output in outputs))
            start = until

    def _outputs(self, images: Images) -> Outputs:
        most = self._limits.images
        if len(images) <= most:
            return self._run(images)
        pieces = [self._run(images[start : start + most]) for start in range(0, len(images), most)]
        return tuple(np.concatenate(outputs) for outputs in zip(*pieces, strict=True))


def _joined(images: list[Images]) -> Images:
    return images[0] if len(images) == 1 else np.concatenate(images)
