"""The owner's pages: studies, links, progress, the end of a study."""

import re
import uuid
from collections import Counter

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from onoma.v1 import naming_pb2
from tests.conftest import OpenStudy
from tests.web.conftest import Naming, followed
from tests.web.hands import make_concept, press, tiles, wait_until_saved

pytestmark = pytest.mark.browser


def study_page(naming: Naming, context: BrowserContext | None = None) -> Page:
    """The study's page in a tab of its own, or in another browser."""
    page = (context or naming.page.context).new_page()
    page.goto(f"{naming.link.partition('/name')[0]}/studies/{naming.study.study_id}")
    expect(page.get_by_role("heading", name=naming.study.name)).to_be_visible()
    return page


def close_study(owner: Page) -> None:
    owner.get_by_role("button", name="Close the study").click()
    owner.get_by_role("button", name="Close for good").click()
    expect(owner.locator(".facts").first).to_contain_text("closed")


def open_the_report(owner: Page) -> None:
    """Has it written anew, and waits until it is there: at an address that does not write it once more."""
    with owner.expect_request("**/report/index.html?fresh=1"):
        owner.get_by_role("button", name="Write the report").click()
    expect(owner.get_by_role("status").filter(has_text="The report is being written.")).to_be_visible()
    owner.wait_for_url("**/report/index.html", timeout=120_000)
    expect(owner.get_by_role("heading", name="What the network looked at")).to_be_visible()


def test_the_owner_invites_by_link(naming: Naming):
    page = naming.page
    page.goto(naming.link.partition("/name")[0])
    expect(page).to_have_title("Studies \N{EN DASH} Onoma")
    page.get_by_role("link", name=naming.study.name, exact=True).first.click()
    expect(page).to_have_title(f"{naming.study.name} \N{EN DASH} Onoma")
    page.get_by_role("textbox", name="Invite").fill("Grace")
    page.get_by_role("button", name="Make a link").click()
    link = page.locator(".link").inner_text()
    page.goto("about:blank")
    page.goto(link)
    expect(tiles(page).first).to_be_visible()
    category = page.get_by_role("combobox", name="Category").input_value()
    expect(page).to_have_title(f"{category}, {naming.study.name} \N{EN DASH} Onoma")


def test_a_study_is_made_opened_and_closed_on_the_page(naming: Naming):
    page = naming.page.context.new_page()
    page.goto(naming.link.partition("/name")[0])
    page.get_by_role("button", name="New study").click()
    page.get_by_role("textbox", name="Name").fill("made by hand")
    page.get_by_role("combobox", name="Network", exact=True).select_option("tiny")
    page.get_by_role("combobox", name="Data set").select_option("shapes")
    page.get_by_role("combobox", name="Explanation networks").select_option("tiny")
    page.get_by_role("checkbox", name="cross").uncheck()
    page.get_by_text("Settings", exact=True).click()
    order = page.get_by_label("Order of the examples")
    assert order.locator("option").evaluate_all("options => options.map(one => one.value)") == [
        "POOL_ORDER_RANDOM",
        "POOL_ORDER_IMAGE",
    ]
    order.select_option("POOL_ORDER_IMAGE")
    page.get_by_label("Share of the evidence").fill("1")
    page.get_by_label("Seed").fill("7")
    page.get_by_label("contrastive").uncheck()
    page.get_by_label("Annotators see nothing of each other").uncheck()
    expect(page.get_by_label("Annotators may sort by similarity")).not_to_be_checked()
    page.get_by_role("button", name="Make the study").click()
    expect(page.get_by_role("heading", name="made by hand")).to_be_visible()
    study = naming.client.get_study("made by hand")
    assert study.categories == ["circle", "square"]
    settings = study.settings
    assert (settings.seed, settings.significant_share, settings.pool_order) == (
        7,
        1,
        naming_pb2.POOL_ORDER_IMAGE,
    )
    assert [settings.contrastive, settings.blind, settings.suggestions] == [False, False, False]
    # A job that is gone, as after a restored backup, is forgotten.
    page.evaluate("id => localStorage.setItem(`onoma/maps-job/${id}`, 'gone')", study.study_id)
    page.reload()
    page.get_by_role("button", name="Compute the maps").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("button", name="Open the study").click(timeout=60_000)
    may = page.locator("select[name=role] option")
    expect(may).to_have_text(["name the maps", "look at the results only"])
    close_study(page)
    expect(may).to_have_text(["look at the results only"])
    # A closed study cannot be opened again, and the page does not offer it.
    expect(page.get_by_role("button", name="Open the study")).to_have_count(0)
    assert naming.client.get_study(study.study_id).state == naming_pb2.STUDY_STATE_CLOSED


