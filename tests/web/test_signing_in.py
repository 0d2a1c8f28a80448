"""The owner signs in and out in a real browser, which says of itself what no test client does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.services.gateway.stand_in_provider import CLIENT_ID, SECRET, StandInProvider, serve
from tests.web.server import Server

pytestmark = pytest.mark.browser

TOKEN = "the-owners-token"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Of a page that others can reach: nobody is its owner by sitting at the machine."""
    server = Server(tmp_path)
    server.start(ONOMA_PUBLIC_URL="https://onoma.example", ONOMA_ACCESS_TOKEN=TOKEN)
    yield server.url
    server.kill()


def test_the_owner_signs_in_by_the_token_and_out_again(browser: Browser, url: str):
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    page.get_by_role("link", name="Sign in").click()
    token, sign_in = page.get_by_label("The owner's token"), page.get_by_role("button", name="Sign in")
    token.fill("guessed")
    sign_in.click()
    expect(page.get_by_role("alert")).to_have_text("This is not the owner's token.")
    token.fill(TOKEN)
    sign_in.click()
    expect(page.get_by_role("heading", name="Studies")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    expect(token).to_be_visible()
    page.goto(url)
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    context.close()


def test_the_owner_signs_in_at_a_provider(browser: Browser, tmp_path: Path):
    provider = StandInProvider()
    stop = serve(provider, "localhost")  # another site than the page's, to a browser
    server = Server(tmp_path)
    server.start(
        ONOMA_PUBLIC_URL=server.url,
        ONOMA_OIDC_ISSUER=provider.url,
        ONOMA_OIDC_CLIENT_ID=CLIENT_ID,
        ONOMA_OIDC_CLIENT_SECRET=SECRET,
        ONOMA_OWNERS='["ann@example.org"]',
    )
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}/sign-in")
    page.get_by_role("link", name="Sign in at").click()
    page.get_by_role("link", name="Go on as Ann").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    expect(page.get_by_role("heading", name="Studies")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    context.close()
    server.kill()
    stop()


def test_no_page_elsewhere_signs_anybody_in_or_out(browser: Browser, url: str, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere.html"
    elsewhere.write_text(
        f'<form method="post" action="{url}/sign-in"><input name="token" value="{TOKEN}"><button>Go</button></form>'
    )
    context = browser.new_context()
    page = context.new_page()
    page.goto(elsewhere.as_uri())
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_text("OTHER_SITE")).to_be_visible()
    assert context.cookies() == []
    context.close()
