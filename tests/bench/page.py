"""The naming page at 20,000 tiles, in Chromium: python -m tests.bench.page [--tiles N] [--out FILE].

Makes a stand-in study (synthetic pictures, random maps) on a server of its own, opens it in headless Chromium and
measures the bars of the naming page; prints a table and fails where a bar does not hold.
"""

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from onoma.client import Client
from onoma.v1 import naming_pb2
from tests.bench.devtools import Tab, new_browser
from tests.bench.page_study import CATEGORY, make_study
from tests.web.server import Server

WINDOW = {"width": 1360, "height": 820}
MAPS_PER_IMAGE = 4
GROUPED = 20
UNDO_STEPS = 200
ROUNDS = 12  # of acts
LEFT_OUT_OF = 50  # acts one, the longest: so Interaction to Next Paint counts (web.dev), the field's measure
HAND_S = 0.3  # that a hand takes from the mouse, or from one key, to the next
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

    def __init__(self, tab: Tab) -> None:
        self.all = 0
        self.from_server: Counter[str] = Counter()
        self._cached: set[str] = set()
        tab.listen("Network.requestWillBeSent", self._asked)
        tab.listen("Network.requestServedFromCache", lambda event: self._cached.add(event["requestId"]))
        tab.listen("Network.responseReceived", self._answered)
        tab.call("Network.enable")

    def _asked(self, event: dict[str, Any]) -> None:
        self.all += not event["request"]["url"].startswith("data:")

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


def first_tiles(tab: Tab) -> dict[str, float]:
    """Milliseconds from the start of the visit to what is on the screen, as the page's own clock has it."""
    tab.wait("window.probes?.first.tiles > 0")
    first: dict[str, float] = tab.evaluate("probes.first")
    return first


def scroll(tab: Tab) -> dict[str, float]:
    """Wheels on for six seconds and jumps ten times; what rows in sight looked like meanwhile."""
    tab.evaluate("probes.watchRows()")
    until = time.monotonic() + 6
    while time.monotonic() < until:
        tab.wheel(120)
        time.sleep(0.03)
    for position in (0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6, 0.0):
        grid = "document.querySelector('.grid-scroller')"
        tab.evaluate(f"{grid}.scrollTop = {position} * {grid}.scrollHeight")
        time.sleep(0.7)
    seen: dict[str, float] = tab.evaluate("probes.rowsSeen()")
    return seen


def look(tab: Tab) -> tuple[list[float], list[float]]:
    """Milliseconds until other opacities and plain photographs show, and until other colours of the maps do."""
    tab.evaluate("document.querySelector('.grid').focus()")
    opacity = [press(tab, key) for key in ("Shift+O", "Shift+O", "O", "O")]
    opacity.append(press(tab, "p", HAND_S))  # photographs are plain as long as it is held
    colours = [press(tab, "c") for _ in range(6)]
    assert len(set(tab.evaluate("probes.coloursSeen"))) == 3, "the maps did not change their colours"
    return opacity, colours


def select_twenty(tab: Tab) -> None:
    tab.click(".tile", 0)
    tab.click(".tile", GROUPED - 1, shift=True)
    tab.wait(f"document.querySelector('.act-bar').textContent.includes('{GROUPED} selected')")


def press(tab: Tab, key: str, hold_s: float = 0) -> float:
    """Presses a key; milliseconds until the screen shows what it did."""
    tab.evaluate("probes.startKey()")
    tab.press(key, hold_s)
    painted: float = tab.wait("probes.keyPainted")
    return painted


def wait_until_saved(tab: Tab) -> None:
    tab.wait("document.querySelector('.saving').textContent === 'saved'")


def acts(tab: Tab) -> tuple[dict[str, list[float]], dict[str, list[float]], int]:
    """Act to paint, in milliseconds, of each kind of act, as often as there are rounds; the same where the key comes
    at once, while what was before is still being painted; how many keys went down, Shift too, to group 20 tiles."""
    painted: dict[str, list[float]] = {}
    hasty: dict[str, list[float]] = {}

    def act(key: str, of: str = f"{GROUPED} tiles") -> None:
        time.sleep(HAND_S)
        painted.setdefault(f"{key} of {of}", []).append(press(tab, key))

    keys = 0
    tab.evaluate("probes.countKeys()")
    for number in range(1, ROUNDS + 1):
        select_twenty(tab)
        act("n")
        tab.press("Enter")
        tab.wait(f"document.querySelectorAll('.concept')[{number - 1}]?.textContent.includes('{GROUPED}')")
        keys = keys or tab.evaluate("probes.keysDown")
        for key in ("1", "Control+z", "Control+Shift+z", "x"):
            if not key.startswith("Control"):
                select_twenty(tab)
            act(key)
        for then_s, times in ((HAND_S, painted), (0, hasty)):
            tab.press("Control+a")
            act("x", "all tiles")
            time.sleep(then_s)
            times.setdefault("Control+z of all tiles, while they are saved", []).append(
                press(tab, "Control+z")
            )
            wait_until_saved(tab)
        tab.press("Control+Shift+z")
        wait_until_saved(tab)
        act("Control+z", "all tiles, once they are saved")
        wait_until_saved(tab)
    for _ in range(ROUNDS):
        select_twenty(tab)
        hasty.setdefault(f"x of {GROUPED} tiles", []).append(press(tab, "x"))
    wait_until_saved(tab)
    return painted, hasty, keys