def test_the_images_behind_an_explanation_are_one_click_away(large_naming: Naming):
    page = large_naming.page
    page.locator(".grid").focus()
    press(page, "Control+a", "n")
    page.keyboard.type("everything")
    press(page, "Enter")
    wait_until_saved(page)
    large_naming.client.invite_annotator(large_naming.study.study_id, "Victor", role=naming_pb2.ROLE_VIEWER)
    owner = study_page(large_naming)
    section = owner.locator("section", has=owner.get_by_role("heading", name="What the network looked at"))
    whose = section.get_by_label("in the words of")
    expect(whose.get_by_role("option", name="Victor")).to_have_count(0)
    whose.select_option(large_naming.annotator.display_name)
    row = section.get_by_role("row", name="everything")
    expect(row.locator(".number").first).to_have_text("60")
    coverage = owner.locator("section", has=owner.get_by_role("heading", name="Coverage"))
    expect(coverage.get_by_role("table")).to_be_visible()  # above the row, which it moves when it comes
    row.click()
    images = section.locator(".explained")
    expect(images).to_have_count(12)
    expect(images.first.locator("img.map")).to_have_count(4)
    expect(images.first.get_by_text("everything")).to_have_count(4)
    for image in images.first.locator("img").all():
        assert image.evaluate("img => img.decode().then(() => img.naturalWidth)") > 0
    seen = set()
    for _ in range(5):
        seen |= {img.get_attribute("src") for img in images.locator("> .picture img").all()}
        after = section.get_by_role("button", name="After")
        if after.is_enabled():
            after.click()
    assert len(seen) == 60
    expect(section.get_by_text("49 to 60 of 60 images")).to_be_visible()
    section.get_by_role("button", name="everything").press("Enter")
    expect(images).to_have_count(0)


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
    expect(page.get_by_role("alert")).to_contain_text("ask the study's owner for a new link. 2 changes")
    assert not naming.stored().concepts
    page.reload()
    expect(page.get_by_role("heading", name="This naming cannot be shown")).to_be_visible()
    expect(page.locator("main")).to_contain_text("2 changes are kept in this browser")
    expect(page.get_by_text("saved")).to_have_count(0)
    expect(page.get_by_text("0 maps")).to_have_count(0)
    row.get_by_text("New link", exact=True).click()
    expect(owner.get_by_role("status").filter(has_text="The earlier link no longer works.")).to_be_visible()
    link = owner.locator(".link").inner_text()
    assert link != naming.link
    page.get_by_label("Your link").fill(link)
    page.get_by_role("button", name="Open").click()
    naming.wait_until_stored(lambda stored: [one.name for one in stored.concepts] == ["kept"])
    wait_until_saved(page)
    expect(page.get_by_label("Your link")).to_have_count(0)


