"""`onoma up` as a process of its own: what its terminal shows from start to end."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from onoma.client import Addresses, Client, NotFound

SERVICES = ("inference", "attribution", "naming", "analytics")


def test_the_terminal_of_onoma_up_shows_addresses_and_nothing_else(tmp_path: Path) -> None:
    """Not what somebody asked for in vain, which is said there, and at the end nothing about leaks."""
    ports = {f"ONOMA_{service.upper()}_ADDRESS": "127.0.0.1:0" for service in SERVICES}
    of_up = {"ONOMA_DATA_DIR": str(tmp_path), "ONOMA_HTTP_PORT": "0"}
    up = subprocess.Popen(
        [sys.executable, "-m", "onoma", "up"],
        env={**os.environ, **ports, **of_up, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert up.stdout is not None
        shown = ""
        while "Ctrl-C ends it." not in shown.replace("\n", " "):
            line = up.stdout.readline()
            assert line, "it ended before it was up"
            shown += line
        addresses = Addresses(**dict(re.findall(r"^  (\w+) at (\S+)$", shown, re.MULTILINE)))
        assert f"  data in {tmp_path}\n" in shown
        [page] = re.findall(r"^Onoma is up: (\S+)$", shown, re.MULTILINE)
        assert f"onoma study invite STUDY NAME --page {page}\n" in shown
        with Client(addresses) as client, pytest.raises(NotFound):
            client.get_study("nothing-here")
        asking = {f"ONOMA_{name.upper()}_ADDRESS": address for name, address in vars(addresses).items()}
        for what in ("dataset", "model", "xnn", "study"):
            listed = subprocess.run(
                [sys.executable, "-m", "onoma", what, "list"],
                env={**os.environ, **asking},
                capture_output=True,
                text=True,
                check=True,
            )
            assert f"yet: onoma {what} " in listed.stdout, "an empty list says how something gets into it"
        up.send_signal(signal.SIGINT)
        _, said = up.communicate(timeout=60)
    finally:
        up.kill()
        up.wait()
    assert (up.returncode, said) == (0, "")
