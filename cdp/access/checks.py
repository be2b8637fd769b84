"""checks: what may be said of a source or a key. Pure; a message holds no value that somebody sent."""

from __future__ import annotations

from collections.abc import Collection, Container

import phonenumbers

from cdp.access.model import Limits, Principal, Role, SourceKind
from cdp.errors import InvalidInputError, NotPermittedError

MAX_BODY_KIB = 4096
_MAX_RATE = 1_000_000


def check_links(kind: SourceKind, *, links: bool) -> None:
    """Refuse that anybody but a server has links made."""
    if links and kind != "server":
        raise InvalidInputError("only a source of kind server has links made")


def check_limits(limits: Limits) -> None:
    """Refuse limits that could not be kept, or under which nothing could be sent."""
    for name, most in (
        ("events_per_second", _MAX_RATE),
        ("burst", _MAX_RATE),
        ("max_body_kib", MAX_BODY_KIB),
        ("max_event_kib", MAX_BODY_KIB),
    ):
        value = getattr(limits, name)
        if value is not None and not 1 <= value <= most:
            raise InvalidInputError(f"{name} of a source is 1 to {most}, or none")
    if limits.burst is not None and limits.events_per_second is None:
        raise InvalidInputError("a burst is of a source that has events_per_second")


def checked_name(name: str) -> str:
    """Return a name that may be given to a source or a key."""
    if not (0 < len(name) <= 100 and name.isprintable()):
        raise InvalidInputError("a name has 1 to 100 printable characters")
    return name


def region_of(text: str | None) -> str | None:
    """Return an ISO 3166 code in upper case, None for none.

    :raises InvalidInputError: it is no country with a numbering plan.
    """
    code = (text or "").strip().upper()
    if not code:
        return None
    if code not in phonenumbers.SUPPORTED_REGIONS:
        raise InvalidInputError(
            "the region of a source is the ISO 3166 code of a country with telephone numbers"
        )
    return code


def check_grant(creator: Principal, roles: Collection[Role], purposes: Collection[str]) -> None:
    """Refuse a key that its maker may not make."""
    if "admin" not in creator.roles:
        raise NotPermittedError("only a key of role admin makes keys")
    if not all(creator.may_state(purpose) for purpose in purposes):
        raise NotPermittedError("the creating key lacks one of the purposes; nobody grants what they lack")
    if not set(roles) <= creator.roles | {"source", "destination"}:
        raise NotPermittedError("the creating key lacks one of the roles; nobody grants what they lack")


def check_usable(
    roles: Collection[Role],
    purposes: Collection[str],
    destination: str,
    known_purposes: Container[str] | None,
    known_destinations: Container[str] | None,
) -> None:
    """Refuse a key that could never work.

    :param known_purposes: those that the policies declare; None where there are none to hold it against.
    :param known_destinations: likewise.
    """
    if not roles:
        raise InvalidInputError("an API key has at least one role")
    if "source" in roles:
        raise InvalidInputError("a source has a write key, not an API key: make it with `cdp source create`")
    if ("destination" in roles) != bool(destination):
        raise InvalidInputError("a key of role destination names its destination, no other does")
    if "destination" in roles and "marketer" in roles:
        raise InvalidInputError(
            "a key is a destination's or a marketer's: who defines segments must not count their rows"
        )
    if destination and not purposes:
        raise InvalidInputError(
            "a key of role destination has at least one purpose, or it could fetch nothing"
        )
    if known_purposes is not None and not all(
        purpose == "*" or purpose in known_purposes for purpose in purposes
    ):
        raise InvalidInputError("one of the purposes is not declared in policies/purposes.yaml")
    if destination and known_destinations is not None and destination not in known_destinations:
        raise InvalidInputError("the destination is not declared in policies/destinations/")
