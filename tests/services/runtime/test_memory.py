"""Freed memory is kept for the next request."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys
from services.runtime.memory import keep_freed_memory
if "keep" in sys.argv and not keep_freed_memory():
    sys.exit("the C library is not glibc")
blocks = [bytearray(30_000_000) for _ in range(2)]
del blocks
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    blocks = [bytearray(30_000_000) for _ in range(2)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments):
    command = [sys.executable, "-c", FAULTS, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if ended.returncode:
        pytest.skip(ended.stderr)
    return int(ended.stdout)


def test_large_blocks_are_not_taken_anew_from_the_system():
    assert faults("keep") < 100
    assert faults() > 1000
