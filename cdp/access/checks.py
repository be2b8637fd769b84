"""checks: what may be said of a source. Pure; a message holds no value that somebody sent."""

from __future__ import annotations

import phonenumbers

from cdp.access.model import SourceKind
from cdp.errors import InvalidInputError


def check_links(kind: SourceKind, *, links: bool) -> None:
    """Refuse that anybody but a server has links made."""
    if links and kind != "server":
        raise InvalidInputError("only a source of kind server has links made")


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
