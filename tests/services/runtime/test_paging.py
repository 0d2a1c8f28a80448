"""Page tokens: what comes back is what was given, and nothing else is taken."""

import base64
import json

import pytest

from services.runtime import paging
from services.runtime.errors import InvalidArgument


@pytest.mark.parametrize("position", [("a name",), (7,), (1.5, "id"), (-(2**63) + 1,)])
def test_a_token_says_where_the_page_before_ended(position):
    token = paging.make_token(*position)
    assert paging.read_token(token, *map(type, position)) == list(position)


@pytest.mark.parametrize(
    "written",
    ["[1e400]", "[NaN]", f"[{10**30}]", "[true]", '["a"]', "7", "{}", "[" * 100_000, "", "\xff"],
)
def test_no_other_number_is_taken(written):
    with pytest.raises(InvalidArgument, match="start without one"):
        paging.read_token(base64.urlsafe_b64encode(written.encode("latin1")).decode(), int)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_no_text_is_taken_that_no_column_holds(text):
    token = base64.urlsafe_b64encode(json.dumps([text]).encode()).decode()
    with pytest.raises(InvalidArgument, match="start without one"):
        paging.read_token(token, str)
