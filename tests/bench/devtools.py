"""A tab of Chromium, driven by the DevTools protocol alone.

Playwright watches the network of every page it drives, and can't be told not to. To a page whose pictures are data
addresses that is a message a picture before the page is painted: an act took 46 ms to show where it takes 27.
"""

import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.web.conftest import CHROMIUM_FLAGS

START_S, WAIT_S = 30, 120
LOOK_S = 0.1  # each look takes the cores from the page
SETTLE_S = 2  # what a browser does when it starts is over by then
_MODIFIERS = {"Control": 2, "Shift": 8}
_KEYS = {  # code, number, text
    "Enter": ("Enter", 13, "\r"),
    "Home": ("Home", 36, ""),
    "Shift": ("ShiftLeft", 16, ""),
}


class Tab:
    """A page, its mouse and its keys."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._listeners: dict[str, Callable[[dict[str, Any]], None]] = {}

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """The result of a method of the protocol; what happened meanwhile goes to who listens.

        Raises:
            RuntimeError: the browser refused it.
        """
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message: dict[str, Any] = json.loads(self._connection.recv(timeout=WAIT_S))
            if message.get("id") == number:
                break
            if listener := self._listeners.get(message.get("method", "")):
                listener(message["params"])
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        result: dict[str, Any] = message["result"]
        return result

    def listen(self, event: str, listener: Callable[[dict[str, Any]], None]) -> None:
        """Has `listener` called with what comes along with an event, whose domain is to be enabled."""
        self._listeners[event] = listener

    def evaluate(self, script: str) -> Any:
        """What a script comes to.

        Raises:
            RuntimeError: it failed.
        """
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, holds: str) -> Any:
        """What a script comes to, once that counts as true.

        Raises:
            TimeoutError: it doesn't within two minutes.
        """
        until = time.monotonic() + WAIT_S
        while not (found := self.evaluate(holds)):
            if time.monotonic() > until:
                raise TimeoutError(holds)
            time.sleep(LOOK_S)
        return found

    def open(self, address: str) -> None:
        """Goes there, and waits until the page is loaded."""
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def reload(self) -> None:
        """Loads the page again, and waits until it is loaded."""
        self.evaluate("window.isLeft = true")
        self.call("Page.reload")
        self.wait("!window.isLeft && document.readyState === 'complete'")

    def press(self, keys: str, hold_s: float = 0) -> None:
        """Presses keys and lets them go: "x", "Control+Shift+z", "Enter"."""
        *held, key = keys.split("+")
        modifiers = sum(_MODIFIERS[one] for one in held)
        kind = "Digit" if key.isdigit() else "Key"
        code, number, text = _KEYS.get(key, (f"{kind}{key.upper()}", ord(key[0].upper()), key))
        pressed = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        if "Control" not in held:
            pressed["text"] = text
        self.call("Input.dispatchKeyEvent", type="keyDown", **pressed)
        time.sleep(hold_s)
        self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def click(self, selector: str, number: int, *, shift: bool = False) -> None:
        """Clicks into the middle of an element, the `number`-th from 0 of those that fit."""
        box = f"document.querySelectorAll('{selector}')[{number}].getBoundingClientRect()"
        x, y = self.evaluate(f"(({{ x, y, width, height }}) => [x + width / 2, y + height / 2])({box})")
        at = {"x": x, "y": y, "button": "left", "clickCount": 1, "modifiers": _MODIFIERS["Shift"] * shift}
        if shift:
            self.press("Shift")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **at)

    def wheel(self, down: int) -> None:
        """Turns the wheel above the left half of the page by so many CSS pixels."""
        at = {"x": 400, "y": 400, "deltaX": 0, "deltaY": down}
        self.call("Input.dispatchMouseEvent", type="mouseWheel", **at)


@contextmanager
def new_browser(width: int, height: int, script: str) -> Iterator[Tab]:
    """A tab of a headless browser that has seen nothing yet.

    Args:
        script: runs in every page before its own.
    Raises:
        FileNotFoundError: there is no chromium.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        raise FileNotFoundError("no chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = ["--headless", "--remote-debugging-port=0", f"--user-data-dir={profile}", *CHROMIUM_FLAGS]
        running = subprocess.Popen([chromium, *flags, "about:blank"], stderr=subprocess.DEVNULL)
        try:
            with connect(_address(Path(profile)), max_size=None) as connection:
                tab = Tab(connection)
                tab.call("Page.enable")
                tab.call("Page.addScriptToEvaluateOnNewDocument", source=script)
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                tab.call("Emulation.setDeviceMetricsOverride", **size)
                time.sleep(SETTLE_S)
                yield tab
        finally:
            running.terminate()
            running.wait(START_S)


def _address(profile: Path) -> str:
    """Where the browser's one tab takes calls; the port is written down by the browser."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            port = (profile / "DevToolsActivePort").read_text().splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                for target in json.load(answer):
                    if target["type"] == "page":
                        return str(target["webSocketDebuggerUrl"])
        except (OSError, IndexError):
            pass
        time.sleep(LOOK_S)
    raise TimeoutError(f"chromium did not start within {START_S} s")
