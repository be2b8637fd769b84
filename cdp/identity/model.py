"""Identities, candidate links and what was decided about them."""

from __future__ import annotations

from typing import Literal

import msgspec

from cdp.clock import Micros

Pair = tuple[int, int]
"""Two identity numbers, the smaller first."""
Told = tuple[Micros, bytes]
"""When a link was decided, and the event that was the evidence."""
Origin = Literal["event", "alias", "merge", "match", "index"]
"""What told a candidate: an event that names both, an ``alias`` call, a steward, matching, or a new version of
the normaliser under which both are one value."""


class Candidate(msgspec.Struct, frozen=True, order=True):
    """Two identifiers were seen together: evidence for a link.

    The field order is the order in which candidates are considered: by the client's uncorrected time,
    then event id, then the place in the event's priority order. Never by arrival. A match, which is a guess,
    is considered after all others (``order``).
    """

    occurred_at: Micros
    event_id: bytes
    position: int
    low: int
    high: int
    received_at: Micros
    verified: bool
    origin: Origin = "event"

    @property
    def order(self) -> tuple[bool, Candidate]:
        """What candidates are sorted by."""
        return self.origin == "match", self

    @property
    def pair(self) -> Pair:
        """The two identities."""
        return self.low, self.high


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a candidate pair.

    :param candidate: the evidence: of all for this pair the earliest verified one, else the earliest.
    :param reason: ``accepted``, ``suppressed``, ``unique:<type>``, ``limit:<type>`` or ``cap``.
    """

    candidate: Candidate
    accepted: bool
    reason: str


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome for one component of candidates.

    :param profile_of: identity_no → profile_no, for every identity of the component.
    """

    profile_of: dict[int, int]
    decisions: tuple[Decision, ...]


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What the identity stage did for one batch.

    :param identity_of: blind index → identity_no, for every identifier of the batch.
    :param created: identities made in this batch, ascending.
    :param relinked: profiles of whose links anything changed, those apart that hold nobody known before.
        Writers draw numbers from blocks of their own, so a profile that somebody known before is in may
        bear the number of an identity made now.
    :param gone: profiles of before that no longer exist.
    """

    identity_of: dict[bytes, int]
    created: tuple[int, ...]
    relinked: frozenset[int]
    gone: frozenset[int]


class Identifier(msgspec.Struct, frozen=True, kw_only=True):
    """One identity of a profile; its value stays sealed."""

    identity_no: int
    type: str
    device: bool
    created_at: Micros
    value: bytes
    first_event_id: bytes

    def __repr__(self) -> str:
        return f"<identifier {self.identity_no} {self.type}>"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a merge or a split would do, or did: profile numbers and their identities."""

    before: dict[int, tuple[int, ...]]
    after: dict[int, tuple[int, ...]]
    pairs: tuple[Pair, ...]
    refused: dict[str, int]
    done: bool
