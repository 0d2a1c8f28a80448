"""Naming with the keys alone: no mouse touches the page."""

import pytest
from playwright.sync_api import expect

from onoma.v1 import naming_pb2
from tests.web.conftest import Naming
from tests.web.hands import concept, groups, make_concept, press, quoted, sizes, tiles, wait_until_saved

pytestmark = pytest.mark.browser


def test_keys_discard_and_bring_back(naming: Naming):
    page = naming.page
    before = list(naming.stored().pool)
    tiles(page).first.click()
    page.keyboard.press("x")
    naming.wait_until_stored(lambda stored: [list(d.activation_ids) for d in stored.discards] == [before[:1]])
    page.keyboard.press("Control+z")
    naming.wait_until_stored(lambda stored: list(stored.pool) == before)


def test_all_taken_back_lies_where_it_was_in_sight(large_naming: Naming):
    page = large_naming.page
    scroller = page.locator(".grid-scroller")
    seen = tiles(page).filter(visible=True)
    page.locator(".grid").focus()
    scroller.evaluate("scroller => scroller.scrollTop = 500")
    expect(page.locator(".tile[aria-posinset='1']")).to_have_count(0)
    before = seen.nth(20).get_attribute("id")
    press(page, "Control+a", "x")
    expect(page.get_by_text("The pool is empty")).to_be_in_viewport()
    expect(seen).to_have_count(0)
    page.keyboard.press("Control+z")
    expect(page.get_by_text("The pool is empty")).to_have_count(0)
    assert scroller.evaluate("scroller => scroller.scrollTop") == 500
    expect(page.locator(f"#{before}")).to_be_visible()
    expect(page.locator(".tile[aria-selected=true]")).to_have_count(0)


def test_another_place_is_shown_from_its_start(large_naming: Naming):
    page = large_naming.page
    page.locator(".grid").focus()
    scroller = page.locator(".grid-scroller")
    make_concept(page, list(range(40)), "sleeve")
    scroller.evaluate("scroller => scroller.scrollTop = 500")
    concept(page, "sleeve").locator(".shelf-face").click()
    expect(page.get_by_role("heading", name="sleeve 40")).to_be_visible()
    assert scroller.evaluate("scroller => scroller.scrollTop") == 0
    expect(tiles(page).first).to_be_in_viewport()


def test_a_new_group_takes_three_key_presses(naming: Naming):
    page = naming.page
    count = len(naming.stored().pool)
    page.locator(".grid").focus()
    for key in ("Control+a", "n", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(".concept")).to_contain_text(str(count))
    naming.wait_until_stored(lambda stored: [len(ids) for _, ids in groups(stored)] == [count])


def test_a_whole_category_is_named_by_keys_alone(naming: Naming):
    page = naming.page
    count = tiles(page).count()
    press(page, "Home", "Shift+ArrowRight", "n")
    page.keyboard.type("left")
    press(page, "Enter", "Home", "1")
    press(page, "Home", "/")
    page.keyboard.type("right")
    press(page, "Enter", "Home", "/")
    page.keyboard.type("rig")
    press(page, "Enter", "Home", "x", "4")
    press(page, "Control+a", "x", "1")
    expect(page.get_by_text("The pool is empty")).to_be_visible()
    naming.wait_until_stored(
        lambda stored: (
            sizes(stored) == [("left", 3), ("right", 2)]
            and [len(d.activation_ids) for d in stored.discards] == [count - 6, 1]
        )
    )
    wait_until_saved(page)
    # Back out of it again, further than this tab has seen.
    page.reload()
    expect(concept(page, "left")).to_be_visible()
    for _ in range(naming.stored().undo_count):
        page.keyboard.press("Control+z")
    naming.wait_until_stored(lambda stored: len(stored.pool) == count and not stored.concepts)


def test_undo_and_redo_reach_over_a_reload(naming: Naming):
    page = naming.page
    press(page, "Home", "n")
    page.keyboard.type("collar")
    press(page, "Enter", "Home", "1", "Home", "x")
    wait_until_saved(page)
    end = groups(naming.stored())
    page.reload()
    expect(concept(page, "collar")).to_be_visible()
    press(page, *["Control+z"] * 4)
    naming.wait_until_stored(lambda stored: not stored.concepts and not stored.discards)
    page.reload()
    expect(tiles(page).first).to_be_visible()
    press(page, *["Control+Shift+Z"] * 4)
    naming.wait_until_stored(lambda stored: groups(stored) == end and len(stored.discards) == 1)


def test_the_merge_dialog_lets_the_name_be_chosen(naming: Naming):
    page = naming.page
    for name in ("collar", "neck"):
        press(page, "Home", "/")
        page.keyboard.type(name)
        press(page, "Enter")
    press(page, "Escape", "2", "m")
    dialog = page.get_by_role("dialog", name=f"Merge {quoted('neck')} with")
    expect(dialog.get_by_role("radio", name="collar 1")).to_be_checked()
    expect(dialog.get_by_role("radio", name="collar 1")).to_be_focused()
    dialog.get_by_role("radio", name="neck", exact=True).press("Space")
    press(page, "Enter")
    naming.wait_until_stored(lambda stored: sizes(stored) == [("neck", 2)])
    press(page, "Control+z")
    naming.wait_until_stored(lambda stored: sizes(stored) == [("collar", 1), ("neck", 1)])


