"""The small form of `make soak`: memory in use does not grow with the number of images explained.

In a process of its own: the heap of one that ran other tests has room in which a leak would not show.
"""

import json
import subprocess
import sys

import pytest

BOUND_KB = 4.0  # an image; what else goes on in the process comes to about 1
DEADLINE_S = 300


def soaked(*options: str) -> tuple[int, float]:
    """Exit code, and the growth of resident memory in KB an image."""
    small = ["--images", "1000", "--batch", "4", "--bound", str(BOUND_KB), "--device", "cpu", "--json"]
    command = [sys.executable, "-m", "tests.bench.soak", *small, *options]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=DEADLINE_S)
    (resident,) = json.loads(ended.stdout)["memory"]
    return ended.returncode, resident["kb_an_image"]


def test_memory_stays_flat_over_many_images() -> None:
    code, grown = soaked()
    assert grown < BOUND_KB
    assert code == 0


@pytest.mark.slow
def test_a_leak_of_16_kb_an_image_is_seen() -> None:
    code, grown = soaked("--leak", "16")
    assert grown == pytest.approx(16, abs=BOUND_KB)
    assert code == 1
