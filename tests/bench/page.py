"""The naming page at 20,000 tiles, in Chromium: python -m tests.bench.page [--tiles N] [--out FILE].

Makes a stand-in study (synthetic pictures, random maps) on a server of its own, opens it in headless Chromium and
measures the bars of the naming page; prints a table and fails where a bar does not hold.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import CDPSession, Page, Request, expect, sync_playwright

from onoma.client import Client
from onoma.v1 import naming_pb2
from tests.bench.page_study import CATEGORY, make_study
from tests.web.conftest import CHROMIUM_FLAGS
from tests.web.server import Server

WINDOW = {"width": 1360, "height": 820}
MAPS_PER_IMAGE = 4
GROUPED = 20
UNDO_STEPS = 200
HAND_S = 0.3  # from the mouse to a key
PROBES = (Path(__file__).parent / "page_probes.js").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Bar:
    """One line of the table."""

    what: str
    measured: float
    at_most: float | None
    unit: str = ""

    @property
    def holds(self) -> bool:
        return self.at_most is None or self.measured <= self.at_most

    def row(self) -> str:
        bar, sign = "", ""
        if self.at_most is not None:
            bar, sign = f"{self.at_most:,.0f} {self.unit}", "yes" if self.holds else "NO"
        return f"| {self.what} | {self.measured:,.0f} {self.unit} | {bar} | {sign} |"


class Requests:
    """Counts the requests of a page, and how often each picture and all maps were asked of the server."""

    def __init__(self, page: Page, cdp: CDPSession) -> None:
        self.all = 0
        self.from_server: Counter[str] = Counter()
        self._cached: set[str] = set()
        page.on("request", self._count)
        cdp.send("Network.enable")
        cdp.on("Network.requestServedFromCache", lambda event: self._cached.add(event["requestId"]))
        cdp.on("Network.responseReceived", self._answered)

    def _count(self, _: Request) -> None:
        self.all += 1

    def _answered(self, event: dict[str, Any]) -> None:
        response = event["response"]
        cached = response.get("fromDiskCache") or event["requestId"] in self._cached
        if not cached:
            self.from_server.update(contents(response["url"]))


def contents(url: str) -> list[str]:
    """What an address asks for that never changes: the ids of its pictures, or the maps."""
    address = urlsplit(url)
    _, is_picture, image_id = address.path.partition("/images")
    if is_picture:
        return [image_id.removeprefix("/")] if image_id else parse_qs(address.query)["image_id"]
    return [url] if address.path.endswith("/maps") else []


def wait(page: Page, holds: str) -> None:
    """Waits until JavaScript holds. (Playwright's own wait is forbidden by the page's security policy.)"""
    until = time.monotonic() + 60
    while not page.evaluate(holds):
        if time.monotonic() > until:
            raise TimeoutError(holds)
        time.sleep(0.1)  # the page's own clock measures: each look takes the cores from it


def first_tiles(page: Page, link: str) -> dict[str, float]:
    """Milliseconds from the start of following the link to what is on the screen, as the page's own clock has it."""
    page.goto(link)
    wait(page, "window.probes?.first.tiles > 0")
    return page.evaluate("probes.first")


def scroll(page: Page) -> dict[str, float]:
    """Wheels on for six seconds and jumps ten times; what rows in sight looked like meanwhile."""
    page.evaluate("probes.watchRows()")
    page.mouse.move(400, 400)
    until = time.monotonic() + 6
    while time.monotonic() < until:
        page.mouse.wheel(0, 120)
        time.sleep(0.03)
    for position in (0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6, 0.0):
        page.evaluate(
            "at => { const g = document.querySelector('.grid-scroller'); g.scrollTop = at * g.scrollHeight }",
            position,
        )
        time.sleep(0.7)
    return page.evaluate("probes.rowsSeen()")


