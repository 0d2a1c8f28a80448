"""A hand on the page, a real server behind it."""

import time

import pytest
from playwright.sync_api import Browser, expect

from onoma.v1 import naming_pb2
from tests.conftest import OpenStudy
from tests.web.conftest import Naming, followed
from tests.web.hands import concept, groups, make_concept, names, quoted, sizes, tiles, wait_until_saved

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


def test_a_lasso_scrolls_on_at_the_edge_and_selects_what_it_passed(large_naming: Naming):
    page = large_naming.page
    first = tiles(page).first.bounding_box()
    scroller = page.locator(".grid-scroller")
    box = scroller.bounding_box()
    columns = round(box["width"] // (first["width"] + 8))
    page.mouse.move(first["x"] - 4, first["y"] + first["height"] / 2)
    page.mouse.down()
    page.mouse.move(first["x"] + 1.5 * first["width"], box["y"] + box["height"] - 4, steps=3)
    end = "scroller => scroller.scrollTop + scroller.clientHeight > scroller.scrollHeight - 2"
    until = time.monotonic() + 60
    while not scroller.evaluate(end):
        assert time.monotonic() < until, "the lasso does not scroll to the end"
        time.sleep(0.05)
    page.mouse.up()
    pool = list(large_naming.stored().pool)
    rows = -(-len(pool) // columns)
    expect(page.locator(".act-bar")).to_contain_text("selected")
    chosen = int(page.locator(".act-bar").inner_text().split()[0])
    assert 2 * (rows - 1) <= chosen <= 2 * rows
    page.keyboard.press("x")
    left = [id_ for at, id_ in enumerate(pool) if at % columns > 1]
    large_naming.wait_until_stored(lambda stored: set(left) <= set(stored.pool) and len(stored.discards) == 1)
    assert len(large_naming.stored().pool) == len(pool) - chosen
    expect(page.locator(".lasso")).to_have_count(0)


def test_a_drag_brings_examples_back_to_the_pool(naming: Naming):
    page = naming.page
    before = sorted(naming.stored().pool)
    make_concept(page, [0, 1], "not so sure")
    concept(page, "not so sure").locator(".shelf-face").click()
    expect(tiles(page)).to_have_count(2)
    tiles(page).first.drag_to(page.locator(".shelf-row", has_text="Pool"))
    naming.wait_until_stored(lambda stored: sizes(stored) == [("not so sure", 1)])
    assert len(naming.stored().pool) == len(before) - 1
    tiles(page).first.drag_to(page.locator(".shelf-row", has_text="Pool"))
    naming.wait_until_stored(lambda stored: sorted(stored.pool) == before)


def test_the_pool_is_sorted_by_similarity_to_the_selection(browser: Browser, open_study: OpenStudy):
    client = open_study.client
    settings = naming_pb2.StudySettings(suggestions=True)
    study = client.create_study(
        "with suggestions", "tiny", "shapes", "tiny", ["circle", "cross"], settings=settings
    )
    client.compute_maps(study.study_id).wait()
    client.open_study(study.study_id)
    with followed(browser, open_study, study, "sorts") as naming:
        page = naming.page
        sort = page.get_by_label("sort")
        sort.select_option("similarity")
        expect(page.get_by_role("alert")).to_contain_text("Select one example or more first")
        expect(sort).to_have_value("given")
        tiles(page).nth(3).click()
        with page.expect_response("**/similarity") as answer:
            sort.select_option("similarity")
        alike = [id_ for id_ in answer.value.json()["activation_ids"] if id_ in set(naming.stored().pool)]
        expect(tiles(page).first).to_have_attribute("data-id", alike[0])
        shown = [tile.get_attribute("data-id") for tile in tiles(page).all()]
        assert shown == alike[: len(shown)]
        # An act keeps the order, and another selection gives another.
        tiles(page).nth(1).click()
        page.keyboard.press("x")
        naming.wait_until_stored(
            lambda stored: [list(d.activation_ids) for d in stored.discards] == [alike[1:2]]
        )
        expect(tiles(page).nth(1)).to_have_attribute("data-id", alike[2])
        tiles(page).last.click()
        with page.expect_response("**/similarity") as answer:
            page.get_by_role("button", name="Sort again").click()
        again = [id_ for id_ in answer.value.json()["activation_ids"] if id_ in set(naming.stored().pool)]
        expect(tiles(page).first).to_have_attribute("data-id", again[0])
        assert again != [alike[0], *alike[2:]]


def test_the_sliders_change_tiles_and_maps_at_once_and_are_remembered(naming: Naming):
    page = naming.page
    expect(page.locator(".tile .map").first).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("map", exact=True).fill("30")
    assert page.locator(".tile .map").first.evaluate("map => getComputedStyle(map).opacity") == "0.3"
    red = page.locator(".tile .map").first.get_attribute("src")
    page.get_by_label("colours of the maps").select_option("viridis")
    expect(page.locator(".tile .map").first).not_to_have_attribute("src", red)
    width = tiles(page).first.bounding_box()["width"]
    page.get_by_label("size").fill("208")
    expect(tiles(page).first).not_to_have_css("width", f"{width:g}px")
    assert tiles(page).first.bounding_box()["width"] >= 208
    assert not [
        url for url in asked if not url.startswith("blob:") and "/images" not in url and "/maps?" not in url
    ]
    page.reload()
    expect(page.get_by_label("map", exact=True)).to_have_value("30")
    expect(page.get_by_label("size")).to_have_value("208")
    expect(page.get_by_label("colours of the maps")).to_have_value("viridis")


def test_a_mouse_that_rests_on_an_example_shows_it_without_its_map(naming: Naming):
    page = naming.page
    expect(page.locator(".tile .map").first).to_be_visible()
    tiles(page).first.hover()
    expect(page.locator(".tile .map").first).to_have_css("opacity", "0")
    assert page.locator(".tile .map").nth(1).evaluate("map => getComputedStyle(map).opacity") != "0"
    page.mouse.move(0, 0)
    expect(page.locator(".tile .map").first).not_to_have_css("opacity", "0")


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


def test_a_name_that_is_there_already_offers_a_merge_and_never_merges_by_itself(naming: Naming):
    page = naming.page
    make_concept(page, [0], "Collar")
    make_concept(page, [0], "neck")
    concept(page, "neck").click(button="right")
    page.get_by_role("menuitem", name="Rename").click()
    page.keyboard.type("collar")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text(
        f"There is another concept called {quoted('Collar')} (1)"
    )
    naming.wait_until_stored(lambda stored: sizes(stored) == [("Collar", 1), ("collar", 1)])
    page.get_by_role("button", name="Merge them").click()
    naming.wait_until_stored(lambda stored: sizes(stored) == [("Collar", 2)])
    page.get_by_role("button", name="Take it back").click()
    naming.wait_until_stored(lambda stored: sizes(stored) == [("Collar", 1), ("collar", 1)])


def test_after_a_merge_by_dragging_the_other_name_is_one_click_away(naming: Naming):
    page = naming.page
    make_concept(page, [0], "collar")
    make_concept(page, [0], "neck")
    concept(page, "neck").drag_to(concept(page, "collar"))
    expect(page.get_by_role("alert")).to_contain_text(
        f"{quoted('neck')} (1) is now part of {quoted('collar')} (1)"
    )
    page.get_by_role("button", name=f"Keep the name {quoted('neck')}").click()
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