def test_a_concept_that_was_just_named_is_in_sight_with_what_is_said_below_it(large_naming: Naming):
    page, stored = large_naming.page, large_naming.stored()
    for number, activation in enumerate(stored.pool[:20]):
        made = naming_pb2.CreateConcept(
            concept_id=f"c{number}", name=f"concept {number}", activation_ids=[activation]
        )
        stored = large_naming.client.act(stored, naming_pb2.Command(create=made))
    page.reload()
    expect(concept(page, "concept 19")).to_have_count(1)
    press(page, "Home", "n")
    page.keyboard.type("the last")
    press(page, "Enter")
    below = concept(page, "the last").get_by_text("fewer than 3 images")
    expect(below).to_be_in_viewport(ratio=0.95)
    expect(below).to_have_attribute("title", "1 image; the statistics leave out concepts with fewer than 3")


def test_split_takes_the_selection_out_of_a_concept(naming: Naming):
    page = naming.page
    press(page, "Home", "Shift+ArrowRight", "n")
    page.keyboard.type("sleeves")
    press(page, "Enter", "Escape", "1")
    expect(page.get_by_role("heading", name="sleeves 2")).to_be_visible()
    press(page, "s")
    expect(page.get_by_role("alert")).to_contain_text("Select the examples that should leave")
    press(page, "Home", "s")
    page.keyboard.type("left sleeve")
    press(page, "Enter")
    naming.wait_until_stored(lambda stored: sizes(stored) == [("sleeves", 1), ("left sleeve", 1)])


def test_the_menu_opens_and_closes_by_keys(naming: Naming):
    page = naming.page
    make_concept(page, [0], "hem")
    concept(page, "hem").get_by_role("button", name="More about hem").press("Enter")
    expect(page.get_by_role("menuitem", name="Show")).to_be_focused()
    press(page, "ArrowUp")
    expect(page.get_by_role("menuitem", name="Delete")).to_be_focused()
    press(page, "Escape")
    expect(page.get_by_role("menu")).to_have_count(0)
    expect(concept(page, "hem").get_by_role("button", name="More about hem")).to_be_focused()


def test_the_keys_go_on_where_a_button_goes(naming: Naming):
    page = naming.page
    grid, undo = page.locator(".grid"), page.get_by_role("button", name="Undo")
    tiles(page).first.click()
    page.get_by_role("button", name="Discard X").press("Enter")
    expect(grid).to_be_focused()
    page.get_by_role("button", name="noise").press("Enter")
    expect(grid).to_be_focused()
    undo.press("Enter")
    expect(undo).to_be_focused()
    undo.press("Enter")
    expect(grid).to_be_focused()
    help_button = page.get_by_role("button", name="Help: all keys")
    help_button.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Close").press("Enter")
    expect(help_button).to_be_focused()
    press(page, "Home", "Delete")
    page.get_by_role("button", name="Close").press("Enter")
    expect(grid).to_be_focused()
    following = page.get_by_role("button", name="Next category")
    page.get_by_role("combobox", name="Category").select_option(naming.study.categories[-2])
    following.press("Enter")
    expect(following).to_be_disabled()
    expect(grid).to_be_focused()


def test_every_key_is_in_the_help_and_letters_can_be_turned_off(naming: Naming):
    page = naming.page
    press(page, "?")
    dialog = page.get_by_role("dialog", name="Help")
    for key in ("N", "M", "S", "U", "X", "F2", "Delete", "Ctrl Z", "O, Shift O", "P", "/", "?"):
        expect(dialog.locator("kbd").get_by_text(key, exact=True)).to_have_count(1)
    letters = dialog.get_by_role("checkbox")
    expect(letters).to_be_checked()
    letters.press("Space")
    expect(letters).not_to_be_checked()
    press(page, "Escape")
    expect(dialog).to_have_count(0)
    press(page, "Home", "x", "?", "Delete")
    expect(page.get_by_role("alert")).to_contain_text("Show a concept first")
    expect(dialog).to_have_count(0)
    expect(page.locator(".progress-words")).to_contain_text("0 discarded")


def test_holding_p_shows_the_photographs_alone(naming: Naming):
    page = naming.page
    opacity = "document.querySelector('.map') && getComputedStyle(document.querySelector('.map')).opacity"
    expect(page.locator(".tile .map").first).to_be_visible()
    press(page, "Home")
    page.mouse.move(0, 0)
    page.keyboard.down("p")
    assert page.evaluate(opacity) == "0"
    page.keyboard.up("p")
    assert float(page.evaluate(opacity)) > 0
