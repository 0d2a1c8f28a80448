"""Freed memory is kept for the next request, and what a start has made is left alone until the end."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from services.runtime.memory import keep_freed_memory
if "keep" in sys.argv and not keep_freed_memory():
    sys.exit("the C library is not glibc")

def work(times):
    for _ in range(times):
        blocks = [bytearray(100_000_000) for _ in range(2)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

with ThreadPoolExecutor(1) as thread:
    before = thread.submit(work, 1).result()
    print(thread.submit(work, 10).result() - before)
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


def test_a_server_ends_without_a_word_about_leaks():
    """torch brings triton, which looks at its end for what nobody collected."""
    script = """
import torch._dynamo
from services.runtime.memory import leave_out_of_collections
leave_out_of_collections()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
