"""axe finds nothing on the main pages, light and dark (WCAG 2.2, levels A and AA)."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Naming
from tests.web.hands import make_concept, names, press, sizes, tiles

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
    press(page, "Escape", "Control+a", "x")
    expect(page.get_by_text("The pool is empty")).to_be_in_viewport()
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


def test_the_report(naming: Naming, scheme: str):
    make_concept(naming.page, [0, 1, 2], "collar")
    naming.wait_until_stored(lambda stored: names(stored) == ["collar"])
    page = naming.page.context.new_page()
    page.emulate_media(color_scheme=scheme)
    base = naming.link.partition("/name")[0]
    page.goto(f"{base}/api/studies/{naming.study.study_id}/report/index.html?fresh=1", timeout=120_000)
    page.locator("details").evaluate_all("all => all.forEach(one => (one.open = true))")
    assert_accessible(page)


def test_links_that_open_nothing_and_pages_that_cannot_be_shown(naming: Naming, scheme: str):
    page = naming.page.context.browser.new_context(color_scheme=scheme).new_page()
    page.goto(f"{naming.link.partition('#')[0]}#guess")
    expect(page.get_by_role("heading", name="This link does not open")).to_be_visible()
    assert_accessible(page)
    page.goto(naming.page.url)
    expect(page.get_by_role("heading", name="This naming cannot be shown")).to_be_visible()
    assert_accessible(page)
    page.goto(naming.link.partition("#")[0])
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    assert_accessible(page)
    page.context.close()


def test_the_images_behind_an_explanation(large_naming: Naming, scheme: str):
    # So many that they are of three images or more however the pool is ordered: fewer do not count.
    make_concept(large_naming.page, list(range(12)), "collar")
    large_naming.wait_until_stored(lambda stored: sizes(stored) == [("collar", 12)])
    page = large_naming.page.context.new_page()
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{large_naming.link.partition('/name')[0]}/studies/{large_naming.study.study_id}")
    page.get_by_label("in the words of").select_option(large_naming.annotator.display_name)
    page.get_by_role("button", name="collar").first.click()
    expect(page.locator(".explained img.map").first).to_be_visible()
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
