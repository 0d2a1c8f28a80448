"""A browser on the page of a running Onoma, with a study that is open for naming."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from onoma.client import Client
from onoma.v1 import naming_pb2
from services.gateway.page import BUILT_PAGE
from tests.bench.page_study import make_study
from tests.conftest import OpenStudy

# A machine without a screen, a GPU or the world outside.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

WAIT_S = 20
expect.set_options(timeout=1000 * WAIT_S)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    if not (BUILT_PAGE / "index.html").is_file():
        pytest.skip("the page is not built: make web")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@dataclass(frozen=True)
class Naming:
    """One annotator's page, and what the server knows of it."""

    page: Page
    client: Client
    study: naming_pb2.Study
    annotator: naming_pb2.Annotator
    link: str

    def stored(self) -> naming_pb2.Naming:
        """The naming of the category that the page shows, as the server has it."""
        category = self.page.get_by_role("combobox", name="Category").input_value()
        return self.client.get_naming(self.study.study_id, self.annotator.annotator_id, category)

    def wait_until_stored(self, holds: Callable[[naming_pb2.Naming], bool]) -> None:
        """Waits until the server has what the page was told: acts are sent one after another behind it."""
        until = time.monotonic() + WAIT_S
        while not holds(found := self.stored()):
            assert time.monotonic() < until, f"after {WAIT_S} s the server still has {found}"
            time.sleep(0.05)


@contextmanager
def followed(
    browser: Browser, open_study: OpenStudy, study: naming_pb2.Study, annotator: str, **options: Any
) -> Iterator[Naming]:
    """A page that has just followed an annotator's link, at the category with the most to name.

    Args:
        options: of the browser's context.
    """
    client = open_study.client
    invited = client.invite_annotator(study.study_id, annotator[:200])
    context = browser.new_context(**options)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    link = f"{open_study.running.page_url}/name#{invited.token}"
    page.goto(link)
    counts = {
        category: len(client.list_activations(study.study_id, category).activation_id)
        for category in study.categories
    }
    page.get_by_role("combobox", name="Category").select_option(max(counts, key=counts.__getitem__))
    expect(page.locator(".tile").first).to_be_visible()
    yield Naming(page, client, study, invited.annotator, link)
    context.close()
    assert errors == []


@pytest.fixture
def naming(browser: Browser, open_study: OpenStudy, request: pytest.FixtureRequest) -> Iterator[Naming]:
    """The page of an annotator who has just followed a link, at the category with the most to name."""
    with followed(browser, open_study, open_study.study, request.node.name) as opened:
        yield opened


@pytest.fixture(scope="session")
def large_study(open_study: OpenStudy, tmp_path_factory: pytest.TempPathFactory) -> naming_pb2.Study:
    """An open study with 240 synthetic tiles in one category, where the page may sort by similarity."""
    return make_study(open_study.client, tmp_path_factory.mktemp("large-study"), 240, 4)


@pytest.fixture
def large_naming(
    browser: Browser, open_study: OpenStudy, large_study: naming_pb2.Study, request: pytest.FixtureRequest
) -> Iterator[Naming]:
    """The same of the large study: more rows than the window shows."""
    with followed(browser, open_study, large_study, request.node.name) as opened:
        yield opened
