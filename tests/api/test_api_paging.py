"""Cursors continue, whatever is added meanwhile, and others' cursors are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.api.paging import Page, decode_cursor, encode_cursor, page_by_key
from cdp.errors import InvalidInputError

NAMES = st.sets(st.text(min_size=1, max_size=20), max_size=40)


def walk(names: set[str], limit: int) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    for _ in range(len(names) + 1):
        page: Page[str] = page_by_key(names, limit, cursor, "names", lambda name: name)
        assert len(page.items) <= limit
        found += page.items
        if page.next is None:
            return found
        cursor = page.next
    raise AssertionError("the list does not end")


@given(NAMES, st.integers(1, 7))
def test_every_item_comes_exactly_once(names: set[str], limit: int) -> None:
    assert walk(names, limit) == sorted(names)


@given(NAMES.filter(lambda names: len(names) > 1), st.text(min_size=1, max_size=20))
def test_what_is_added_behind_the_cursor_does_not_shift_the_rest(names: set[str], added: str) -> None:
    first = page_by_key(names, 1, None, "names", lambda name: name)
    rest = page_by_key(names | {added}, 500, first.next, "names", lambda name: name)
    expected = sorted((names | ({added} if added > first.items[0] else set())) - {first.items[0]})
    assert list(rest.items) == expected


@given(st.text(max_size=60))
def test_a_text_that_is_no_cursor_is_refused(text: str) -> None:
    if text:
        with pytest.raises(InvalidInputError):
            decode_cursor("names", text, str)


def test_the_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        decode_cursor("events", encode_cursor("names", "a"), str)


def test_a_cursor_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        decode_cursor("names", encode_cursor("names", 1), str)
    with pytest.raises(InvalidInputError):
        decode_cursor("names", encode_cursor("names", "a", 1), str)


def test_a_number_beyond_every_column_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        decode_cursor("audit", encode_cursor("audit", 1 << 64), int)


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_page_size_has_bounds(limit: int) -> None:
    with pytest.raises(InvalidInputError):
        page_by_key(["a"], limit, None, "names", lambda name: name)
