"""Batches: every caller gets its own answer, and limits hold."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from services.inference.batching import Batcher, BatchLimits
from services.runtime.errors import ResourceExhausted, Unavailable

LIMITS = BatchLimits(images=8, wait_s=0.01, queue_images=64)
DEADLINE_S = 30


def images(*values):
    """One image of one pixel a value."""
    return np.array(values, np.float32).reshape(-1, 1, 1, 1)


class Network:
    """Doubles its pixels; keeps the sizes of its batches; works only while it may; fails on negative pixels."""

    def __init__(self, *, may_run=True):
        self.sizes = []
        self.may_run = threading.Event()
        self.is_running = threading.Event()
        if may_run:
            self.may_run.set()

    def __call__(self, batch):
        self.is_running.set()
        self.last = batch
        assert self.may_run.wait(DEADLINE_S)
        if (batch < 0).any():
            raise ValueError("a negative pixel")
        self.sizes.append(len(batch))
        return 2 * batch[:, 0, 0], batch[:, 0, 0] + 1


@pytest.fixture
def batcher():
    opened = []

    def opening(network, limits=LIMITS):
        opened.append((network, Batcher(network, limits)))
        return opened[-1][1]

    yield opening
    for network, one in opened:
        network.may_run.set()
        one.close()


@pytest.fixture
def busy(batcher):
    """A network that is at work on one image until it may go on, and its queue."""

    def making(limits=LIMITS):
        network = Network(may_run=False)
        queue = batcher(network, limits)
        queue.submit(images(0))
        assert network.is_running.wait(DEADLINE_S)
        return network, queue

    return making


def test_fifty_callers_get_their_own_answers(batcher):
    queue = batcher(Network(), BatchLimits(images=8, wait_s=0.01, queue_images=1000))

    def call(caller):
        sent = images(*range(caller, caller + caller % 5 + 1))
        doubled, plus_one = queue.submit(sent).result(DEADLINE_S)
        return np.array_equal(doubled, 2 * sent[:, 0, 0]) and np.array_equal(plus_one, sent[:, 0, 0] + 1)

    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(call, range(500)))


def test_what_waits_goes_together_up_to_the_largest_batch(busy):
    network, queue = busy()
    answers = [queue.submit(images(i, i)) for i in range(6)]
    network.may_run.set()
    wait(answers, DEADLINE_S)
    assert network.sizes == [1, 8, 4]


def test_a_request_over_the_largest_batch_goes_in_pieces(busy):
    network, queue = busy()
    answers = [queue.submit(images(*range(count))) for count in (3, 20, 2)]
    network.may_run.set()
    assert answers[1].result(DEADLINE_S)[0].ravel().tolist() == [2 * value for value in range(20)]
    wait(answers, DEADLINE_S)
    assert network.sizes == [1, 3, 8, 8, 4, 2]


def test_a_whole_batch_goes_uncopied_and_waits_for_no_others(batcher):
    network = Network()
    queue = batcher(network, BatchLimits(images=3, wait_s=1000, queue_images=64))
    sent = images(1, 2, 3)
    queue.submit(sent).result(DEADLINE_S)
    assert network.last is sent


def test_a_lone_request_waits_no_longer_than_the_longest_wait(batcher):
    queue = batcher(Network(), BatchLimits(images=1000, wait_s=0.01, queue_images=2000))
    assert queue.submit(images(1)).result(DEADLINE_S)[0].item() == 2


def test_images_over_the_queue_are_refused_and_those_that_wait_are_answered(busy):
    network, queue = busy(BatchLimits(images=4, wait_s=0, queue_images=4))
    waiting = queue.submit(images(1, 2, 3))
    with pytest.raises(ResourceExhausted, match=r"3 images are waiting .* over the 4 of ONOMA_QUEUE_IMAGES"):
        queue.submit(images(4, 5))
    last = queue.submit(images(6))
    network.may_run.set()
    assert waiting.result(DEADLINE_S)[0].ravel().tolist() == [2, 4, 6]
    assert last.result(DEADLINE_S)[0].ravel().tolist() == [12]


def test_an_error_reaches_only_its_own_caller(busy):
    network, queue = busy()
    first, wrong, last = (queue.submit(images(value)) for value in (1, -1, 3))
    network.may_run.set()
    assert first.result(DEADLINE_S)[0].item() == 2
    assert last.result(DEADLINE_S)[0].item() == 6
    with pytest.raises(ValueError, match="a negative pixel"):
        wrong.result(DEADLINE_S)


def test_a_caller_that_has_gone_is_not_computed(busy):
    network, queue = busy()
    gone, stays = queue.submit(images(1)), queue.submit(images(2))
    assert gone.cancel()
    network.may_run.set()
    assert stays.result(DEADLINE_S)[0].item() == 4
    assert network.sizes == [1, 1]


def test_those_who_have_gone_take_no_place_in_a_batch(busy):
    network, queue = busy()
    answers = [queue.submit(images(value)) for value in range(16)]
    for answer in answers[:8]:
        assert answer.cancel()
    network.may_run.set()
    wait(answers, DEADLINE_S)
    assert network.sizes == [1, 8]


def test_closing_answers_what_waits_and_takes_no_more(busy):
    network, queue = busy()
    waiting = queue.submit(images(5))
    network.may_run.set()
    queue.close()
    assert waiting.result(0)[0].item() == 10
    with pytest.raises(Unavailable):
        queue.submit(images(6))
