"""Takes the pictures of the README: python -m tests.web.screenshots [--demo FOLDER] [--out FOLDER].

Serves a copy of the demo's data where `make demo` has left it, or else makes a study of synthetic shapes; simulated
annotators, called that, name the maps by where they lie. Writes naming-light, naming-dark, large-view, study and
results.
"""

import argparse
import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from onoma.client import Client
from onoma.demo.simulated import annotator_name, name_by_place
from onoma.v1 import inference_pb2, naming_pb2
from tests.synthetic import CLASSES, tiny_program, write_image_folder
from tests.web.conftest import CHROMIUM_FLAGS
from tests.web.server import Server

WINDOW = {"width": 1360, "height": 820}
SHARPNESS = 85  # of WebP
ANNOTATORS = 3
STEP_MS = 60_000


def synthetic_study(client: Client, folder: Path) -> naming_pb2.Study:
    """The main job on synthetic shapes, up to an open study."""
    images = write_image_folder(folder / "shapes", test=64)
    client.import_dataset("shapes", str(images)).wait()
    client.register_model("tiny", tiny_program(images)).wait()
    settings = inference_pb2.XnnSettings(epochs=4, batch_size=24)
    client.train_xnn("tiny", "tiny", "shapes", settings=settings).wait()
    study = client.create_study("synthetic shapes", "tiny", "shapes", "tiny", CLASSES)
    client.compute_maps(study.study_id).wait()
    return client.open_study(study.study_id)


def open_page(browser: Browser, scheme: str) -> Page:
    page = browser.new_context(viewport=WINDOW, color_scheme=scheme).new_page()
    page.set_default_timeout(STEP_MS)
    return page


def save(page: Page, file: Path) -> None:
    """What the window shows, as WebP."""
    page.wait_for_load_state("networkidle")
    Image.open(io.BytesIO(page.screenshot())).save(file, quality=SHARPNESS, method=6)


def photograph(browser: Browser, server: Server, study: naming_pb2.Study, token: str, out: Path) -> None:
    for scheme in ("light", "dark"):
        page = open_page(browser, scheme)
        page.goto(f"{server.url}/name#{token}")
        expect(page.locator(".tile .map").first).to_be_visible()
        for position in (1, 3, 4):
            page.locator(".tile").nth(position).click(modifiers=["Control"])
        page.mouse.move(0, 0)
        save(page, out / f"naming-{scheme}.webp")
        page.context.close()
    page = open_page(browser, "light")
    page.goto(f"{server.url}/name#{token}")
    page.locator(".tile").first.dblclick()
    expect(page.get_by_role("dialog").locator(".map").first).to_be_visible()
    page.mouse.move(0, 0)
    save(page, out / "large-view.webp")
    page.goto(f"{server.url}/studies/{study.study_id}")
    heading = page.get_by_role("heading", name="What the network looked at")
    expect(heading).to_be_visible()
    with page.expect_response("**/summary*"):
        page.get_by_label("in the words of").select_option(annotator_name(2))
    page.locator(".explanation", has_text="top").first.click()
    expect(page.locator(".explained .map").first).to_be_visible()
    heading.evaluate("heading => scrollTo(0, heading.getBoundingClientRect().top + scrollY - 24)")
    save(page, out / "study.webp")
    page.goto(f"{server.url}/api/studies/{study.study_id}/report/index.html")
    section = page.locator("#coverage")
    section.evaluate("section => scrollTo(0, section.getBoundingClientRect().top + scrollY - 24)")
    save(page, out / "results.webp")
    page.context.close()


def main() -> None:
    """All five."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--demo", type=Path, default=Path("onoma-demo"), help="the demo's folder")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    has_demo = (arguments.demo / "data").is_dir()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if has_demo:
            shutil.copytree(arguments.demo / "data", folder / "data")
        server = Server(folder / "data")
        server.start()
        try:
            with server.client() as client, sync_playwright() as playwright:
                study = next(client.list_studies()) if has_demo else synthetic_study(client, folder)
                token = name_by_place(client, study, ANNOTATORS)[0]
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS
                )
                photograph(browser, server, study, token, arguments.out)
                browser.close()
        finally:
            server.kill()


if __name__ == "__main__":
    main()
