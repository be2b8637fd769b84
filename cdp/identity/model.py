"""Identities, candidate links and what was decided about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from cdp.clock import Micros

if TYPE_CHECKING:
    from cdp.identity.evidence import Evidence

Pair = tuple[int, int]
"""Two identity numbers, the smaller first."""
Told = tuple[Micros, bytes]
"""When a link was decided, and the event that was the evidence."""


class Judged(NamedTuple):
    """A decision about a link: whether it was accepted, when, and the event that was the evidence."""

    accepted: bool
    decided_at: Micros
    event_id: bytes


RULES = "rules"
"""Who set a pair aside because one of its values is blocked."""
Origin = Literal["event", "alias", "merge", "match", "index"]
"""What told a candidate: an event that names both, an ``alias`` call, a steward, matching, or a new version
of the normaliser under which both are one value."""


WEIGHTS = 3


def weight(verified: bool, origin: str) -> int:  # noqa: FBT001  # columns of a row, in their order
    """Return the ``weight`` of a candidate, below ``WEIGHTS``."""
    return (2 if origin in ("alias", "index") else 1) if verified else 0


class Seen(NamedTuple):
    """An identity as it was first seen: of what type, when, in which event."""

    identity_no: int
    type: str
    created_at: Micros
    first_event_id: bytes


class Candidate(msgspec.Struct, frozen=True, order=True, gc=False):
    """Two identifiers were seen together: evidence for a link.

    The field order is the order in which candidates are considered: by the client's uncorrected time,
    then event id, then the place in the event's priority order. Never by arrival. A match, which is a guess,
    is considered after all others (``order``).

    :param position: the place; of an alias twice the place, and one more where it tells of two values of one
        type of which that of the lower identity is the older.
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

    @property
    def weight(self) -> int:
        """How much it says: 0 on anybody's word, 1 on a trusted one, 2 where that calls both one value."""
        return weight(self.verified, self.origin)


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of a candidate pair.

    :param candidate: the evidence: of all for this pair the earliest verified one, else the earliest.
    :param reason: ``accepted``, ``suppressed``, ``unique:<type>``, ``limit:<type>`` or ``cap``.
    """

    candidate: Candidate
    accepted: bool
    reason: str


def reason_shown(reason: str, named: Callable[[str], bool]) -> str:
    """Return a reason, without the identifier type that it names where that may not be named."""
    code, _, kind = reason.partition(":")
    return reason if not kind or named(kind) else code


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome for one component of candidates.

    :param profile_of: identity_no → profile_no, for every identity of the component.
    """

    profile_of: dict[int, int]
    decisions: tuple[Decision, ...]


class Decided(NamedTuple):
    """What became of components that were decided anew.

    :param relinked: profiles of those known before of whose links anything changed.
    :param gone: profiles of before that no longer exist.
    :param set_aside: reason → how many pairs are set aside by it that were not before.
    :param grown: profiles that reached the size of the growth alarm.
    :param profile_of: identity_no → profile_no, of all of their members.
    :param told: by what they were decided, and how.
    """

    relinked: frozenset[int]
    gone: frozenset[int]
    set_aside: dict[str, int]
    grown: tuple[int, ...]
    profile_of: dict[int, int]
    told: Evidence


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What the identity stage did for one batch.

    :param identity_of: blind index → identity_no, for every identifier of the batch.
    :param created: identities made in this batch, ascending.
    :param relinked: profiles of whose links anything changed, those apart that hold nobody known before.
        Writers draw numbers from blocks of their own, so a profile that somebody known before is in may
        bear the number of an identity made now.
    :param gone: profiles of before that no longer exist.
    :param arrived: returns blind index, under every version of the normaliser, → identity_no, of those that
        were given an index: what waits under one of them is theirs. None where nobody was.
    :param set_aside: reason → how many pairs are set aside by it from now on; ``component``: how many were
        not kept, as they would have connected too many.
    :param grown: how many profiles reached the size of the growth alarm.
    :param profile_of: identity_no → profile_no, of everybody in the components that are locked.
    :param told: all that was told and decided of those; None where nothing was decided.
    """

    identity_of: dict[bytes, int]
    arrived: Callable[[], dict[bytes, int]] | None = None
    created: tuple[int, ...]
    relinked: frozenset[int] = frozenset()
    gone: frozenset[int] = frozenset()
    set_aside: dict[str, int] = {}
    grown: int = 0
    profile_of: dict[int, int] = {}
    told: Evidence | None = None


class Identifier(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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
    """What a merge or a split would do, or did: profile numbers and their identities.

    :param before: the profiles asked about and all others that lose or gain somebody; ``after``: what becomes
        of their identities.
    :param pairs: the pairs with evidence that are revoked, or those admitted.
    :param gone: links that stood and stand no longer; ``made``: those that stand from here on.
    :param set_aside: links of these profiles that the rules refuse, with the reason.
    :param refused: reason → 1 of what was asked for and is refused; nothing is done then.
    """

    before: dict[int, tuple[int, ...]]
    after: dict[int, tuple[int, ...]]
    pairs: tuple[Pair, ...]
    gone: tuple[Pair, ...] = ()
    made: tuple[Pair, ...] = ()
    set_aside: tuple[tuple[Pair, str], ...] = ()
    refused: dict[str, int]
    done: bool
