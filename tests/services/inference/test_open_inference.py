"""The Open Inference Protocol: each test of triton_client.py, run beside Triton's stubs in a process of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.services.processes import running

TESTS = Path(__file__).with_name("triton_client.py")
NAMES = re.findall(r"^def (test_\w+)", TESTS.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def outcomes(registered_dir, program, tmp_path_factory):
    """What went wrong in each of its tests."""
    folder = tmp_path_factory.mktemp("open")
    shutil.copytree(registered_dir, folder / "onoma-data")
    (folder / "tiny.pt2").write_bytes(program)
    with running("inference", data_dir=str(folder / "onoma-data")) as (_, address):
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", str(TESTS), "--noconftest", "-p", "no:cacheprovider"),
                f"--junitxml={folder / 'results.xml'}",
            ],
            env=os.environ | {"ONOMA_TEST_ADDRESS": address, "ONOMA_TEST_PROGRAM": str(folder / "tiny.pt2")},
            capture_output=True,
            text=True,
        )
    assert (folder / "results.xml").is_file(), ended.stdout + ended.stderr
    cases = ElementTree.parse(folder / "results.xml").iter("testcase")
    found = {name: [] for name in NAMES}
    for case in cases:
        wrong = [*case.iter("failure"), *case.iter("error"), *case.iter("skipped")]
        found[case.get("name").partition("[")[0]].append("".join(element.text or "" for element in wrong))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_tritons_public_client(outcomes, name):
    assert outcomes[name], f"{name} did not run"
    assert not "".join(outcomes[name])
