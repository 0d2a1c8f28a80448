"""How classes are shared out among groups, cores and devices."""

import threading
from types import SimpleNamespace

import pytest
import torch

from onoma.science import xnn_plan
from onoma.science.xnn_fitting import XnnSettings
from onoma.science.xnn_plan import beside, bytes_a_class, group_size, groups_of

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_groups_keep_the_order_of_the_classes() -> None:
    assert groups_of("abcde", 2) == ["ab", "cd", "e"]
    assert groups_of([], 3) == []


@pytest.mark.parametrize(("wanted", "negatives", "expected"), [(0, 0, 1), (3, 0, 3), (3, 10, 1)])
def test_on_a_cpu_classes_are_alone_unless_asked_for(wanted: int, negatives: int, expected: int) -> None:
    settings = XnnSettings(negatives_per_positive=negatives)
    assert group_size(wanted, settings, 12_000, 4096, CPU) == expected


@pytest.mark.parametrize(("gigabytes", "expected"), [(80, 32), (8, 10), (0.1, 1)])
def test_a_gpus_groups_take_a_quarter_of_its_memory(
    monkeypatch: pytest.MonkeyPatch, gigabytes: float, expected: int
) -> None:
    properties = SimpleNamespace(total_memory=int(gigabytes * 1e9))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert group_size(0, XnnSettings(), 12_000, 4096, GPU) == expected


def test_a_class_takes_its_parameters_with_adams_state_and_its_codes() -> None:
    """4096-800-100-5 and back: 6.7 million parameters at 16 bytes; 2 x 900 codes of 12,000 images at 4."""
    assert bytes_a_class(XnnSettings(), 12_000, 4096) == pytest.approx(107e6 + 86.4e6, rel=0.01)


def test_a_shared_trunks_classes_take_less() -> None:
    shared = bytes_a_class(XnnSettings(shared_trunk=True), 12_000, 800)
    assert shared == pytest.approx(16 * 164_000 + 2 * 100 * 12_000 * 4, rel=0.02)


@pytest.mark.parametrize(("workers", "device", "most"), [(2, CPU, 2), (1, CPU, 1), (2, GPU, 1)])
def test_so_many_groups_are_worked_on_at_once(workers: int, device: torch.device, most: int) -> None:
    running, seen, lock = 0, [], threading.Lock()

    def work(group: int) -> int:
        nonlocal running
        with lock:
            running += 1
            seen.append((running, torch.get_num_threads()))
        threading.Event().wait(0.02)
        with lock:
            running -= 1
        return 10 * group

    before = torch.get_num_threads()
    assert beside(work, [1, 2, 3, 4], workers, device) == [10, 20, 30, 40]
    assert max(count for count, _ in seen) == most
    assert {threads for _, threads in seen} == {1}
    assert torch.get_num_threads() == before


def test_the_first_failure_stops_the_others_and_is_raised() -> None:
    stopped, begun = threading.Event(), []

    def work(group: int) -> None:
        begun.append(group)
        if group == 1:
            raise KeyError(group)
        assert stopped.wait(10), "nobody said stop"

    with pytest.raises(KeyError):
        beside(work, [0, 1, 2, 3], 2, CPU, stopped.set)
    assert len(begun) <= 3


@pytest.mark.parametrize(("free", "moved"), [(800, True), (799, False)])
def test_features_go_to_a_gpu_that_has_twice_their_room(
    monkeypatch: pytest.MonkeyPatch, free: int, moved: bool
) -> None:
    """100 float32 take 400 bytes."""
    features, asked = torch.zeros(10, 10), []

    def to(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        asked.append(device)
        return tensor

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**6))
    monkeypatch.setattr(torch.Tensor, "to", to)
    xnn_plan.on_device(features, GPU)
    assert asked == ([GPU] if moved else [])
    assert xnn_plan.on_device(features, CPU) is features
