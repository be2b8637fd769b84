"""What is shown of one person: clear values, and the names of those that are sealed."""

from __future__ import annotations

from typing import Any

import msgspec


class Portrait(msgspec.Struct, frozen=True, kw_only=True):
    """One profile across the stages.

    :param id: the opaque profile id (the current one, also when an older one was asked for).
    :param traits: trait name → value; None where the value is sealed.
    :param masked_fields: the names of those traits.
    :param segments: names of the segments that it is a member of.
    :param identities: how many identifiers it has.
    """

    id: str
    profile_no: int
    traits: dict[str, Any]
    masked_fields: tuple[str, ...]
    segments: tuple[str, ...]
    identities: int

    def __repr__(self) -> str:
        return "<portrait>"
