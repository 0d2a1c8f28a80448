"""The page as a browser lays it out."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from onoma.report import ReportData, write_report

WIDTH_PX = 1100
MEASURE = """<script>
const cut = [...document.querySelectorAll("td, h3, p, li")].filter(one => one.scrollWidth > one.clientWidth + 1);
document.title = JSON.stringify([document.documentElement.scrollWidth, cut.map(one => one.textContent.trim())]);
</script>"""


def measured(page: Path, folder: Path) -> tuple[int, list[str]]:
    """How wide the page is, and what is wider than where it stands."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    copy = page.with_name("measured.html")
    text = page.read_text(encoding="utf-8").replace("<details", "<details open")
    copy.write_text(text.replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={folder}"]
    size = f"--window-size={WIDTH_PX},900"
    made = subprocess.run(
        [chromium, *flags, size, "--dump-dom", copy.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = re.search("<title>(.*?)</title>", made.stdout)
    assert found, made.stderr
    width, cut = json.loads(found[1])
    return width, cut


@pytest.mark.parametrize("name", ["W" * 110, "a class that says everything that it has to say " * 3])
def test_long_names_run_neither_over_their_neighbours_nor_out_of_the_page(
    named: ReportData, tmp_path: Path, name: str
) -> None:
    renamed = replace(
        named,
        annotators=("Ann",),
        classes=tuple(replace(one, class_name=name) for one in named.classes),
        coverage=tuple(replace(one, category=name) for one in named.coverage),
        maps=tuple(replace(one, category=name) for one in named.maps),
        summaries=tuple(replace(one, category=name) for one in named.summaries),
    )
    width, cut = measured(write_report(renamed, tmp_path / "report")[0], tmp_path / "profile")
    assert width <= WIDTH_PX
    assert cut == []