def undo_over_a_reload(tab: Tab, client: Client, key: tuple[str, str, str]) -> float:
    """Does 200 acts, loads the page again, takes all back; how many the server still counts as done."""
    before = client.get_naming(*key).undo_count
    tab.click(".tile", 0)
    for _ in range(UNDO_STEPS):
        tab.press("Home")
        press(tab, "x")
    wait_until_saved(tab)
    assert client.get_naming(*key).undo_count == before + UNDO_STEPS
    tab.reload()
    first_tiles(tab)
    for _ in range(UNDO_STEPS):
        tab.press("Control+z")
    wait_until_saved(tab)
    return client.get_naming(*key).undo_count - before


def heap_mb(tab: Tab) -> float:
    """The script heap with the buffers that it holds, without garbage."""
    tab.call("HeapProfiler.collectGarbage")
    usage = tab.call("Runtime.getHeapUsage")
    return float(usage["usedSize"] + usage.get("backingStorageSize", 0)) / 1e6


def measured_times(tab: Tab, link: str, client: Client, study: naming_pb2.Study) -> list[Bar]:
    """What takes how long; nobody watches the network meanwhile."""
    tab.open(link)
    first = first_tiles(tab)
    annotator_id = tab.evaluate("location.pathname").split("/")[3]
    rows = scroll(tab)
    opacity, colours = look(tab)
    painted, hasty, keys = acts(tab)
    every_act = sorted(itertools.chain(*painted.values()))
    undone = undo_over_a_reload(tab, client, (study.study_id, annotator_id, CATEGORY))
    heap = heap_mb(tab)
    tab.reload()
    first_again = first_tiles(tab)["tiles"]
    again = scroll(tab)
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
        *(
            Bar(f"act to paint, median of {len(times)}: {what}", statistics.median(times), 50, "ms")
            for what, times in painted.items()
        ),
        Bar(
            f"act to paint, the longest of all {len(every_act)} but one of each {LEFT_OUT_OF}",
            every_act[-1 - len(every_act) // LEFT_OUT_OF],
            50,
            "ms",
        ),
        *(
            Bar(f"of which: longest of {len(times)}: {what}", max(times), None, "ms")
            for what, times in painted.items()
        ),
        *(
            Bar(f"for comparison, the key at once, longest of {len(times)}: {what}", max(times), None, "ms")
            for what, times in hasty.items()
        ),
        Bar("opacity and plain photographs to paint, longest", max(opacity), 50, "ms"),
        Bar("other map colours to paint, longest", max(colours), 50, "ms"),
        Bar("script heap with buffers", heap, 300, "MB"),
        Bar(f"key presses to group {GROUPED} tiles (Shift with the mouse among them)", keys, 3),
        Bar(f"acts left after {UNDO_STEPS} acts, a reload and {UNDO_STEPS} undos", undone, 0),
        Bar(
            "for comparison: photograph in sight not here yet below its map, longest",
            rows["photo"],
            None,
            "ms",
        ),
    ]


def counted_requests(tab: Tab, link: str) -> list[Bar]:
    """What is asked for how often, in a browser that has not been here yet."""
    requests = Requests(tab)
    tab.open(link)
    first_tiles(tab)
    scroll(tab)
    before = requests.all
    look(tab)
    look_requests = requests.all - before
    most_asked = max(requests.from_server.values())
    known = set(requests.from_server)

    requests.from_server.clear()
    tab.reload()
    first_tiles(tab)
    scroll(tab)
    second_visit = sum(requests.from_server[one] for one in known)
    return [
        Bar("requests of other opacities, plain photographs and other colours", look_requests, 0),
        Bar("requests of the server for the same picture or maps, most", most_asked, 1),
        Bar("of those that reach the server again on the second visit", second_visit, 0),
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
                link = f"{server.url}/name#{token}"
                with new_browser(**WINDOW, script=PROBES) as tab:
                    bars = measured_times(tab, link, client, study)
                with new_browser(**WINDOW, script=PROBES) as tab:
                    bars += counted_requests(tab, link)
        finally:
            server.kill()
    text = table(bars, arguments.tiles)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    sys.exit(0 if all(bar.holds for bar in bars) else 1)


if __name__ == "__main__":
    main()
