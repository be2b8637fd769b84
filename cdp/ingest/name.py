"""name: whom a message names, by its ids and by what else of it identifies somebody. Pure.

Invariants: an empty value is an absent one; a cause names fields and limits, never a value.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, NoReturn

from cdp.errors import InvalidInputError
from cdp.ingest.model import EventType, RejectReason

MAX_ID = 1000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_IDS = (("user_id", "userId"), ("anonymous_id", "anonymousId"))
_NAMING = frozenset({"device", "externalIds"})


class InvalidEventError(InvalidInputError):
    """Ends the checks of one message; becomes its ``Reject``.

    :param reason: of the failure, in one word.
    """

    def __init__(self, reason: RejectReason, cause: str) -> None:
        super().__init__(cause)
        self.reason = reason


def fail(reason: RejectReason, cause: str) -> NoReturn:
    """End the checks of a message."""
    raise InvalidEventError(reason, cause)


def given_identifiers(
    body: dict[str, Any], kind: EventType, traits: dict[str, Any], context: dict[str, Any], *, trusted: bool
) -> list[tuple[str, str]]:
    """Return every (type, value) that a message names; empty values are absent ones.

    Called for every event: where nothing but its ids can name anybody, nothing else is looked at.

    :param trusted: told by no browser, whose key is public: its alias may name an older id of the user.
    """
    given = [(type_, value) for type_, field in _IDS if (value := id_of(body, field))]
    if kind == "alias":
        given += _previous(body, trusted=trusted)
    if not given:
        fail("no_identifier", "userId and anonymousId are both absent or empty")
    if traits or not _NAMING.isdisjoint(context):
        given += _others(traits, context)
        context.pop("externalIds", None)
    return given


def names_itself(body: dict[str, Any]) -> bool:
    """True for an alias of an id to itself, which clients send once they know their user; it says nothing."""
    previous = id_of(body, "previousId")
    return bool(previous) and previous == id_of(body, "userId")


def _previous(body: dict[str, Any], *, trusted: bool) -> list[tuple[str, str]]:
    """Return what an alias calls the user's id of before: a device's, and on a trusted word also a user's."""
    previous = id_of(body, "previousId")
    if not previous or names_itself(body):
        return []
    older = [("user_id", previous)] if trusted and id_of(body, "userId") else []
    return [("anonymous_id", previous), *older]


def _others(traits: dict[str, Any], context: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the (type, value) pairs that a message names beside its ids."""
    told = ((name, text_of(traits.get(field_of(traits, name)))) for name in ("email", "phone"))
    given = [pair for pair in told if pair[1]]
    device = context.get("device")
    if isinstance(device, dict):
        given.append(("device_id", text_of(device.get("id"))))
    return given + _external(context.get("externalIds"))


def field_of(traits: dict[str, Any], type_: str) -> str:
    """Return the name of the trait that tells an identifier: ``email`` before ``Email`` before ``EMAIL``."""
    if traits.get(type_) is not None:
        return type_
    others = (type_.capitalize(), type_.upper())
    return next((name for name in others if traits.get(name) is not None), type_)


def readable(
    body: dict[str, Any], kind: EventType, context: dict[str, Any], *, trusted: bool
) -> list[tuple[str, str]]:
    """Return every (type, value) of a message that is no event which can be read all the same."""
    found = []
    for type_, field in _IDS:
        with suppress(InvalidEventError, ValueError):  # a number of thousands of digits is a ValueError
            found.append((type_, id_of(body, field)))
    if kind == "alias":
        with suppress(InvalidEventError, ValueError):
            previous = id_of(body, "previousId")
            found += [(type_, previous) for type_, _ in (_IDS if trusted else _IDS[1:])]
    told = {**held(context.get("traits")), **held(body.get("traits"))}
    return found + _others(told if kind == "identify" else {}, context)


def held(value: object) -> dict[str, Any]:
    """Return an object, empty for whatever is none."""
    return value if isinstance(value, dict) else {}


def id_of(body: dict[str, Any], field: str) -> str:
    """Return an id as text; null and empty are absent, numbers are accepted."""
    value = body.get(field)
    if value is None:
        return ""
    if type(value) is str and len(value) <= MAX_ID and value.isprintable():  # nearly all are
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        fail("bad_identifier", f"{field} is neither text nor a number")
    text = str(value)
    if len(text) > MAX_ID:
        fail("bad_identifier", f"{field} has more than {MAX_ID} characters")
    if not text.isprintable() and _CONTROL.search(text):
        fail("bad_identifier", f"{field} has control characters")
    return text


def text_of(value: object) -> str:
    """Return text, empty for whatever is none."""
    return value if isinstance(value, str) else ""


def _external(given: object) -> list[tuple[str, str]]:
    """Read ``context.externalIds``: [{id, type, …}]."""
    if not isinstance(given, list):
        return []
    pairs = [(text_of(item.get("type")), text_of(item.get("id"))) for item in given if isinstance(item, dict)]
    return [(f"external:{kind}", value) for kind, value in pairs if kind and value]
