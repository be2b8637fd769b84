"""Consent records after ISO/IEC TS 27560, and the state derived from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from cdp.clock import Micros

RecordState = Literal[
    "granted", "refused", "withdrawn", "objected", "opted_out", "restricted", "restriction_lifted", "informed"
]
EventType = Literal["regular", "explicit", "separate"]
SourceKind = Literal["browser", "server", "import"]
State = Literal["granted", "refused", "withdrawn", "objected", "opted_out", "restricted", "stale", "missing"]
GPC, TCF = "gpc", "tcf"
"""The signals of a ``Sec-GPC`` opt-out and of a TCF string, which is dated by the person's own act in it."""
CONFIRMING = frozenset({"double_opt_in", "preference_page"})
"""Methods by which a person says so from their own address: through a link that was sent there alone."""
RESTRAINING: frozenset[str] = frozenset({"refused", "withdrawn", "objected", "opted_out", "restricted"})


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What was said about one purpose, before it is known whose it is.

    :param act: True for an act of the person (Preference Updated, consent API, preference page),
        False for a stamp reported by an SDK.
    :param state: ``restriction_lifted`` is an officer's record that a restriction has ended; it grants
        nothing.
        ``informed``: the person was given the notice; it grants nothing either.
    :param event_time: when the person said it, by the client's clock; of ``restriction_lifted``: when the
        person was told (GDPR Art. 18(3)).
    :param signal: where it was read from (``segment``, ``tcf``, ``gpp``, ``gpc``…); empty for the consent
        API.
    :param device_only: it binds the devices that the message names, nobody else (TCF and GPP, rule 8).
    """

    purpose: str
    state: RecordState
    act: bool
    event_time: Micros
    event_type: EventType = "regular"
    signal: str = ""
    expires_at: Micros | None = None
    notice_id: str = ""
    notice_version: int | None = None
    language: str = ""
    method: str = ""
    jurisdiction: str = ""
    recipients: tuple[str, ...] = ()
    evidence: bytes | None = None
    device_only: bool = False


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """Statements of one message with the identities it named, ready for the ledger.

    :param named: every identity that the message names, highest priority first.
    :param authenticated: the identity a grant attaches to (see privacy.md, consent rule 4); None
        when nobody it names may be granted for (an unverified word that names no device).
    """

    statements: tuple[Statement, ...]
    named: tuple[int, ...]
    authenticated: int | None
    received_at: Micros
    source_id: int
    source_kind: SourceKind
    verified: bool


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger took of some drafts.

    :param profiles: those that have a new record.
    :param records: for each draft the ids of its new records, an authenticated or named identity's first.
    :param unknown: statements that restrain nothing, about purposes that the policies do not declare:
        counted, not stored.
    :param unbound: statements that nobody could be held to: an unverified word or a device's grant in a
        message without a device.
    """

    profiles: frozenset[int]
    records: tuple[tuple[int, ...], ...]
    unknown: int = 0
    unbound: int = 0


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of the append-only ledger.

    :param said_of: of a restraint, the first of the identities that its message named: of it it was said,
        and to the others it was written. None: it was said of the one that it is written to.
    """

    record_id: int
    identity_no: int
    purpose: str
    state: RecordState
    act: bool
    event_time: Micros
    received_at: Micros
    source_kind: SourceKind
    source_id: int
    verified: bool
    event_type: EventType = "regular"
    legal_basis: str = ""
    signal: str = ""
    expires_at: Micros | None = None
    notice_id: str = ""
    notice_version: int | None = None
    notice_sha256: str = ""
    language: str = ""
    method: str = ""
    jurisdiction: str = ""
    recipients: tuple[str, ...] = ()
    sealed: bytes | None = None
    said_of: int | None = None


OnRecord = Mapping[int, list[Record]]
"""identity_no → its records as far as precedence looks at them, the oldest first."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One identity of a profile, as consent needs to know it (identity hands it over).

    :param linked_at: other identity_no → when the chain of accepted links to it was complete
        (received time; the latest link on the best chain). An act at A received after
        ``A.linked_at[B]`` answers for B. Every other member of the profile is a key.
    :param vouched_at: the same along links on which a restraint may be lifted: those on more than an unsigned
        browser's word, and from there into devices (``identity/relate.py``). Others are no key.
    :param came_with: identities that the event in which it was first seen linked it to → whether a server or
        import said so; itself among them, which changes nothing. Having no record is neutral towards what
        those stand on (rule 5, ``carry.py``).
    :param seen_at: when it was first seen; an unsigned browser's later grant is not for it.
    """

    identity_no: int
    device: bool
    linked_at: Mapping[int, Micros]
    vouched_at: Mapping[int, Micros] = {}
    came_with: Mapping[int, bool] = {}
    seen_at: Micros = 0

    def answers(self, received_at: Micros, identity_no: int) -> bool:
        """True when an act of this identity speaks for another: its own, or linked by the time of the act.

        The message that makes a link names both its ends, so one instant for both is enough.
        """
        if identity_no == self.identity_no:
            return True
        linked_at = self.linked_at.get(identity_no)
        return linked_at is not None and received_at >= linked_at

    def lifts(self, received_at: Micros, restraint: Record) -> bool:
        """True when an act of this identity speaks for whom a restraint was said of, and is written to."""
        if restraint.identity_no == self.identity_no:
            return True
        whose = (restraint.identity_no, restraint.said_of)
        since = (received_at if one == self.identity_no else self.vouched_at.get(one or 0) for one in whose)
        vouched = any(at is not None and received_at >= at for at in since)
        return vouched and self.answers(received_at, restraint.identity_no)


class Named(msgspec.Struct, frozen=True, array_like=True):
    """What holds for one of the recipients that a profile's grants name."""

    recipient: str
    granted_at: Micros
    expires_at: Micros | None
    event_type: EventType
    notice_current: bool


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one purpose for one profile, with its reason.

    :param state: ``granted`` or why not; only ``granted`` is granted.
    :param reason: short code: ``granted``; the restraining state, with ``_above`` when it was said of a
        purpose above; ``stale_expired``, ``stale_notice``; ``merge_missing`` and ``merge_recipients``
        when members of the profile do not agree; ``not_affirmed`` when a grant came before a restraint
        that has been lifted for a purpose above only; ``no_record``.
    :param since: when it took effect.
    :param granted_at: the oldest grant that the state rests on.
    :param expires_at: the first instant at which it is stale for whomever; None when it never ages.
    :param event_type: the weakest kind of consent that the state rests on.
    :param recipients: named recipients; empty when none were named.
    :param named: what holds for each of them, where that differs (``Standings`` answers by recipient).
    """

    purpose: str
    state: State
    reason: str
    since: Micros = 0
    granted_at: Micros | None = None
    expires_at: Micros | None = None
    event_type: EventType = "regular"
    notice_current: bool = False
    recipients: tuple[str, ...] = ()
    named: tuple[Named, ...] = ()
    record_id: int | None = None
    notice_given: Micros | None = None