def test_closing_the_study_in_mid_session_ends_naming_in_words(browser: Browser, open_study: OpenStudy):
    client = open_study.client
    study = client.create_study("to be closed", "tiny", "shapes", "tiny", ["circle", "cross"])
    client.compute_maps(study.study_id).wait()
    client.open_study(study.study_id)
    with followed(browser, open_study, study, "at the end") as naming:
        page = naming.page
        make_concept(page, [0], "in time")
        wait_until_saved(page)
        page.context.set_offline(True)
        make_concept(page, [0], "too late")
        tiles(page).first.click()
        press(page, "x")
        expect(page.locator(".saving")).to_contain_text("3 changes waiting")
        owner = study_page(naming, naming.page.context.browser.new_context())
        owner.get_by_role("button", name="Close the study").click()
        question = owner.get_by_role("dialog", name="Close the study?")
        expect(question).to_contain_text("1 annotator can name no more, and it cannot be opened again.")
        expect(question.get_by_role("button", name="Cancel")).to_be_focused()
        question.get_by_role("button", name="Cancel").click()
        assert client.get_study(study.study_id).state == naming_pb2.STUDY_STATE_OPEN
        close_study(owner)
        page.context.set_offline(False)
        expect(page.get_by_role("alert")).to_contain_text("3 changes not taken: the study was closed before.")
        expect(page.locator(".band").first).to_contain_text("This study is closed. What you named is kept")
        wait_until_saved(page)
        expect(page.locator(".concept .shelf-name")).to_have_text(["in time"])
        expect(page.get_by_role("button", name="New concept")).to_have_count(0)
        expect(page.get_by_role("button", name="Undo")).to_be_disabled()
        tiles(page).first.click()
        expect(page.locator(".act-bar")).to_have_text("Look around: nothing can be changed.")
        page.get_by_role("button", name="More about in time").click()
        expect(page.get_by_role("menuitem")).to_have_text(["Show"])
        press(page, "Escape")
        page.locator(".concept .shelf-face").dblclick()
        expect(page.get_by_role("textbox", name="Name of the concept")).to_have_count(0)
        press(page, "0")
        tiles(page).first.click()
        press(page, "x")
        # What was lost stays said beside it, until it is closed.
        expect(page.get_by_role("alert")).to_contain_text(["3 changes not taken", "This study is closed"])
        assert [(one.name, len(one.activation_ids)) for one in naming.stored().concepts] == [("in time", 1)]
        page.get_by_role("link", name="What everybody named").click()
        expect(page.get_by_role("heading", name="What the network looked at")).to_be_visible(timeout=60_000)
        owner.context.close()


def test_a_link_followed_too_early_says_what_is_missing_and_goes_on_by_itself(
    browser: Browser, open_study: OpenStudy
):
    client = open_study.client
    study = client.create_study("too early", "tiny", "shapes", "tiny", ["circle"])
    token = client.invite_annotator(study.study_id, "early").token
    page = browser.new_page()
    page.goto(f"{open_study.running.page_url}/name#{token}")
    expect(page.get_by_text("The examples of this study are not ready yet")).to_be_visible()
    client.compute_maps(study.study_id).wait()
    expect(tiles(page).first).to_be_visible()
    expect(page.locator(".band").first).to_contain_text("This study is not open yet")
    expect(page.get_by_role("button", name="New concept")).to_have_count(0)
    client.open_study(study.study_id)
    page.reload()
    expect(page.get_by_role("button", name="New concept")).to_be_visible()
    expect(page.locator(".band")).to_have_count(0)
    page.close()


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
    open_the_report(owner)
    assert owner.locator("h1").evaluate("heading => getComputedStyle(heading).fontSize") == "32px"
    assert not refused
    table1 = owner.locator("#faithfulness .wide")
    assert table1.evaluate("one => one.scrollWidth <= one.clientWidth"), "Table 1 is cut off at 1280 pixels"


def test_the_report_has_every_table_and_figure_and_every_file_of_it_can_be_had(naming: Naming):
    client, study = naming.client, naming.study
    second = client.invite_annotator(study.study_id, f"second {naming.annotator.annotator_id}").annotator
    for annotator, names in ((naming.annotator, ("edge", "middle")), (second, ("rim", "middle"))):
        for category in study.categories:
            stored = client.get_naming(study.study_id, annotator.annotator_id, category)
            ids = sorted(stored.pool)
            for at, name in enumerate(names):
                made = naming_pb2.CreateConcept(
                    concept_id=uuid.uuid4().hex, name=name, activation_ids=ids[at :: len(names)]
                )
                stored = client.act(stored, naming_pb2.Command(create=made))
    owner = study_page(naming)
    open_the_report(owner)
    text = owner.locator("body").text_content()
    for what in (
        *(f"Table {number}." for number in range(1, 7)),
        "Figures 3, 4 and 5.",
        "Figure 6.",
        "Figure 7",
    ):
        assert what in text, f"the report has no {what}"
    links = {link.evaluate("link => link.href") for link in owner.locator("a[href]").all()}
    files = {link for link in links if "#" not in link}
    for link in sorted(files):
        answer = owner.request.get(link)
        assert (answer.status, len(answer.body()) > 0) == (200, True), link
    by_kind = Counter(link.rpartition(".")[2] for link in files)
    assert all(by_kind[kind] >= 3 for kind in ("csv", "tex", "svg")), by_kind
    # The files that the study's page offers beside it.
    owner.go_back()
    for name in ("all its files", "namings as JSON", "as CSV"):
        with owner.expect_download() as download:
            owner.get_by_role("link", name=name).click()
        assert download.value.path().stat().st_size > 0, name


