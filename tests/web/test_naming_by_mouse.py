"""A hand on the page, a real server behind it."""

import pytest
from playwright.sync_api import Locator, Page, expect

from onoma.v1 import naming_pb2
from tests.web.conftest import Naming

pytestmark = pytest.mark.browser


def tiles(page: Page) -> Locator:
    return page.locator(".tile")


def concept(page: Page, name: str) -> Locator:
    return page.locator(".concept", has_text=name)


def make_concept(page: Page, positions: list[int], name: str) -> None:
    """Selects tiles, drags them onto 'New concept' and types a name."""
    tiles(page).nth(positions[0]).click()
    for position in positions[1:]:
        tiles(page).nth(position).click(modifiers=["Control"])
    tiles(page).nth(positions[0]).drag_to(page.locator(".new-concept"))
    page.keyboard.type(name)
    page.keyboard.press("Enter")


def groups(stored: naming_pb2.Naming) -> list[tuple[str, list[str]]]:
    """Name and activations of each concept."""
    return [(c.name, list(c.activation_ids)) for c in stored.concepts]


def wait_until_saved(page: Page) -> None:
    expect(page.locator(".saving")).to_have_text("saved")


def test_a_group_is_made_and_named_by_mouse(naming: Naming):
    page = naming.page
    ids = [tiles(page).nth(position).get_attribute("data-id") for position in (0, 2)]
    make_concept(page, [0, 2], "left arm")
    expect(concept(page, "left arm")).to_contain_text("2")
    naming.wait_until_stored(lambda stored: groups(stored) == [("left arm", ids)])


def test_work_is_there_after_a_reload(naming: Naming):
    make_concept(naming.page, [0], "collar")
    wait_until_saved(naming.page)
    naming.page.reload()
    expect(concept(naming.page, "collar")).to_be_visible()


def test_concepts_are_merged_by_dragging_and_unmerged_by_undo(naming: Naming):
    page = naming.page
    make_concept(page, [0], "one")
    make_concept(page, [0], "other")
    concept(page, "other").drag_to(concept(page, "one"))
    expect(page.locator(".concept")).to_have_count(1)
    naming.wait_until_stored(lambda stored: [(n, len(ids)) for n, ids in groups(stored)] == [("one", 2)])
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".concept")).to_have_count(2)
    naming.wait_until_stored(lambda stored: [name for name, _ in groups(stored)] == ["one", "other"])


def test_keys_discard_and_bring_back(naming: Naming):
    page = naming.page
    before = list(naming.stored().pool)
    tiles(page).first.click()
    page.keyboard.press("x")
    naming.wait_until_stored(lambda stored: [list(d.activation_ids) for d in stored.discards] == [before[:1]])
    page.keyboard.press("Control+z")
    naming.wait_until_stored(lambda stored: list(stored.pool) == before)


def test_a_new_group_takes_three_key_presses(naming: Naming):
    page = naming.page
    count = len(naming.stored().pool)
    page.locator(".grid").focus()
    for key in ("Control+a", "n", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(".concept")).to_contain_text(str(count))
    naming.wait_until_stored(lambda stored: [len(ids) for _, ids in groups(stored)] == [count])


def test_a_lasso_from_between_the_tiles_selects_what_it_touches(naming: Naming):
    page = naming.page
    first = tiles(page).first.bounding_box()
    page.mouse.move(first["x"] - 4, first["y"] - 2)
    page.mouse.down()
    page.mouse.move(first["x"] + 1.5 * first["width"], first["y"] + first["height"] / 2)
    page.mouse.up()
    expect(page.locator(".tile[aria-selected=true]")).to_have_count(2)


def test_the_large_view_shows_every_map_of_the_image(naming: Naming):
    page = naming.page
    tiles(page).first.dblclick()
    expect(page.get_by_role("dialog").locator("img.map").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_acts_without_a_network_wait_and_are_sent_later(naming: Naming):
    page = naming.page
    page.context.set_offline(True)
    make_concept(page, [0], "sleeve")
    expect(concept(page, "sleeve")).to_be_visible()
    expect(page.locator(".saving")).to_contain_text("2 changes waiting")
    assert len(naming.stored().concepts) == 0
    page.context.set_offline(False)
    naming.wait_until_stored(lambda stored: [name for name, _ in groups(stored)] == ["sleeve"])
    wait_until_saved(page)


def test_acts_that_waited_survive_a_closed_tab(naming: Naming):
    page = naming.page
    address = page.url
    page.context.set_offline(True)
    make_concept(page, [0], "hem")
    page.close()
    page.context.set_offline(False)
    again = page.context.new_page()
    again.goto(address)
    expect(concept(again, "hem")).to_be_visible()
    wait_until_saved(again)


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
    naming.wait_until_stored(
        lambda stored: [name for name, _ in groups(stored)] == ["first tab", "second tab"]
    )


def test_a_link_that_nobody_made_says_so(naming: Naming):
    naming.page.goto("about:blank")
    naming.page.goto(naming.link.partition("#")[0] + "#guess")
    expect(naming.page.get_by_role("heading")).to_have_text("This link does not open")


def test_the_owner_invites_by_link(naming: Naming):
    page = naming.page
    page.goto(naming.link.partition("/name")[0])
    page.get_by_role("link", name=naming.study.name, exact=True).first.click()
    page.get_by_role("textbox", name="Invite").fill("Grace")
    page.get_by_role("button", name="Make a link").click()
    link = page.locator(".link").inner_text()
    page.goto("about:blank")
    page.goto(link)
    expect(tiles(page).first).to_be_visible()
