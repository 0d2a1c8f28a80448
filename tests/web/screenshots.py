"""Takes the pictures of the README: python -m tests.web.screenshots [--demo FOLDER] [--out FOLDER].

Serves a copy of the demo's data where `make demo` has left it, or else makes a study of synthetic shapes; simulated
annotators, called that, name the maps by where they lie. Writes naming-light, naming-dark, large-view, study and
results.
"""

import argparse
import io
import itertools
import shutil
import tempfile
import uuid
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from onoma.client import Client
from onoma.v1 import inference_pb2, naming_pb2
from tests.synthetic import CLASSES, tiny_program, write_image_folder
from tests.web.conftest import CHROMIUM_FLAGS
from tests.web.server import Server

WINDOW = {"width": 1360, "height": 820}
SHARPNESS = 85  # of WebP
ANNOTATORS = ("Simulated annotator 1", "Simulated annotator 2", "Simulated annotator 3")
LEFT_IN_POOL = (0.4, 0.1, 0.25)
DISCARDED = 0.05
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


def name_by_place(client: Client, study: naming_pb2.Study) -> str:
    """Lets the simulated annotators name what there is; the token of the first one's link."""
    tokens = []
    for number, (name, left) in enumerate(zip(ANNOTATORS, LEFT_IN_POOL, strict=True)):
        invited = client.invite_annotator(study.study_id, name)
        tokens.append(invited.token)
        for category in study.categories:
            naming = client.get_naming(study.study_id, invited.annotator.annotator_id, category)
            pool = list(naming.pool)
            words = dict(zip(pool, places(client, study, pool, number), strict=True))
            named = pool[int(left * len(pool)) :]
            discarded, named = np.split(named, [int(DISCARDED * len(pool))])
            groups = defaultdict(list)
            for id_ in named.tolist():
                groups[words[id_]].append(id_)
            for word, ids in sorted(groups.items(), key=lambda group: -len(group[1])):
                made = naming_pb2.CreateConcept(concept_id=uuid.uuid4().hex, name=word, activation_ids=ids)
                naming = client.act(naming, naming_pb2.Command(create=made))
            if len(discarded):
                reason = naming_pb2.DISCARD_REASON_NOISE
                out = naming_pb2.DiscardActivations(activation_ids=discarded.tolist(), reason=reason)
                client.act(naming, naming_pb2.Command(discard=out))
    return tokens[0]


def places(client: Client, study: naming_pb2.Study, ids: list[str], seed: int) -> list[str]:
    """Where each map has its weight, in words; each simulated annotator draws the limits elsewhere."""
    batches = client.get_maps(study.study_id, ids)
    maps = np.concatenate(
        [np.frombuffer(one.values, "<f2").reshape(-1, one.height, one.width) for one in batches]
    ).astype(np.float32)
    weights = maps / np.maximum(maps.sum(axis=(1, 2), keepdims=True), 1e-12)
    across = np.linspace(0, 1, maps.shape[2])
    down = np.linspace(0, 1, maps.shape[1])
    x, y = (weights.sum(axis=1) * across).sum(axis=1), (weights.sum(axis=2) * down).sum(axis=1)
    low, high = np.quantile(y, [0.3, 0.7]) + 0.01 * seed
    left, right = np.quantile(x, [0.25, 0.75]) + 0.01 * seed

    def word(x: float, y: float) -> str:
        if y < low:
            return "top"
        if y > high:
            return "bottom"
        return "left side" if x < left else "right side" if x > right else "middle"

    return list(itertools.starmap(word, zip(x, y, strict=True)))


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
        page.get_by_label("in the words of").select_option(ANNOTATORS[1])
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
                token = name_by_place(client, study)
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS
                )
                photograph(browser, server, study, token, arguments.out)
                browser.close()
        finally:
            server.kill()


if __name__ == "__main__":
    main()
