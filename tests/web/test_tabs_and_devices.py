"""One annotator in two tabs, on two devices, and two annotators in one browser."""

import pytest
from playwright.sync_api import expect

from onoma.v1 import naming_pb2
from tests.web.conftest import Naming
from tests.web.hands import concept, make_concept, names, sizes, tiles, wait_until_saved

pytestmark = pytest.mark.browser


def test_two_tabs_lose_nothing(naming: Naming):
    first = naming.page
    second = first.context.new_page()
    second.goto(first.url)
    expect(tiles(second).first).to_be_visible()
    make_concept(first, [0], "first tab")
    wait_until_saved(first)
    expect(concept(second, "first tab")).to_be_visible()
    make_concept(second, [1], "second tab")
    expect(concept(first, "second tab")).to_be_visible()
    naming.wait_until_stored(lambda stored: names(stored) == ["first tab", "second tab"])


def test_what_waited_in_one_tab_joins_what_another_device_did(naming: Naming):
    here = naming.page
    elsewhere = here.context.browser.new_context()
    there = elsewhere.new_page()
    there.goto(naming.link)
    category = here.get_by_role("combobox", name="Category").input_value()
    there.get_by_role("combobox", name="Category").select_option(category)
    expect(tiles(there)).to_have_count(tiles(here).count())
    here.context.set_offline(True)
    make_concept(here, [0], "in a train")
    make_concept(there, [1], "at home")
    wait_until_saved(there)
    here.context.set_offline(False)
    expect(here.get_by_role("alert")).to_contain_text("also changed in another tab")
    expect(concept(here, "at home")).to_be_visible()
    naming.wait_until_stored(lambda stored: names(stored) == ["at home", "in a train"])
    elsewhere.close()


def test_offline_work_on_a_large_category_joins_what_the_other_tab_did(large_naming: Naming):
    """The naming is too large for the refusal of a stale act: the page asks for it."""
    here = large_naming.page
    elsewhere = here.context.browser.new_context()
    there = elsewhere.new_page()
    there.goto(large_naming.link)
    expect(tiles(there).first).to_be_visible()
    here.context.set_offline(True)
    for name in ("offline one", "offline two", "offline three"):
        make_concept(here, [0, 1], name)
    expect(here.locator(".saving")).to_contain_text("6 changes waiting")
    make_concept(there, [10, 11], "online")
    wait_until_saved(there)
    here.context.set_offline(False)
    expect(here.get_by_role("alert")).to_contain_text("also changed in another tab; both changes are here")
    wait_until_saved(here)
    everything = ["online", "offline one", "offline two", "offline three"]
    large_naming.wait_until_stored(
        lambda stored: sizes(stored) == [(name, 2) for name in everything] and len(stored.pool) == 240 - 8
    )
    for name in everything:
        expect(concept(here, name)).to_be_visible()
        expect(concept(there, name)).to_be_visible()
    elsewhere.close()


def test_another_device_moves_nothing_under_the_hand(large_naming: Naming):
    here = large_naming.page
    tiles(here).first.click()
    scroller = here.locator(".grid-scroller")
    scroller.evaluate("scroller => scroller.scrollTop = 500")
    expect(here.locator(".tile[aria-posinset='1']")).to_have_count(0)
    stored = large_naming.stored()
    made = naming_pb2.CreateConcept(concept_id="c", name="elsewhere", activation_ids=stored.pool[:2])
    large_naming.client.act(stored, naming_pb2.Command(create=made))
    expect(concept(here, "elsewhere")).to_be_visible()
    expect(here.get_by_text("1 selected")).to_have_count(0)
    assert scroller.evaluate("scroller => scroller.scrollTop") == 500


def test_a_link_that_was_corrected_in_the_address_bar_opens(naming: Naming):
    page = naming.page
    page.goto("about:blank")
    page.goto(naming.link + "wrong")
    expect(page.get_by_role("heading")).to_have_text("This link does not open")
    page.goto(naming.link)
    expect(tiles(page).first).to_be_visible()


def test_a_link_that_nobody_made_says_so(naming: Naming):
    naming.page.goto("about:blank")
    naming.page.goto(naming.link.partition("#")[0] + "#guess")
    expect(naming.page.get_by_role("heading")).to_have_text("This link does not open")
