"""The owner's pages: studies, links, progress, the end of a study."""

import pytest
from playwright.sync_api import Page, expect

from onoma.v1 import naming_pb2
from tests.web.conftest import Naming
from tests.web.hands import make_concept, tiles, wait_until_saved

pytestmark = pytest.mark.browser


def study_page(naming: Naming) -> Page:
    """The study's page in a tab of its own."""
    page = naming.page.context.new_page()
    page.goto(f"{naming.link.partition('/name')[0]}/studies/{naming.study.study_id}")
    expect(page.get_by_role("heading", name=naming.study.name)).to_be_visible()
    return page


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


def test_progress_appears_without_a_reload(naming: Naming):
    owner = study_page(naming)
    row = owner.get_by_role("row", name=naming.annotator.display_name)
    expect(row.locator(".number").first).to_have_text("0")
    make_concept(naming.page, [0, 1], "two")
    wait_until_saved(naming.page)
    expect(row.locator(".number").first).to_have_text("2")


def test_a_revoked_link_keeps_what_waits_and_a_new_one_sends_it(naming: Naming):
    owner = study_page(naming)
    row = owner.get_by_role("row", name=naming.annotator.display_name)
    row.get_by_text("Revoke", exact=True).click()
    page = naming.page
    make_concept(page, [0], "kept")
    expect(page.get_by_role("alert")).to_contain_text("2 changes are kept here")
    expect(page.locator(".concept", has_text="kept")).to_be_visible()
    assert not naming.stored().concepts


def test_an_invitation_without_a_name_that_is_free_is_refused_in_words(naming: Naming):
    owner = study_page(naming)
    owner.get_by_role("textbox", name="Invite").fill(naming.annotator.display_name)
    owner.get_by_role("button", name="Make a link").click()
    expect(owner.get_by_role("alert")).to_contain_text(naming.annotator.display_name)
    expect(owner.locator(".link")).to_have_count(0)


def test_the_report_opens_from_the_study_with_its_own_looks(naming: Naming):
    make_concept(naming.page, [0, 1, 2], "kept")
    wait_until_saved(naming.page)
    owner = study_page(naming)
    refused: list[str] = []
    owner.on(
        "console", lambda message: refused.append(message.text) if "Security Policy" in message.text else None
    )
    owner.get_by_role("link", name="Write the report").click()
    expect(owner.get_by_role("heading", name="What the network looked at")).to_be_visible(timeout=60_000)
    assert owner.locator("h1").evaluate("heading => getComputedStyle(heading).fontSize") == "32px"
    assert not refused


def test_a_viewers_link_leads_to_the_results(naming: Naming):
    answer = naming.client.invite_annotator(naming.study.study_id, "Vera", role=naming_pb2.ROLE_VIEWER)
    page = naming.page.context.new_page()
    page.goto(f"{naming.link.partition('#')[0]}#{answer.token}")
    expect(page.get_by_role("heading", name="What the network looked at")).to_be_visible(timeout=60_000)
    assert answer.token not in page.url
