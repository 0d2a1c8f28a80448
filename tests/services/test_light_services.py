"""Naming, analytics and the gateway start where torch is not installed, which is how their images are."""

import subprocess
import sys

import pytest

# What requirements/serve-light.txt leaves out, and what only comes with it.
_HEAVY = ["torch", "torchvision", "safetensors", "onnx", "onnxruntime", "onnxscript", "triton", "sympy"]
_WITHOUT = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
for name in {modules}:
    importlib.import_module(name)
"""


def _import_without_torch(modules: list[str]) -> subprocess.CompletedProcess[str]:
    program = _WITHOUT.format(heavy=_HEAVY, modules=modules)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "modules",
    [
        ["services.naming.service"],
        ["services.analytics.service", "services.analytics.statistics"],
        ["services.gateway.app", "services.gateway.reports", "onoma.report.study"],
    ],
    ids=["naming", "analytics", "gateway"],
)
def test_a_light_service_is_imported_without_torch(modules: list[str]) -> None:
    imported = _import_without_torch(modules)
    assert imported.returncode == 0, imported.stderr[-1000:]


def test_attribution_is_not_light() -> None:
    assert "No module named 'torch'" in _import_without_torch(["services.attribution.service"]).stderr