def test_a_viewers_link_leads_to_the_results(naming: Naming):
    answer = naming.client.invite_annotator(naming.study.study_id, "Vera", role=naming_pb2.ROLE_VIEWER)
    page = naming.page.context.new_page()
    page.goto(f"{naming.link.partition('#')[0]}#{answer.token}")
    expect(page.get_by_role("heading", name="What the network looked at")).to_be_visible(timeout=60_000)
    assert answer.token not in page.url
    vera = study_page(naming).get_by_role("row", name="Vera looks only")
    expect(vera.locator("td.number")).to_have_text(["", "", ""])


def test_a_viewer_of_a_study_without_results_is_told_why_in_words(naming: Naming):
    study = naming.client.create_study("without maps", "tiny", "shapes", "tiny", ["circle"])
    answer = naming.client.invite_annotator(study.study_id, "Vera", role=naming_pb2.ROLE_VIEWER)
    page = naming.page.context.new_page()
    page.goto(f"{naming.link.partition('#')[0]}#{answer.token}")
    expect(page.get_by_role("heading")).to_have_text("Results of without maps")
    expect(page.get_by_role("alert")).to_contain_text("has no maps yet")


def test_a_report_that_is_not_written_leaves_the_studys_page_and_says_why(naming: Naming):
    owner = study_page(naming)
    owner.route("**/report/index.html?fresh=1", lambda route: route.abort())
    owner.get_by_role("button", name="Write the report").click()
    expect(owner.get_by_role("alert")).to_contain_text("The server does not answer.")
    expect(owner.get_by_role("button", name="Write the report")).to_be_enabled()
    expect(owner.get_by_text("The report is being written.")).to_have_count(0)


def test_rows_of_one_annotator_never_stand_under_another(naming: Naming):
    second = naming.client.invite_annotator(naming.study.study_id, "nothing yet").annotator
    owner = study_page(naming)
    section = owner.locator("section", has=owner.get_by_role("heading", name="What the network looked at"))
    whose = section.get_by_label("in the words of")
    whose.select_option(naming.annotator.display_name)
    expect(section.get_by_role("button", name="nothing named")).to_be_visible()
    owner.route(f"**/annotators/{second.annotator_id}/summary*", lambda route: route.abort())
    whose.select_option("nothing yet")
    expect(section.get_by_role("alert")).to_contain_text("The server does not answer.")
    expect(section.get_by_role("table")).to_have_count(0)


def test_an_unknown_study_leads_to_those_there_are(naming: Naming):
    page = naming.page.context.new_page()
    page.goto(f"{naming.link.partition('/name')[0]}/studies/%E0%A4%A")
    # Of the study and its annotators, asked for at once, the first refusal shows; a study has a name, too.
    expect(page.get_by_role("alert")).to_have_text(
        re.compile(r"No study has the id (or the name )?'%E0%A4%A'; onoma study list shows those there are\.")
    )
    page.get_by_role("link", name="All studies of this server").click()
    expect(page.get_by_role("heading", name="Studies")).to_be_visible()


def test_without_an_answer_the_owners_page_says_so_and_tries_again(naming: Naming):
    page = naming.page.context.new_page()
    page.route("**/api/**", lambda route: route.abort())
    page.goto(naming.link.partition("/name")[0])
    expect(page.get_by_role("alert")).to_contain_text(
        "The server does not answer. Is this machine on the network?"
    )
    page.unroute("**/api/**")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("link", name=naming.study.name, exact=True).first).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
