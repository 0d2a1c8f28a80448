"""axe finds nothing on the main pages, light and dark (WCAG 2.2, levels A and AA)."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Naming
from tests.web.hands import make_concept, press, tiles

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def assert_accessible(page: Page) -> None:
    """Fails with each rule that is broken, and where."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("tags => axe.run({ runOnly: tags })", TAGS)
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found["violations"]] == []


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_naming_page(naming: Naming, scheme: str):
    page = naming.page
    page.emulate_media(color_scheme=scheme)
    make_concept(page, [0], "collar")
    tiles(page).first.click()
    press(page, "x")
    tiles(page).first.click()
    assert_accessible(page)
    press(page, "/")
    assert_accessible(page)
    press(page, "Escape", "Escape", "1")
    page.locator(".concept .more").click()
    expect(page.get_by_role("menu")).to_be_visible()
    assert_accessible(page)


def test_the_dialogs(naming: Naming, scheme: str):
    page = naming.page
    page.emulate_media(color_scheme=scheme)
    make_concept(page, [0], "collar")
    make_concept(page, [0], "neck")
    tiles(page).first.dblclick()
    expect(page.get_by_role("dialog").locator("img.map").first).to_be_visible()
    assert_accessible(page)
    press(page, "Escape", "?")
    expect(page.get_by_role("dialog", name="Help")).to_be_visible()
    assert_accessible(page)
    press(page, "Escape", "Escape", "1", "m")
    expect(page.get_by_role("dialog", name="Merge")).to_be_visible()
    assert_accessible(page)


def test_the_owners_pages(naming: Naming, scheme: str):
    page = naming.page
    page.emulate_media(color_scheme=scheme)
    page.goto(naming.link.partition("/name")[0])
    page.get_by_role("button", name="New study").click()
    expect(page.get_by_role("link", name=naming.study.name, exact=True).first).to_be_visible()
    assert_accessible(page)
    page.get_by_role("link", name=naming.study.name, exact=True).first.click()
    expect(page.get_by_role("heading", name="Coverage")).to_be_visible()
    expect(page.locator(".summary")).to_be_visible()
    assert_accessible(page)
