"""An identifier as callers give it: always in a body, never printed."""

from __future__ import annotations

import msgspec


class IdentifierBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An identifier of a person."""

    type: str
    value: str

    def __repr__(self) -> str:
        return f"<identifier {self.type}>"
