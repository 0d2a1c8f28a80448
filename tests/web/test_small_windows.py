"""The pages in the window of a small computer, and on a telephone."""

import pytest
from playwright.sync_api import Browser, Page, expect

from onoma.v1 import naming_pb2
from tests.conftest import OpenStudy
from tests.web.conftest import Naming, followed
from tests.web.hands import concept, make_concept, tiles, wait_until_saved

pytestmark = pytest.mark.browser

LONG = "the sleeve of the garment on the left side as seen by the viewer, folded, with the cuff"
UNBROKEN = "W" * 80
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def assert_as_wide_as_the_window(page: Page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_at_1024_pixels_the_bars_stay_in_one_line(naming: Naming):
    page = naming.page
    heights = "[...document.querySelectorAll('.top-bar, .grid-bar')].map(bar => bar.offsetHeight)"
    page.set_viewport_size({"width": 1360, "height": 700})
    wide = page.evaluate(heights)
    page.set_viewport_size({"width": 1024, "height": 700})
    make_concept(page, [0], LONG)
    concept(page, LONG).locator(".shelf-face").click()
    title = page.get_by_role("heading", name=LONG)
    expect(title).to_be_visible()
    assert title.locator("bdi").get_attribute("title") == LONG
    assert page.evaluate(heights) == wide
    page.context.set_offline(True)
    make_concept(page, [0], "offline")
    expect(page.locator(".saving")).to_contain_text("offline, 2 changes waiting")
    assert page.evaluate(heights) == wide
    page.context.set_offline(False)
    wait_until_saved(page)


@pytest.mark.parametrize("width", [960, 853, 768, 721, 320])
def test_every_button_below_the_examples_can_be_reached(naming: Naming, width: int):
    page = naming.page
    page.set_viewport_size({"width": width, "height": 700})
    tiles(page).nth(0).click()
    page.keyboard.press("x")
    unclear = page.locator(".act-bar").get_by_role("button", name="unclear")
    unclear.scroll_into_view_if_needed()
    unclear.click(timeout=5000)
    page.evaluate("document.activeElement.blur()")
    naming.wait_until_stored(
        lambda stored: [one.reason for one in stored.discards] == [naming_pb2.DISCARD_REASON_UNCLEAR]
    )


@pytest.mark.parametrize(("width", "height"), [(320, 256), (640, 360), (667, 375), (320, 480), (1280, 400)])
def test_in_low_windows_examples_and_concepts_have_room_and_are_scrolled_to(
    naming: Naming, width: int, height: int
):
    page = naming.page
    page.set_viewport_size({"width": width, "height": height})
    for part in (".grid-scroller", ".shelf-concepts"):
        page.locator(part).scroll_into_view_if_needed()
        assert page.locator(part).evaluate("part => part.clientHeight") >= 100, part
    page.locator(".shelf").get_by_role("button", name="New concept").scroll_into_view_if_needed()
    assert_as_wide_as_the_window(page, width)


@pytest.fixture
def phone_naming(browser: Browser, open_study: OpenStudy, request: pytest.FixtureRequest):
    with followed(browser, open_study, open_study.study, request.node.name, **PHONE) as naming:
        yield naming


def test_on_a_telephone_each_tap_takes_one_more_example(phone_naming: Naming):
    page = phone_naming.page
    assert_as_wide_as_the_window(page, 390)
    for position in (0, 1, 2, 1):
        tiles(page).nth(position).tap()
    selected = page.locator(".tile[aria-selected=true]")
    expect(selected).to_have_count(2)
    # What a finger rests on is no mouse: the maps stay.
    page.wait_for_timeout(900)
    assert page.locator(".tile .map").nth(1).evaluate("map => getComputedStyle(map).opacity") != "0"
    page.locator(".act-bar").get_by_role("button", name="New concept").tap()
    page.keyboard.type("collar")
    page.keyboard.press("Enter")
    expect(concept(page, "collar")).to_be_in_viewport()
    phone_naming.wait_until_stored(
        lambda stored: [(one.name, len(one.activation_ids)) for one in stored.concepts] == [("collar", 2)]
    )


def test_on_a_telephone_the_owners_tables_scroll_and_the_page_does_not(phone_naming: Naming):
    client, stored = phone_naming.client, phone_naming.stored()
    ids = list(stored.pool)
    made = naming_pb2.CreateConcept(concept_id="w", name=UNBROKEN, activation_ids=ids)
    client.act(stored, naming_pb2.Command(create=made))
    page = phone_naming.page
    base = phone_naming.link.partition("/name")[0]
    page.goto(base)
    expect(page.get_by_role("table")).to_be_visible()
    assert_as_wide_as_the_window(page, 390)
    page.goto(f"{base}/studies/{phone_naming.study.study_id}")
    page.get_by_label("in the words of").select_option(phone_naming.annotator.display_name)
    page.get_by_label("in images of").select_option(stored.category)
    expect(page.get_by_role("button", name=UNBROKEN).first).to_be_visible()
    expect(page.get_by_role("group", name="Coverage")).to_be_visible()
    assert_as_wide_as_the_window(page, 390)
    assert page.locator(".table-scroll").nth(0).evaluate("frame => frame.scrollWidth > frame.clientWidth")
