"""Names that people give, and ids that clients choose."""

import re
import unicodedata

from services.runtime.errors import InvalidArgument

MAX_NAME = 200  # characters, after normalisation to NFC
_MAX_RAW = 4 * MAX_NAME  # NFC makes at most four code points into one here; longer is refused unread
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_CONTROL = frozenset(("Cc", "Zl", "Zp"))  # control characters, line and paragraph separators


def checked_name(name: str, what: str, *, may_be_empty: bool = False) -> str:
    """`name` normalised to NFC, without white space around it; any script, right-to-left marks and joined emoji
    included. One that shows nothing (white space, invisible marks) is empty.

    Raises:
        InvalidArgument: over 200 characters, blank where it may not be, or with a control character.
    """
    normal = _composed(name)
    if len(normal) > MAX_NAME:
        raise InvalidArgument(f"{what} has {len(normal)} characters; at most {MAX_NAME} are allowed")
    for character in normal:
        if unicodedata.category(character) in _CONTROL:
            raise InvalidArgument(
                f"{what} {normal!a} has the control character U+{ord(character):04X}; leave it out"
            )
    if all(character.isspace() or unicodedata.category(character) == "Cf" for character in normal):
        normal = ""
    if not may_be_empty and not normal:
        raise InvalidArgument(f"{what} is empty; use 1 to {MAX_NAME} characters")
    return normal.strip()


def as_kept(name: str) -> str:
    """`name` as `checked_name` leaves it, to look it up."""
    return _composed(name).strip()


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name) if len(name) <= _MAX_RAW else name


def checked_id(value: str, what: str) -> str:
    """`value` itself.

    Raises:
        InvalidArgument: it is not 1 to 64 letters, digits, '.', '_', ':' and '-'.
    """
    if not _ID.fullmatch(value):
        raise InvalidArgument(
            f"{what} {shown(value)}: use 1 to 64 letters, digits, '.', '_', ':' and '-' (a UUID, say)"
        )
    return value


def shown(value: str) -> str:
    """A value as messages show it: quoted, and short."""
    return repr(value if len(value) <= 80 else value[:80] + "...")
