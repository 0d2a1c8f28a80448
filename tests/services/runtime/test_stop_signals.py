"""A signal to stop is seen whenever it comes."""

import subprocess
import sys

ROUNDS = 20_000

HURRIED = f"""
import os, random, signal, threading, time
from services.runtime.stop_signals import StopSignals

is_made = threading.Semaphore(0)

def send():
    while True:
        is_made.acquire()
        time.sleep(random.random() * 1e-4)
        os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=send, daemon=True).start()
for _ in range({ROUNDS}):
    stop = StopSignals()
    is_made.release()
    stop.wait()
"""


def test_a_signal_in_the_moment_before_the_wait_ends_it():
    """With an Event in its place the wait went on for ever after 2,000 to 22,000 rounds (five tries)."""
    subprocess.run([sys.executable, "-c", HURRIED], check=True, timeout=120)


def test_a_signal_before_the_wait_ends_it_and_another_one_changes_nothing():
    early = (
        "import os, signal; from services.runtime.stop_signals import StopSignals; stop = StopSignals(); "
        "os.kill(os.getpid(), signal.SIGINT); stop.wait(); os.kill(os.getpid(), signal.SIGTERM)"
    )
    subprocess.run([sys.executable, "-c", early], check=True, timeout=60)
