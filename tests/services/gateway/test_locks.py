"""A lock a key: one at a time for one thing, nobody held up by another, nothing left behind."""

import threading
from concurrent.futures import ThreadPoolExecutor

from services.gateway.locks import Locks


def test_one_thread_at_a_time_holds_a_key_and_no_lock_is_left():
    locks, inside, most = Locks(), [0, 0, 0], [0, 0, 0]

    def hold(number: int) -> None:
        key = number % 3
        with locks.holding(key):
            inside[key] += 1
            most[key] = max(most[key], inside[key])
            inside[key] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, range(3000)))
    assert most == [1, 1, 1]
    assert len(locks._locks) == 0


def test_who_waits_for_one_key_holds_nobody_up_who_needs_another():
    locks, waits = Locks(), threading.Event()

    def wait_for_a() -> None:
        waits.set()
        with locks.holding("a"):
            pass

    with ThreadPoolExecutor(1) as pool:
        with locks.holding("a"):
            waiting = pool.submit(wait_for_a)
            waits.wait(5)
            with locks.holding("b"):
                assert not waiting.done()
        waiting.result(5)
