"""Whose records a statement becomes, and what they say: pure (privacy.md, Consent, rules 3, 4 and 8).

Invariants: a grant goes to one identity at most; a restraint to every identity named and everybody then in
their profiles, what binds devices only to the devices named. A grant that names no notice was given on the
one in force at the time. What is kept in clear is text that every database can hold, of bounded length.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from cdp.clock import Micros
from cdp.consent.model import RESTRAINING, Draft, Member, Record, RecordState, Statement
from cdp.consent.notices import INFORMED
from cdp.policy import Notice, Purpose

_LEGAL_BASIS: dict[RecordState, str] = {
    "granted": "consent",
    "refused": "consent",
    "withdrawn": "consent",
    "opted_out": "opt_out",
    "objected": "legitimate_interest",
    "restricted": "",
    "restriction_lifted": "",
    "informed": "",
}
_MAX_TEXT = 500


def concerned(
    draft: Draft, members: Mapping[int, Sequence[Member]], profile_of: Mapping[int, int]
) -> list[int]:
    """Return the identities that a restraint of ``draft`` is written to: named, then in their profiles."""
    numbers = dict.fromkeys(draft.named)
    for profile_no in dict.fromkeys(profile_of[number] for number in draft.named):
        numbers.update(dict.fromkeys(member.identity_no for member in members[profile_no]))
    return list(numbers)


def bound_by(
    draft: Draft, statement: Statement, everyone: Sequence[int], devices: Collection[int]
) -> Sequence[int]:
    """Return the identities that a statement is written to (rules 3, 4 and 8)."""
    if statement.device_only:
        own = [number for number in draft.named if number in devices]
        if own or statement.state not in RESTRAINING:
            return own  # a refusal in a message without a device is not lost: it binds whom the message names
    if statement.state in RESTRAINING:
        return everyone
    chosen = draft.authenticated
    if statement.state == INFORMED:
        return () if chosen is None or chosen in devices or not draft.verified else (chosen,)
    if draft.source_kind == "browser" and not draft.verified and chosen not in devices:
        chosen = next((number for number in draft.named if number in devices), None)
    return () if chosen is None else (chosen,)


def restrains(statement: Statement) -> bool:
    """True for a statement that restrains."""
    return statement.state in RESTRAINING


def after(draft: Draft, received_at: Micros) -> Draft:
    """Return ``draft`` as received after ``received_at``, whatever the clock of its host says."""
    if draft.received_at > received_at:
        return draft
    return msgspec.structs.replace(draft, received_at=received_at + 1)


def describe(draft: Draft, statement: Statement, purpose: Purpose | None) -> Record:
    """Return what is recorded of a statement, before it is known of whom and as which record.

    :param purpose: as declared; None where policies do not declare it.
    """
    notice_id, version, sha256 = _notice(statement, purpose, min(statement.event_time, draft.received_at))
    return Record(
        record_id=0,
        identity_no=0,
        purpose=statement.purpose,
        state=statement.state,
        act=statement.act,
        event_time=statement.event_time,
        received_at=draft.received_at,
        source_kind=draft.source_kind,
        source_id=draft.source_id,
        verified=draft.verified,
        event_type=statement.event_type,
        legal_basis=_LEGAL_BASIS[statement.state],
        signal=_plain(statement.signal),
        expires_at=statement.expires_at,
        notice_id=notice_id,
        notice_version=version,
        notice_sha256=sha256,
        language=_plain(statement.language),
        method=_plain(statement.method),
        jurisdiction=_plain(statement.jurisdiction),
        recipients=tuple(sorted({_plain(name) for name in statement.recipients})),
        said_of=draft.named[0] if restrains(statement) else None,
    )


def _notice(statement: Statement, purpose: Purpose | None, at: Micros) -> tuple[str, int | None, str]:
    """Return id, version and digest of the notice that a statement was made on."""
    named, version = statement.notice_id, statement.notice_version
    found: Notice | None = None
    if purpose is None:
        return _plain(named), version, ""
    if named:
        found = purpose.notice_named(named, version, at)
    elif statement.state in ("granted", INFORMED):
        found = purpose.notice_at(at)
    if found is None:
        return _plain(named), version, ""
    return found.id, found.version, found.sha256


def _plain(text: str) -> str:
    """Return ``text`` as every database can hold it: no NUL, no lone surrogate, of bounded length."""
    return text and text.encode(errors="replace").decode().replace("\0", "")[:_MAX_TEXT]
