"""Lines of the log: whole, one JSON object each, none missing when the process ends."""

import json
import subprocess
import sys

_MANY_AT_ONCE = """
import logging, threading
from services.runtime.logs import log_json, request_id

log_json("INFO")

def call(number):
    request_id.set(f"id-{number}")
    for line in range(200):
        logging.getLogger("onoma.calls").info("done", extra={"line": line})

calls = [threading.Thread(target=call, args=(number,)) for number in range(8)]
for one in calls:
    one.start()
for one in calls:
    one.join()
"""


def test_lines_of_calls_that_run_at_once_are_whole_in_their_order_and_all_there():
    ended = subprocess.run(
        [sys.executable, "-c", _MANY_AT_ONCE], capture_output=True, text=True, timeout=60, check=True
    )
    seen: dict[str, list[int]] = {}
    for line in ended.stderr.splitlines():
        entry = json.loads(line)
        seen.setdefault(entry["request_id"], []).append(entry["line"])
    assert seen == {f"id-{number}": list(range(200)) for number in range(8)}
