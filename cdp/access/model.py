"""Who is calling: sources with write keys, API keys with roles.

Invariants: a key is stored as SHA-256 of its 256 random bits and shown once; default is deny, and
nobody can grant a role or purpose that they lack.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cdp.clock import Micros

Role = Literal["source", "marketer", "destination", "steward", "officer", "admin"]
SourceKind = Literal["browser", "server", "import"]


KEY_ACTOR = "key:"
"""What the audit log puts before the number of a key."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A system that pushes events.

    :param kind: what its word counts for; browser keys are public.
    :param secret_version: which signing secret its site holds; None while it signs no user ids.
    :param links: whether it may have manage links made, each of which shows one person's choices.
    :param default_region: ISO 3166 code of the country of telephone numbers without a country code.
    """

    source_id: int
    name: str
    kind: SourceKind
    enabled: bool
    secret_version: int | None = None
    links: bool = False
    default_region: str | None = None


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated API key.

    :param roles: what it may do; the operator key made by ``cdp init`` holds several.
    :param purposes: purposes it may state; empty means it states none, ``*`` means every one.
    :param destination: for the role ``destination``: whose releases it may pull.
    """

    key_id: int
    name: str
    roles: frozenset[Role]
    purposes: frozenset[str] = frozenset()
    destination: str = ""
    expires_at: Micros | None = None

    @property
    def actor(self) -> str:
        """How this key appears in the audit log."""
        return f"{KEY_ACTOR}{self.key_id}"

    @property
    def sees_exactly(self) -> bool:
        """True when it may know how many people are in a set: officers, and who receives the rows."""
        return "officer" in self.roles or bool(self.destination)

    @property
    def is_recipient(self) -> bool:
        """True when it may know nothing of people but what is released to its destination."""
        return bool(self.destination) and "officer" not in self.roles

    def may_state(self, purpose: str) -> bool:
        """True when this key may use data for ``purpose``."""
        return purpose in self.purposes or "*" in self.purposes
