"""Work done on the elements of a stream before their results are asked for: in order, and never without bound."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, wait
from queue import SimpleQueue
from typing import TypeVar

_UNWORKED = 8  # elements of a stream that are held before they are worked on

Element = TypeVar("Element")
Result = TypeVar("Result")


def in_order(
    pool: Executor, work: Callable[[Element], Result], elements: Iterator[Element], ahead: int
) -> Iterator[Result]:
    """Results of `work`, an element each, in order; they come while the stream of elements is silent, too.

    Args:
        ahead: elements whose results are not taken and done with yet, at most.
    Raises:
        Exception: what `work` or `elements` raised, after the results before it.
    """
    slots = threading.Semaphore(ahead)
    is_over = threading.Event()
    begun: SimpleQueue[Future[Result] | None] = SimpleQueue()

    def read() -> None:
        unworked: deque[Future[Result]] = deque()
        try:
            for element in elements:
                slots.acquire()
                if is_over.is_set():
                    return
                unworked.append(pool.submit(work, element))
                begun.put(unworked[-1])
                if len(unworked) >= _UNWORKED:
                    wait([unworked.popleft()])
        except Exception as error:  # noqa: BLE001  raised where its result would be taken
            failed: Future[Result] = Future()
            failed.set_exception(error)
            begun.put(failed)
        begun.put(None)

    threading.Thread(target=read, name="reading-ahead", daemon=True).start()
    try:
        while result := begun.get():
            yield result.result()
            slots.release()
    finally:
        is_over.set()
        slots.release()
