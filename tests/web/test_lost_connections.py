"""The network goes, the server dies, the link is lost: no act is."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from onoma.v1 import naming_pb2
from tests.conftest import OpenStudy
from tests.web.conftest import Naming
from tests.web.hands import concept, make_concept, names, tiles, wait_until_saved
from tests.web.server import Server

pytestmark = pytest.mark.browser


def test_acts_without_a_network_wait_and_are_sent_later(naming: Naming):
    page = naming.page
    page.context.set_offline(True)
    make_concept(page, [0], "sleeve")
    expect(concept(page, "sleeve")).to_be_visible()
    expect(page.locator(".saving")).to_contain_text("2 changes waiting")
    assert len(naming.stored().concepts) == 0
    page.context.set_offline(False)
    naming.wait_until_stored(lambda stored: names(stored) == ["sleeve"])
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


def test_what_waits_in_a_category_that_is_not_shown_is_sent_too(naming: Naming):
    page, study = naming.page, naming.study
    category = page.get_by_role("combobox", name="Category").input_value()
    other = next(one for one in study.categories if one != category)
    page.route("**/acts", lambda route: route.abort())
    make_concept(page, [0], "hem")
    page.get_by_role("combobox", name="Category").select_option(other)
    expect(page.locator(".saving")).to_contain_text("2 changes waiting")
    address = page.url
    page.goto("about:blank")
    page.unroute("**/acts")
    page.goto(address)
    naming.wait_until_stored(
        lambda _: (
            names(naming.client.get_naming(study.study_id, naming.annotator.annotator_id, category))
            == ["hem"]
        )
    )
    expect(page.get_by_role("combobox", name="Category")).to_have_value(other)
    wait_until_saved(page)


def test_ten_seconds_without_a_network_lose_nothing(naming: Naming):
    page = naming.page
    make_concept(page, [0], "before")
    wait_until_saved(page)
    page.context.set_offline(True)
    make_concept(page, [0], "meanwhile")
    expect(page.locator(".saving")).to_contain_text("offline, 2 changes waiting")
    time.sleep(10)
    make_concept(page, [0], "still")
    expect(page.locator(".saving")).to_contain_text("offline, 4 changes waiting")
    assert names(naming.stored()) == ["before"]
    page.context.set_offline(False)
    naming.wait_until_stored(lambda stored: names(stored) == ["before", "meanwhile", "still"])
    wait_until_saved(page)


def test_a_lost_cookie_keeps_what_waits_until_the_link_is_opened_again(naming: Naming):
    page = naming.page
    page.context.clear_cookies()
    make_concept(page, [0], "kept")
    expect(page.get_by_role("alert")).to_contain_text("2 changes are kept here")
    assert names(naming.stored()) == []
    page.get_by_label("Your link").fill(naming.link)
    page.get_by_role("button", name="Open").click()
    naming.wait_until_stored(lambda stored: names(stored) == ["kept"])
    wait_until_saved(page)


@pytest.fixture
def server(open_study: OpenStudy, tmp_path: Path) -> Iterator[Server]:
    """A server of its own over a copy of the study."""
    shutil.copytree(open_study.images.parent / "data", tmp_path / "data")
    server = Server(tmp_path / "data")
    server.start()
    yield server
    server.kill()


def test_a_server_that_is_killed_and_started_again_has_every_act(
    browser: Browser, open_study: OpenStudy, server: Server
):
    with server.client() as client:
        invited = client.invite_annotator(open_study.study.study_id, "kill -9")
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}/name#{invited.token}")
    expect(tiles(page).first).to_be_visible()
    make_concept(page, [0], "before")
    wait_until_saved(page)
    make_concept(page, [0], "in the middle")
    server.kill()
    make_concept(page, [0], "without a server")
    expect(page.locator(".saving")).to_contain_text("waiting")
    server.start()
    wait_until_saved(page)
    with server.client() as client:
        stored = stored_by(client, page, open_study.study, invited.annotator)
    assert names(stored) == ["before", "in the middle", "without a server"]
    page.reload()
    expect(concept(page, "without a server")).to_be_visible()
    context.close()


def stored_by(
    client, page: Page, study: naming_pb2.Study, annotator: naming_pb2.Annotator
) -> naming_pb2.Naming:
    category = page.get_by_role("combobox", name="Category").input_value()
    return client.get_naming(study.study_id, annotator.annotator_id, category)
