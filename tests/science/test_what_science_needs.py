"""onoma.science, and the benchmark of maps, on a machine that has torch, numpy and pillow and little else."""

import subprocess
import sys

NOT_THERE = (
    "alembic", "captum", "google", "grpc", "jinja2", "matplotlib", "minio", "onnxruntime", "psycopg", "pydantic",
    "safetensors", "scipy", "sqlalchemy", "sqlmodel", "starlette", "typer", "uvicorn", "zennit",
)  # fmt: skip
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({NOT_THERE}))\n"  # None: an import fails, find_spec finds none


def run_without(code: str) -> str:
    """What a fresh Python prints where these packages cannot be imported."""
    done = subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_of_science_is_imported_without_services_and_their_libraries() -> None:
    code = (
        "import importlib, pkgutil, onoma.science as science\n"
        "for module in pkgutil.iter_modules(science.__path__):\n"
        "    print(importlib.import_module(f'onoma.science.{module.name}').__name__)\n"
    )
    assert "onoma.science.excitation" in run_without(code).split()


def test_the_benchmark_of_maps_leaves_out_libraries_that_are_not_there() -> None:
    code = (
        "from tests.bench import excitation, excitation_peers\n"
        "print(excitation_peers.ways(subject=None), excitation.PIXELS)\n"
    )
    assert run_without(code).startswith("{} Onoma")
