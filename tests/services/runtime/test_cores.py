"""Threads are as many as a container's limit allows, whatever the machine has."""

import os
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from services.analytics.settings import AnalyticsSettings
from services.attribution.service import build as build_attribution
from services.inference.service import build as build_inference
from services.inference.sessions import open_session
from services.runtime import cores
from services.runtime.cores import cores as allowed
from services.runtime.settings import RuntimeSettings

HERE = os.sched_getaffinity(0)


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Lays out control groups: the file of /proc, and files of groups by their paths; with 8 cores of affinity."""
    monkeypatch.setattr(cores, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "_OF_PROCESS", tmp_path / "of-process")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    def lay_out(of_process: str, **files: str) -> None:
        (tmp_path / "of-process").write_text(of_process)
        for name, content in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return lay_out


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("250000 100000\n", 3),
        ("50000 100000\n", 1),
        ("6400000 100000\n", 8),
    ],
)
def test_a_containers_limit_is_kept(groups, limit: str, expected: int) -> None:
    groups("0::/\n", **{"cpu.max": limit})
    assert allowed() == expected


def test_the_narrowest_of_the_groups_around_counts(groups) -> None:
    groups("0::/pods/one\n", **{"pods/cpu.max": "300000 100000", "pods/one/cpu.max": "max 100000"})
    assert allowed() == 3


def test_a_path_that_is_told_as_the_machine_sees_it_is_no_hindrance(groups) -> None:
    groups("0::/kubepods/pod7/here\n", **{"cpu.max": "400000 100000"})
    assert allowed() == 4


def test_nothing_above_the_uppermost_group_is_read(groups, tmp_path: Path) -> None:
    groups("0::/../elsewhere\n", **{"cpu.max": "max 100000"})
    (tmp_path / "cpu.max").write_text("100000 100000")
    assert allowed() == 8


@pytest.mark.parametrize(("quota", "expected"), [("-1\n", 8), ("150000\n", 2)])
def test_groups_of_version_1_are_understood(groups, quota: str, expected: int) -> None:
    groups(
        "5:cpuset:/\n4:cpu,cpuacct:/docker/abc\n0::/\n",
        **{"cpu/cpu.cfs_quota_us": quota, "cpu/cpu.cfs_period_us": "100000\n"},
    )
    assert allowed() == expected


def test_affinity_counts_where_there_is_no_group(groups) -> None:
    assert allowed() == 8


def test_all_of_them_count_where_the_system_knows_no_affinity(
    groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert allowed() == 6


def test_this_machine_is_understood() -> None:
    assert 1 <= allowed() <= len(HERE)


@pytest.fixture
def one_core(groups, monkeypatch: pytest.MonkeyPatch):
    """A container with one core of a machine with eight, and torch as it is where it sees eight."""
    groups("0::/\n", **{"cpu.max": "100000 100000"})
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("build", [build_inference, build_attribution])
def test_torch_takes_as_many_threads(build, tmp_path: Path) -> None:
    service = build(RuntimeSettings(data_dir=tmp_path / "data"))
    service.close()
    assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("one_core")
def test_fewer_threads_that_were_asked_for_stay_fewer(groups, tmp_path: Path) -> None:
    groups("0::/\n", **{"cpu.max": "400000 100000"})
    torch.set_num_threads(3)
    build_inference(RuntimeSettings(data_dir=tmp_path / "data")).close()
    assert torch.get_num_threads() == 3


def _network() -> bytes:
    inputs, outputs = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "negative", [inputs], [outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.ModelProto.SerializeToString(model)


@pytest.mark.usefixtures("one_core")
def test_onnxruntime_takes_as_many_threads() -> None:
    assert open_session(_network()).get_session_options().intra_op_num_threads == 1


def test_onnxruntime_is_left_to_itself_on_a_whole_machine(groups, monkeypatch: pytest.MonkeyPatch) -> None:
    groups("0::/\n", **{"cpu.max": "max 100000"})
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert open_session(_network()).get_session_options().intra_op_num_threads == 0


@pytest.mark.usefixtures("one_core")
def test_analyses_take_as_many_processes() -> None:
    assert AnalyticsSettings().cores == 1
    assert AnalyticsSettings(analysis_processes=5).cores == 5
