"""What is refused is said in words that a person understands, and changes nothing."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from onoma.v1 import naming_pb2
from tests.conftest import OpenStudy
from tests.web.conftest import Naming
from tests.web.hands import concept, make_concept, press, tiles, wait_until_saved

pytestmark = pytest.mark.browser

MOST_CONCEPTS = 1000


def test_one_concept_too_many_is_refused_and_what_comes_after_is_saved(large_naming: Naming):
    page, study = large_naming.page, large_naming.study
    concepts = [{"name": f"concept {number}", "activations": []} for number in range(MOST_CONCEPTS)]
    document = {
        "format": "onoma-namings",
        "version": 1,
        "study": study.study_id,
        "annotators": {"a": large_naming.annotator.display_name},
        "namings": {"a": {study.categories[0]: {"concepts": concepts, "discarded": []}}},
    }
    large_naming.client.import_namings(study.study_id, json.dumps(document))
    page.reload()
    expect(concept(page, "concept 999")).to_have_count(1)
    tiles(page).first.click()
    press(page, "n")
    expect(page.get_by_role("textbox", name="Name of the concept")).to_be_focused()
    page.keyboard.type("one too many", delay=100)  # refused meanwhile: no letter may become a shortcut
    press(page, "Enter")
    expect(page.get_by_role("alert")).to_contain_text("this naming has 1000 concepts, the most there may be")
    expect(concept(page, "one too many")).to_have_count(0)
    tiles(page).nth(1).click()
    press(page, "x")
    wait_until_saved(page)
    large_naming.wait_until_stored(
        lambda stored: len(stored.concepts) == MOST_CONCEPTS and len(stored.discards) == 1
    )


@dataclass(frozen=True)
class Bad:
    """An act that the server refuses.

    Attributes:
        command: of the page's naming and of another study's activation ids.
        says: what the page must tell of it.
        request_id: of the act.
    """

    command: Callable[[naming_pb2.Naming, list[str]], dict[str, Any]]
    says: str
    request_id: str = "bad"


BAD_ACTS = {
    "unknown activation": Bad(
        lambda *_: {"discard": {"activation_ids": ["nope"], "reason": "DISCARD_REASON_NOISE"}},
        "has no activation 'nope'",
    ),
    "unknown concept": Bad(
        lambda *_: {"rename": {"concept_id": "nope", "name": "neck"}},
        "no concept 'nope' stands in this naming; it may have been merged or deleted",
    ),
    "another study's activations": Bad(
        lambda _, others: {"assign": {"concept_id": "c1", "activation_ids": others[:2]}},
        "(nor 1 others that the act names)",
    ),
    "merge with itself": Bad(
        lambda *_: {"merge": {"source_concept_id": "c1", "target_concept_id": "c1"}},
        "cannot be merged with itself; name two concepts",
    ),
    "name of 10 MB": Bad(
        lambda *_: {"rename": {"concept_id": "c1", "name": "名" * 3_400_000}},
        "the request has over 8 MiB, more than the server takes",
    ),
    "name of 10 kB": Bad(
        lambda *_: {"rename": {"concept_id": "c1", "name": "n" * 10_000}},
        "concept name has 10000 characters; at most 200 are allowed",
    ),
    "control character": Bad(
        lambda *_: {"rename": {"concept_id": "c1", "name": "a\0b"}},
        "control character U+0000; leave it out",
    ),
    "request id of another act": Bad(
        lambda *_: {"delete": {"concept_id": "c1"}},
        "with other content",
        request_id="first",
    ),
}


@pytest.mark.parametrize("bad", BAD_ACTS.values(), ids=BAD_ACTS)
def test_an_act_that_is_wrong_is_refused_in_words_and_changes_nothing(
    naming: Naming, large_study: naming_pb2.Study, bad: Bad
):
    page, before = naming.page, named(naming)
    others = list(
        naming.client.list_activations(large_study.study_id, large_study.categories[0]).activation_id
    )
    # As a hand of an older page, or of a damaged browser, would have left it.
    wait_in_storage(page, before, [{"request_id": bad.request_id, "command": bad.command(before, others)}])
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("1 change not taken")
    expect(page.get_by_role("alert")).to_contain_text(bad.says)
    wait_until_saved(page)
    assert naming.stored() == before
    expect(concept(page, "collar")).to_contain_text("2")
    # The page goes on.
    tiles(page).first.click()
    press(page, "x")
    naming.wait_until_stored(lambda stored: len(stored.discards) == 1)


def test_an_act_on_a_revision_that_does_not_exist_is_refused_in_words(naming: Naming):
    page, before = naming.page, named(naming)
    expect(concept(page, "collar")).to_be_visible()

    def into_the_future(route: Route) -> None:
        route.continue_(post_data={**route.request.post_data_json, "base_revision": "99"})

    page.route("**/acts", into_the_future)
    tiles(page).first.click()
    press(page, "x")
    expect(page.get_by_role("alert")).to_contain_text("base_revision 99 does not exist")
    wait_until_saved(page)
    assert naming.stored() == before
    expect(page.locator(".progress-words")).to_contain_text("2 named, 0 discarded")


def named(naming: Naming) -> naming_pb2.Naming:
    """The naming with one concept 'collar' (c1) of the first two examples, made by the request 'first'."""
    pool = naming.stored().pool
    made = naming_pb2.CreateConcept(concept_id="c1", name="collar", activation_ids=pool[:2])
    return naming.client.act(naming.stored(), naming_pb2.Command(create=made), request_id="first")


def wait_in_storage(page: Page, of: naming_pb2.Naming, acts: list[dict[str, Any]]) -> None:
    """Puts acts where the page keeps those that the server has not taken yet."""
    page.evaluate(
        "([key, acts]) => localStorage.setItem('onoma/pending/' + JSON.stringify(key), JSON.stringify(acts))",
        [[of.study_id, of.annotator_id, of.category], acts],
    )


def revoked(naming: Naming) -> str:
    invited = naming.client.invite_annotator(naming.study.study_id, f"once {naming.annotator.annotator_id}")
    naming.client.revoke_invitation(naming.study.study_id, invited.annotator.annotator_id)
    return invited.token


@pytest.mark.parametrize(
    "token", [revoked, lambda _: "guess", lambda _: "%zz"], ids=["revoked", "never made", "not even text"]
)
def test_a_link_that_is_worth_nothing_says_so(naming: Naming, token: Callable[[Naming], str]):
    page = naming.page.context.new_page()
    page.goto(f"{naming.link.partition('#')[0]}#{token(naming)}")
    expect(page.get_by_role("heading")).to_have_text("This link does not open")
    expect(page.locator("main")).to_contain_text(
        "This link does not let anyone in; ask whoever sent it for a new one."
    )


def test_a_link_that_nobody_answers_opens_once_the_network_is_there(naming: Naming):
    page = naming.page.context.browser.new_context().new_page()
    page.route("**/api/**", lambda route: route.abort())
    page.goto(naming.link)
    expect(page.get_by_role("heading")).to_have_text("This link cannot be opened now")
    page.unroute("**/api/**")
    page.get_by_role("button", name="Try again").click()
    expect(tiles(page).first).to_be_visible()
    page.context.close()


def test_a_link_whose_time_is_over_keeps_what_was_done(naming: Naming):
    """Links last a day at least: the answer is the gateway's own, given early."""
    page = naming.page
    problem = {
        "code": "UNAUTHENTICATED",
        "message": "this invitation has expired: ask the study's owner for a new link",
        "reason": "UNAUTHENTICATED",
        "request_id": "r",
    }
    answer = {"status": 401, "content_type": "application/problem+json", "body": json.dumps(problem)}
    page.route("**/acts", lambda route: route.fulfill(**answer))
    make_concept(page, [0], "kept")
    expect(page.get_by_role("alert")).to_contain_text("2 changes are kept here")
    expect(concept(page, "kept")).to_be_visible()
    assert not naming.stored().concepts


def test_one_studys_link_opens_no_other(naming: Naming, large_study: naming_pb2.Study, open_study: OpenStudy):
    """The cookie of one study at another's address, and another annotator's link in this one's place."""
    page = naming.page
    other = naming.client.invite_annotator(large_study.study_id, f"other {naming.annotator.annotator_id}")
    page.goto(
        f"{open_study.running.page_url}/name/{large_study.study_id}/{other.annotator.annotator_id}",
    )
    expect(page.get_by_role("heading", name="This naming cannot be shown")).to_be_visible()
    expect(page.locator("main")).to_contain_text("link")
    page.go_back()
    expect(tiles(page).first).to_be_visible()
    page.context.clear_cookies()
    make_concept(page, [0], "mine")
    page.get_by_label("Your link").fill(f"{naming.link.partition('#')[0]}#{other.token}")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert").first).to_contain_text("that link is another annotator's")
    other_naming = naming.client.get_naming(
        large_study.study_id, other.annotator.annotator_id, large_study.categories[0]
    )
    assert (other_naming.revision, naming.stored().revision) == (0, 0)
