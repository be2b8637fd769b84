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


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a source may send; None leaves it to the settings.

    :param events_per_second: in the long run, to one process.
    :param burst: events at once; those of one second unless given.
    :param max_body_kib: of one call, inflated.
    :param max_event_kib: of one event.
    """

    events_per_second: int | None = None
    burst: int | None = None
    max_body_kib: int | None = None
    max_event_kib: int | None = None

    def max_body_bytes(self, otherwise: int) -> int:
        """Return the limit of one call's body, or what holds for all sources."""
        return otherwise if self.max_body_kib is None else self.max_body_kib * 1024

    def max_event_bytes(self, otherwise: int) -> int:
        """Return the limit of one event, or what holds for all sources."""
        return otherwise if self.max_event_kib is None else self.max_event_kib * 1024


UNLIMITED = Limits()


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
    limits: Limits = UNLIMITED


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