def select_twenty(page: Page, then_s: float = HAND_S) -> None:
    page.locator(".tile").nth(0).click()
    page.locator(".tile").nth(GROUPED - 1).click(modifiers=["Shift"])
    expect(page.locator(".act-bar")).to_contain_text(f"{GROUPED} selected")
    time.sleep(then_s)


def press(page: Page, key: str) -> float:
    """Presses a key; milliseconds until the screen shows what it did."""
    page.evaluate("probes.startKey()")
    page.keyboard.press(key)
    wait(page, "probes.keyPainted > 0")
    return page.evaluate("probes.keyPainted")


def wait_until_saved(page: Page, timeout_s: float = 120) -> None:
    expect(page.locator(".saving")).to_have_text("saved", timeout=1000 * timeout_s)


def acts(page: Page) -> tuple[list[tuple[float, str]], int, float]:
    """Act to paint, in milliseconds, and its key; how many keys went down, Shift too, to group 20 tiles; the longest
    where the key comes while the selection is still being painted."""
    painted: list[tuple[float, str]] = []

    def act(key: str, of: str = f"{GROUPED} tiles") -> None:
        painted.append((press(page, key), f"{key} of {of}"))

    page.evaluate("probes.countKeys()")
    select_twenty(page)
    act("n")
    page.keyboard.press("Enter")
    expect(page.locator(".concept")).to_contain_text(str(GROUPED))
    keys = page.evaluate("probes.keysDown")
    for key in ("1", "x", "Control+z", "1", "Control+z", "Control+Shift+z", "x"):
        if not key.startswith("Control"):
            select_twenty(page)
        act(key)
    page.keyboard.press("Control+a")
    act("x", "all tiles")
    act("Control+z", "all tiles, at once")
    wait_until_saved(page)
    page.keyboard.press("Control+Shift+z")
    wait_until_saved(page)
    act("Control+z", "all tiles, once they are saved")
    wait_until_saved(page)
    hasty = []
    for _ in range(5):
        select_twenty(page, then_s=0)
        hasty.append(press(page, "x"))
    wait_until_saved(page)
    return painted, keys, max(hasty)


def undo_over_a_reload(page: Page, client: Client, key: tuple[str, str, str]) -> float:
    """Does 200 acts, loads the page again, takes all back; how many the server still counts as done."""
    before = client.get_naming(*key).undo_count
    page.locator(".tile").first.click()
    painted = []
    for _ in range(UNDO_STEPS):
        page.keyboard.press("Home")
        painted.append(press(page, "x"))
    wait_until_saved(page)
    assert client.get_naming(*key).undo_count == before + UNDO_STEPS
    page.reload()
    expect(page.locator(".tile").first).to_be_visible()
    for _ in range(UNDO_STEPS):
        page.keyboard.press("Control+z")
    wait_until_saved(page)
    return client.get_naming(*key).undo_count - before


def heap_mb(cdp: CDPSession) -> float:
    """The script heap with the buffers that it holds, without garbage."""
    cdp.send("HeapProfiler.collectGarbage")
    usage = cdp.send("Runtime.getHeapUsage")
    return (usage["usedSize"] + usage.get("backingStorageSize", 0)) / 1e6


