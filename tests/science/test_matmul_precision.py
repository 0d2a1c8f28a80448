"""Float32 and TF32 on a GPU: whoever wants the other waits. The switches are there without a GPU too."""

import threading

import pytest
import torch

from onoma.science.matmul_precision import matmul_precision
from tests.networks import SHAPE, program_of, vgg_like

GPU = torch.device("cuda")
LONG_S = 30


def switches() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(("precision", "expected"), [("float32", False), ("bf16", False), ("tf32", True)])
def test_the_switches_are_set_and_put_back_also_where_a_step_fails(precision: str, expected: bool) -> None:
    before, seen = switches(), []

    def fail() -> None:
        with matmul_precision(precision, GPU):
            seen.append(switches())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [(expected, expected)]
    assert switches() == before


def test_on_a_cpu_nothing_is_switched_and_nobody_waits() -> None:
    before = switches()
    with matmul_precision("tf32", torch.device("cpu")), matmul_precision("float32", torch.device("cpu")):
        assert switches() == before


def test_maps_wait_until_a_training_in_tf32_is_out_and_then_are_in_float32() -> None:
    seen: list[bool] = []
    begun = threading.Event()

    def draw() -> None:
        begun.set()
        with matmul_precision("float32", GPU):
            seen.append(switches()[0])

    maps = threading.Thread(target=draw)
    with matmul_precision("tf32", GPU):
        maps.start()
        assert begun.wait(LONG_S)
        maps.join(0.2)
        assert maps.is_alive()
        assert not seen
        assert switches() == (True, True)
    maps.join(LONG_S)
    assert seen == [False]


def test_those_who_want_the_same_are_in_at_once() -> None:
    both = threading.Barrier(2)

    def draw() -> None:
        with matmul_precision("float32", GPU):
            both.wait(LONG_S)

    maps = threading.Thread(target=draw)
    maps.start()
    with matmul_precision("float32", GPU):
        both.wait(LONG_S)
    maps.join(LONG_S)
    assert not maps.is_alive()
    assert not both.broken


def test_many_threads_that_want_either_all_have_what_they_want() -> None:
    wrong: list[str] = []

    def work(precision: str, expected: bool) -> None:
        for _ in range(200):
            with matmul_precision(precision, GPU):
                if switches() != (expected, expected):
                    wrong.append(precision)

    threads = [threading.Thread(target=work, args=pair) for pair in [("tf32", True), ("float32", False)] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_a_network_is_exported_and_read_meanwhile(precision: str) -> None:
    with matmul_precision(precision, GPU):
        assert program_of(vgg_like(), SHAPE).input_shape == SHAPE
