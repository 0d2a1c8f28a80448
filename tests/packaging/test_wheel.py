"""The wheel, built from the tree and installed where nothing else is, used beside a server of the test suite."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.check_wheel import wrongs
from tests.conftest import OpenStudy
from tests.worked_example import FILE as EXAMPLE
from tests.worked_example import VALUES, compare

ROOT = Path(__file__).parents[2]
MOST_BYTES = 60_000_000
"""What `pip install onoma` may take on disk: with all it depends on, without pip itself."""

SIZES = """
from importlib.metadata import distributions
print(sum(
    file.locate().stat().st_size
    for found in distributions() if found.name not in ("pip", "setuptools")
    for file in found.files if file.locate().is_file()
))
"""


@dataclass(frozen=True)
class Installed:
    """An environment of its own, in which the wheel is installed."""

    bin: Path

    def run(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a program of it, away from the checkout."""
        program, *rest = map(str, arguments)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ONOMA_", "PYTHON"))}
        return subprocess.run(
            [self.bin / program, *rest],
            capture_output=True,
            text=True,
            timeout=240,
            cwd=self.bin,
            env=kept | environment,
            check=False,
        )

    def python(self, code: str, **environment: str) -> str:
        done = self.run("python", "-c", code, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(self, what: str) -> None:
        """With the versions that are pinned."""
        pins = ROOT / "requirements" / "dev.txt"
        done = self.run("python", "-m", "pip", "install", "--quiet", "--constraint", pins, what)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        ["sh", "scripts/build-wheel.sh", str(out)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHON": sys.executable},
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """`pip install onoma` and no more."""
    folder = tmp_path_factory.mktemp("base")
    probe = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "mdurl", "--dest", folder],
        capture_output=True,
        check=False,
    )
    if probe.returncode:
        pytest.skip("pip reaches no package registry: what the wheel needs cannot be installed")
    venv.create(folder / "environment", with_pip=True)
    installed = Installed(folder / "environment" / "bin")
    installed.install(str(wheel))
    return installed


@pytest.fixture(scope="module")
def with_analysis(base: Installed, wheel: Path) -> Installed:
    """The same after `pip install 'onoma[analysis]'`."""
    base.install(f"{wheel}[analysis]")
    return base


@pytest.fixture
def addresses(open_study: OpenStudy) -> dict[str, str]:
    return {f"ONOMA_{name.upper()}_ADDRESS": at for name, at in open_study.running.addresses.items()}


def test_a_wheel_without_its_page_or_a_stub_is_refused(wheel: Path, tmp_path: Path) -> None:
    poor = tmp_path / wheel.name
    left_out = ("onoma/web/index.html", "onoma/v1/naming_pb2.pyi")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(poor, "w") as rest:
        for name in whole.namelist():
            if name not in left_out:
                rest.writestr(name, whole.read(name))
    assert wrongs(poor, ROOT) == [
        "onoma/v1/naming_pb2.pyi is missing: make protos",
        "onoma/web/index.html is missing: make web",
    ]


def test_the_base_install_is_small(base: Installed) -> None:
    assert int(base.python(SIZES)) < MOST_BYTES


def test_the_base_install_has_no_torch_and_no_arrays(base: Installed) -> None:
    found = base.python(
        "from importlib.util import find_spec; print([p for p in ('torch', 'numpy', 'scipy') if find_spec(p)])"
    )
    assert found.strip() == "[]"


def test_the_client_lists_the_studies_of_a_server(
    base: Installed, open_study: OpenStudy, addresses: dict[str, str]
) -> None:
    listed = base.python(
        "from onoma.client import Client\n"
        "with Client() as client: print([study.study_id for study in client.list_studies()])",
        **addresses,
    )
    assert open_study.study.study_id in listed


def test_a_command_lists_the_studies_of_a_server(
    base: Installed, open_study: OpenStudy, addresses: dict[str, str]
) -> None:
    done = base.run("onoma", "study", "list", "--json", **addresses)
    assert done.returncode == 0, done.stderr
    assert open_study.study.name in [study["name"] for study in json.loads(done.stdout)]


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["up"], "serve"),
        (["demo"], "demo"),
        (["analyse", EXAMPLE], "analysis"),
        (["report", "shapes", "--out", "report"], "report"),
        (["model", "check", EXAMPLE], "torch"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_command_says_which_extra_it_needs(base: Installed, command: list[str], extra: str) -> None:
    done = base.run("onoma", *command)
    assert done.returncode == 1
    assert done.stderr.endswith(f"pip install 'WHEEL[{extra}]'\n")
    assert len(done.stderr.splitlines()) == 1


def test_the_worked_example_is_analysed_with_the_extra(with_analysis: Installed) -> None:
    done = with_analysis.run("onoma", "analyse", EXAMPLE, "--json")
    assert done.returncode == 0, done.stderr
    assert compare(json.loads(done.stdout)) == VALUES
    with_analysis.python("from importlib.util import find_spec; assert find_spec('torch') is None")
