"""Lists a page at a time, with cursors that say nothing and really continue.

A cursor is base64url of a JSON array: the list's name and the position *after* the last item (the
sort key of that item, never an offset), so that what is added meanwhile neither repeats nor skips.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from cdp.errors import InvalidInputError

T = TypeVar("T")
DEFAULT_LIMIT = 50
MAX_LIMIT = 500
_INT64 = 1 << 63


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list.

    :param next: the cursor of the page after it, None at the end.
    """

    items: Sequence[T]
    next: str | None = None


def encode_cursor(name: str, *position: int | str) -> str:
    """Return the cursor of list ``name`` that continues after ``position``."""
    return base64.urlsafe_b64encode(msgspec.json.encode([name, *position])).decode().rstrip("=")


def decode_cursor(name: str, cursor: str | None, *kinds: type[int | str]) -> list[Any] | None:
    """Return the position in a cursor of list ``name``, one value of each of ``kinds``.

    :returns: None without a cursor: the first page.
    :raises InvalidInputError: the text is no cursor of this list.
    """
    if not cursor:
        return None
    try:
        raw = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
        values = msgspec.json.decode(raw, type=list[int | str])
    except (binascii.Error, ValueError):
        values = []
    fits = all(isinstance(value, str) or abs(value) < _INT64 for value in values)
    if not fits or values[:1] != [name] or [type(value) for value in values[1:]] != list(kinds):
        raise InvalidInputError("the cursor is not one that this list gave; ask for the first page")
    return values[1:]


def checked_limit(limit: int) -> int:
    """Return ``limit`` when it is a page size.

    :raises InvalidInputError: it is not between 1 and 500.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidInputError(f"limit is between 1 and {MAX_LIMIT}")
    return limit


def page_of(
    found: Sequence[T], limit: int, name: str, position: Callable[[T], tuple[int | str, ...]]
) -> Page[T]:
    """Make a page from ``limit + 1`` fetched items: the one too many tells that there is a next."""
    items = found[:limit]
    more = len(found) > limit
    return Page(items, encode_cursor(name, *position(items[-1])) if more and items else None)


def page_by_key(
    items: Iterable[T], limit: int, cursor: str | None, name: str, key: Callable[[T], str]
) -> Page[T]:
    """Page through a short list that is held whole, in the order of its unique text key."""
    after = decode_cursor(name, cursor, str)
    ordered = sorted(items, key=key)
    rest = ordered if after is None else [item for item in ordered if key(item) > after[0]]
    return page_of(rest[: checked_limit(limit) + 1], limit, name, lambda item: (key(item),))
