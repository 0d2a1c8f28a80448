"""Takes the pictures of the README: python -m tests.web.screenshots URL TOKEN FOLDER.

URL is a running Onoma (http://127.0.0.1:8080), TOKEN an invitation (`onoma study invite`).
The naming is photographed as it stands, so name a few groups first.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from tests.web.conftest import CHROMIUM_FLAGS

SIZE = {"width": 1360, "height": 820}


def photograph(browser: Browser, url: str, token: str, folder: Path, scheme: str) -> None:
    """FOLDER/naming-SCHEME.png, large-view-SCHEME.png and study-SCHEME.png."""
    context = browser.new_context(viewport=SIZE, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{url}/name#{token}")
    expect(page.locator(".tile").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    for position in (1, 3, 4):
        page.locator(".tile").nth(position).click(modifiers=["Control"])
    page.mouse.move(0, 0)
    page.screenshot(path=folder / f"naming-{scheme}.png")
    page.locator(".tile").first.dblclick()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=folder / f"large-view-{scheme}.png")
    study_id = page.url.split("/name/")[1].split("/")[0]
    page.goto(f"{url}/studies/{study_id}")
    expect(page.locator(".summary")).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=folder / f"study-{scheme}.png", full_page=True)
    context.close()


def main() -> None:
    """Light and dark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        for scheme in ("light", "dark"):
            photograph(browser, arguments.url.rstrip("/"), arguments.token, arguments.folder, scheme)
        browser.close()


if __name__ == "__main__":
    main()
