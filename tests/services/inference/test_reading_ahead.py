"""Reading ahead: results in order, and never more elements in hand than there may be."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.inference.reading_ahead import in_order

DEADLINE_S = 30


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as opened:
        yield opened


def test_results_keep_the_order_of_elements_whichever_is_done_first(pool):
    second_is_done = threading.Event()

    def work(element):
        if element == 0:
            assert second_is_done.wait(DEADLINE_S)
        if element == 1:
            second_is_done.set()
        return 2 * element

    assert list(in_order(pool, work, iter(range(100)), ahead=10)) == list(range(0, 200, 2))


def test_a_result_comes_while_the_stream_is_silent(pool):
    go_on = threading.Event()

    def elements():
        yield 1
        assert go_on.wait(DEADLINE_S)

    results = in_order(pool, abs, elements(), ahead=4)
    assert next(results) == 1
    go_on.set()
    assert list(results) == []


def test_no_more_elements_are_in_hand_than_there_may_be(pool):
    begun, taken, most = 0, 0, 0
    lock = threading.Lock()

    def work(element):
        nonlocal begun, most
        with lock:
            begun += 1
            most = max(most, begun - taken)
        return element

    for _ in in_order(pool, work, iter(range(200)), ahead=5):
        with lock:
            taken += 1
    assert most <= 5


@pytest.mark.parametrize("raised_by", ["work", "elements"])
def test_an_error_comes_after_the_results_before_it(pool, raised_by):
    def elements():
        yield from (1, 2)
        if raised_by == "elements":
            raise OSError("the third")
        yield 3

    def work(element):
        if element == 3:
            raise OSError("the third")
        return element

    results = in_order(pool, work, elements(), ahead=2)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(OSError, match="the third"):
        next(results)


def test_the_reader_ends_when_nobody_takes_results_any_more(pool):
    before = set(threading.enumerate())
    endless = iter(int, 1)
    results = in_order(pool, lambda element: element, endless, ahead=3)
    next(results)
    (reader,) = (t for t in set(threading.enumerate()) - before if t.name == "reading-ahead")
    results.close()
    reader.join(DEADLINE_S)
    assert not reader.is_alive()
