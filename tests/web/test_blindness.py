"""Whoever has one annotator's link sees nothing of another's work."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Response, expect

from tests.web.conftest import Naming
from tests.web.hands import make_concept, names, tiles

pytestmark = pytest.mark.browser

SECRET = "the first one's own words"


def _answers_of(route: str, category: str) -> Callable[[Response], bool]:
    return lambda response: f"{route}?" in response.url and f"category={category}" in response.url


def test_another_annotators_link_shows_nothing_of_the_first(naming: Naming):
    make_concept(naming.page, [0, 1], SECRET)
    naming.wait_until_stored(lambda stored: names(stored) == [SECRET])
    other = naming.client.invite_annotator(naming.study.study_id, f"other of {naming.annotator.display_name}")
    context = naming.page.context.browser.new_context()
    page = context.new_page()
    answers: list[Response] = []
    page.on("response", lambda response: answers.append(response))
    page.goto(f"{naming.link.partition('#')[0]}#{other.token}")
    expect(tiles(page).first).to_be_visible()
    expect(page.locator(".concept")).to_have_count(0)
    shown = page.get_by_role("combobox", name="Category")
    for category in set(naming.study.categories) - {shown.input_value()}:
        with (
            page.expect_response(_answers_of("/activations", category)),
            page.expect_response(_answers_of("/naming", category)),
        ):
            shown.select_option(category)
        expect(page.locator(".progress-words")).to_contain_text("0 named, 0 discarded")
    bodies = [one.text() for one in answers if "json" in (one.header_value("content-type") or "")]
    assert len(bodies) >= 2 * len(naming.study.categories)
    assert not any(SECRET in body or f'"{naming.annotator.display_name}"' in body for body in bodies)
    # The first one's address is worth nothing without the first one's link.
    page.goto(naming.page.url)
    expect(page.get_by_role("heading", name="This naming cannot be shown")).to_be_visible()
    context.close()
