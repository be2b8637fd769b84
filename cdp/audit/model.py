"""What a stage hands to the audit log, and what the log answers.

Invariants: nothing in an ``Entry`` is personal data: names of actions, keys, purposes,
destinations and segments, numbers and hashes only. People appear as ``subjects`` (identity numbers),
which the log turns into references that die with the person's proof key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from cdp.clock import Micros

NEW_ORIGIN = "audit.origin"
"""The action of an entry that opens a new origin; the verifier reads it too."""

Outcome = Literal["allowed", "denied", "failed"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One use, decision, change or refusal to be logged.

    :param action: dotted verb, e.g. ``profile.lookup``, ``export.authorise``, ``ingest.batch``.
    :param actor: ``key:<id>``, ``source:<id>`` or ``system``.
    :param object: what it was done to: ids, versions, hex hashes; never personal data.
    :param counts: numbers of things; ``people`` names those that count people, which the log
        hides when they are under 10.
    :param subjects: identity numbers of the people concerned (findable until they are erased).
    :param details: what may not stand in clear, by identity number: free text, names, small numbers. It is
        sealed under that subject's ``person`` key and dies with it.
    """

    action: str
    actor: str
    outcome: Outcome = "allowed"
    purpose: str = ""
    destination: str = ""
    object: dict[str, str | int] = {}
    counts: dict[str, int] = {}
    people: dict[str, int] = {}
    subjects: tuple[int, ...] = ()
    details: Mapping[int, Mapping[str, Any]] = {}


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry as it stands in the log (see ``cdp.audit.entry`` for its fields).

    :param index: its place in the log, from 0.
    :param at: when its batch committed.
    :param data: the logged bytes; the leaf is their hash.
    :param nonce: hex, empty where the entry concerns nobody.
    :param subjects: hex Merkle root over the subjects' references, or empty.
    :param details: hex Merkle root over the sealed details, or empty.
    """

    index: int
    at: Micros
    data: bytes
    commit_no: int
    actor: str
    action: str
    outcome: Outcome
    purpose: str
    destination: str
    object: dict[str, str | int]
    counts: dict[str, int | str]
    people: dict[str, int | str]
    nonce: str = ""
    subjects: str = ""
    details: str = ""


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are asked for; every condition given must hold.

    :param segment: entries whose object names this segment.
    :param identity_nos: entries that concern one of these identities (those of one profile).
    :param from_: not before this instant.
    :param to: before this instant.
    """

    actor: str | None = None
    action: str | None = None
    purpose: str | None = None
    destination: str | None = None
    outcome: Outcome | None = None
    segment: str | None = None
    identity_nos: tuple[int, ...] | None = None
    from_: Micros | None = None
    to: Micros | None = None


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of entries.

    :param entries: newest first.
    :param total: how many of the log's first ``size`` entries match.
    """

    entries: list[AuditEntry]
    total: int
    size: int


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The log's signed statement about its first ``size`` entries.

    :param root: 32 bytes.
    :param note: the C2SP signed note, as published.
    """

    size: int
    root: bytes
    note: str
    signed_at: Micros


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """A name under which the log went on after it had fallen behind a checkpoint of its own.

    :param start: the index of its first entry, which names ``closed``.
    :param closed: the newest known checkpoint of the origin before, as its signed note.
    """

    start: int
    name: str
    closed: str
    opened_at: Micros
