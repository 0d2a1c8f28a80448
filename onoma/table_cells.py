"""Text in the cells of tables that people open in a spreadsheet."""

import re

# An apostrophe before one of these shows as text, and what has apostrophes of its own there gets one more, so that it
# can be taken off again (OWASP, CSV injection).
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def guarded(text: str) -> str:
    """Text with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def as_it_was(cell: str) -> str:
    """The text of which `guarded` made a cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
