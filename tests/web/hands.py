"""What a hand does on the naming page, and what it sees there."""

from playwright.sync_api import Locator, Page, expect

from onoma.v1 import naming_pb2


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
    expect(page.get_by_role("textbox", name="Name of the concept")).to_be_focused()
    page.keyboard.type(name)
    page.keyboard.press("Enter")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def quoted(name: str) -> str:
    """As the page writes a name within a sentence: isolated, whatever its direction."""
    return f"“\u2068{name}\u2069”"


def groups(stored: naming_pb2.Naming) -> list[tuple[str, list[str]]]:
    """Name and activations of each concept."""
    return [(c.name, list(c.activation_ids)) for c in stored.concepts]


def names(stored: naming_pb2.Naming) -> list[str]:
    return [c.name for c in stored.concepts]


def sizes(stored: naming_pb2.Naming) -> list[tuple[str, int]]:
    return [(c.name, len(c.activation_ids)) for c in stored.concepts]


def wait_until_saved(page: Page) -> None:
    expect(page.locator(".saving")).to_have_text("saved")