def measure(page: Page, cdp: CDPSession, link: str, client: Client, study: naming_pb2.Study) -> list[Bar]:
    requests = Requests(page, cdp)
    first = first_tiles(page, link)
    annotator_id = page.url.split("/")[5].split("?")[0]
    rows = scroll(page)

    page.evaluate("document.querySelector('.grid').focus()")
    before = requests.all
    opacity = [press(page, key) for key in ("Shift+O", "Shift+O", "O", "O", "p")]
    page.keyboard.up("p")
    colours = [press(page, "c") for _ in range(6)]
    assert len(set(page.evaluate("probes.coloursSeen"))) == 3, "the maps did not change their colours"
    look_requests = requests.all - before

    painted, keys, hasty = acts(page)
    undone = undo_over_a_reload(page, client, (study.study_id, annotator_id, CATEGORY))
    heap = heap_mb(cdp)
    most_asked = max(requests.from_server.values())
    known = set(requests.from_server)

    requests.from_server.clear()
    page.reload()
    wait(page, "window.probes?.first.tiles > 0")
    first_again = page.evaluate("probes.first.tiles")
    again = scroll(page)
    second_visit = sum(requests.from_server[one] for one in known)
    return [
        Bar(
            "all tiles in sight with photograph and map, after following the link", first["tiles"], 1000, "ms"
        ),
        Bar("the same on the second visit", first_again, 1000, "ms"),
        Bar("of which: the first tile without its pictures", first["frames"], None, "ms"),
        Bar("of which: the first photograph", first["photo"], None, "ms"),
        Bar("of which: all photographs in sight", first["photos"], None, "ms"),
        Bar("tile nodes mounted, at most", max(rows["tiles"], again["tiles"]), 399),
        Bar(
            "row in sight without any tile or picture, longest", max(rows["blank"], again["blank"]), 200, "ms"
        ),
        Bar("act to paint, median", statistics.median(took for took, _ in painted), 50, "ms"),
        Bar(f"act to paint, longest: {max(painted)[1]}", max(painted)[0], 50, "ms"),
        *(Bar(f"of which: {what}", took, None, "ms") for took, what in sorted(painted)[-4:-1]),
        Bar(f"for comparison: x at once after the selection of {GROUPED} tiles, longest", hasty, None, "ms"),
        Bar("opacity and plain photographs to paint, longest", max(opacity), 50, "ms"),
        Bar("other map colours to paint, longest", max(colours), 50, "ms"),
        Bar("requests of those", look_requests, 0),
        Bar("script heap with buffers", heap, 300, "MB"),
        Bar("requests of the server for the same picture or maps, most", most_asked, 1),
        Bar("of those that reach the server again on the second visit", second_visit, 0),
        Bar(f"key presses to group {GROUPED} tiles (Shift with the mouse among them)", keys, 3),
        Bar(f"acts left after {UNDO_STEPS} acts, a reload and {UNDO_STEPS} undos", undone, 0),
        Bar(
            "for comparison: photograph in sight not here yet below its map, longest",
            rows["photo"],
            None,
            "ms",
        ),
    ]


def table(bars: list[Bar], tiles: int) -> str:
    lines = [
        f"Stand-in study of {tiles:,} tiles ({tiles // MAPS_PER_IMAGE:,} synthetic pictures), Chromium headless, "
        f"window {WINDOW['width']}x{WINDOW['height']}, `python -m tests.bench.page --tiles {tiles}`, {os.cpu_count()} "
        f"cores, load average {os.getloadavg()[0]:.1f}",
        "",
        "| what | measured | bar | holds |",
        "|---|---:|---:|---|",
        *(bar.row() for bar in bars),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Exit 1 where a bar does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiles", type=int, default=20_000)
    parser.add_argument("--out", type=Path, help="also write the table here")
    parser.add_argument("--keep", type=Path, help="folder to keep the study in, and to find it in next time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        server = Server(folder / "data")
        server.start()
        try:
            with server.client() as client:
                study = next(client.list_studies(), None) or make_study(
                    client, folder, arguments.tiles, MAPS_PER_IMAGE
                )
                token = client.invite_annotator(study.study_id, f"at {time.time():.0f}").token
                with sync_playwright() as playwright:
                    context = playwright.chromium.launch_persistent_context(
                        Path(scratch) / "profile",
                        executable_path=shutil.which("chromium"),
                        args=CHROMIUM_FLAGS,
                        viewport=WINDOW,
                    )
                    context.add_init_script(PROBES)
                    page = context.pages[0]
                    cdp = context.new_cdp_session(page)
                    bars = measure(page, cdp, f"{server.url}/name#{token}", client, study)
                    context.close()
        finally:
            server.kill()
    text = table(bars, arguments.tiles)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    sys.exit(0 if all(bar.holds for bar in bars) else 1)


if __name__ == "__main__":
    main()
