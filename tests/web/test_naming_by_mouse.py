"""A hand on the page, a real server behind it."""

import pytest
from playwright.sync_api import expect

from tests.web.conftest import Naming
from tests.web.hands import concept, groups, make_concept, names, sizes, tiles, wait_until_saved

pytestmark = pytest.mark.browser


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


def test_a_whole_category_is_named_by_mouse(naming: Naming):
    page = naming.page
    count = tiles(page).count()
    make_concept(page, [0, 1], "left")
    make_concept(page, [0], "right")
    tiles(page).first.click()
    tiles(page).nth(1).click(modifiers=["Shift"])
    tiles(page).first.drag_to(concept(page, "right"))
    tiles(page).first.hover()
    page.mouse.down()
    page.locator(".shelf-row", has_text="Discarded").hover()
    page.locator(".discard-reasons > div", has_text="unclear").hover()
    page.mouse.up()
    tiles(page).first.click()
    tiles(page).last.click(modifiers=["Shift"])
    tiles(page).first.drag_to(page.locator(".shelf-row", has_text="Discarded"))
    page.get_by_role("button", name="noise", exact=False).first.click()
    expect(page.get_by_text("The pool is empty")).to_be_visible()
    expect(page.locator(".progress-words")).to_have_text(f"{count} maps, 5 named, {count - 5} discarded")
    naming.wait_until_stored(
        lambda stored: (
            sizes(stored) == [("left", 2), ("right", 3)]
            and [len(d.activation_ids) for d in stored.discards] == [count - 6, 1]
        )
    )


def test_the_menu_of_a_concept_renames_and_deletes(naming: Naming):
    page = naming.page
    make_concept(page, [0, 1], "sleve")
    concept(page, "sleve").click(button="right")
    page.get_by_role("menuitem", name="Rename").click()
    page.keyboard.type("sleeve")
    page.keyboard.press("Enter")
    naming.wait_until_stored(lambda stored: names(stored) == ["sleeve"])
    concept(page, "sleeve").get_by_role("button", name="More about sleeve").click()
    page.get_by_role("menuitem", name="Delete").click()
    naming.wait_until_stored(lambda stored: names(stored) == [])
    page.get_by_role("button", name="Take it back").click()
    naming.wait_until_stored(lambda stored: sizes(stored) == [("sleeve", 2)])


def test_after_a_merge_by_dragging_the_other_name_is_one_click_away(naming: Naming):
    page = naming.page
    make_concept(page, [0], "collar")
    make_concept(page, [0], "neck")
    concept(page, "neck").drag_to(concept(page, "collar"))
    expect(page.get_by_role("alert")).to_contain_text("“neck” (1) is now part of “collar” (1)")
    page.get_by_role("button", name="Keep the name “neck”").click()
    naming.wait_until_stored(lambda stored: sizes(stored) == [("neck", 2)])
    page.get_by_role("button", name="Undo").click()
    naming.wait_until_stored(lambda stored: names(stored) == ["collar", "neck"])


def test_the_pool_is_sorted_by_image_and_by_contribution(naming: Naming):
    page = naming.page
    shown = lambda: [tile.get_attribute("data-id") for tile in tiles(page).all()]  # noqa: E731
    columns = naming.client.list_activations(
        naming.study.study_id, page.get_by_role("combobox", name="Category").input_value()
    )
    share = dict(zip(columns.activation_id, columns.share, strict=True))
    image = dict(zip(columns.activation_id, columns.image_id, strict=True))
    given = shown()
    page.get_by_label("sort").select_option("share")
    expect(tiles(page).first).to_be_visible()
    assert [share[id_] for id_ in shown()] == sorted(share.values(), reverse=True)
    page.get_by_label("sort").select_option("image")
    expect(tiles(page).first).to_be_visible()
    assert [image[id_] for id_ in shown()] == sorted(image.values())
    page.get_by_label("sort").select_option("given")
    expect(tiles(page).first).to_be_visible()
    assert shown() == given


def test_names_are_text_in_any_script(naming: Naming):
    page = naming.page
    for name in ("<img src=x onerror=alert(1)>", "שרוול שמאל", "👕 צווארון"):
        make_concept(page, [0], name)
    naming.wait_until_stored(
        lambda stored: names(stored) == ["<img src=x onerror=alert(1)>", "שרוול שמאל", "👕 צווארון"]
    )
    expect(page.locator(".shelf-name", has_text="<img src=x onerror=alert(1)>")).to_be_visible()
    assert page.locator("img[src=x]").count() == 0


def test_each_category_remembers_where_it_stood(naming: Naming):
    page = naming.page
    make_concept(page, [0, 1], "collar")
    concept(page, "collar").locator(".shelf-face").click()
    expect(page.get_by_role("heading", name="collar 2")).to_be_visible()
    category = page.get_by_role("combobox", name="Category")
    here = category.input_value()
    there = next(one for one in naming.study.categories if one != here)
    category.select_option(there)
    expect(page.get_by_role("heading", name="Pool")).to_be_visible()
    category.select_option(here)
    expect(page.get_by_role("heading", name="collar 2")).to_be_visible()
    wait_until_saved(page)
    page.goto(page.url.partition("?")[0])
    expect(page.get_by_role("heading", name="collar 2")).to_be_visible()
    expect(category).to_have_value(here)
