"""An export as its requester sees it, and what destinations are told of recalls."""

from __future__ import annotations

from typing import Literal

import msgspec

from cdp.clock import Micros
from cdp.gate import Format, Mode

Status = Literal["ready", "dry_run", "refused"]
MessageState = Literal["queued", "sent", "acknowledged", "failed"]


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, released and withheld.

    :param id: opaque; None for a dry run.
    :param status: ``ready`` to be fetched; ``dry_run``, or ``refused`` for a dry run of what would be
        refused, for ``reason``.
    :param as_of: the ``commit_no`` of the ledger that was decided on; ``members_as_of`` that of the
        segment's evaluation.
    :param members: people in the segment; ``released`` and ``withheld`` (by reason) of them.
    :param exact: False when the counts are noised.
    :param fields: name → kind of transform; where people are treated differently, joined by ``|``. Officers
        and whoever fetches see what people got; all others what the rules could give, which tells of nobody.
    :param bundle: SHA-256 of the policies decided under.
    :param manifest_root: hex root of the tree in which presence and absence are provable.
    """

    id: str | None
    status: Status
    segment: str
    segment_version: int
    destination: str
    purpose: str
    format: Format
    mode: Mode
    created_at: Micros
    as_of: int
    members_as_of: int
    members: int
    released: int
    withheld: dict[str, int]
    exact: bool
    fields: dict[str, str]
    bundle: str
    audit_index: int
    manifest_root: str
    reason: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the outbox: see ``cdp.export.tables.outbox``."""

    message_id: str
    destination: str
    purpose: str
    segment: str
    kind: Literal["recall.remove", "recall.correct"]
    people: int
    payload: bytes | None
    state: MessageState
    created_at: Micros
    deadline: Micros
    expires_at: Micros
    attempts: int
    next_attempt_at: Micros
    last_error: str = ""
    sent_at: Micros | None = None
    acknowledged_at: Micros | None = None


class MessageCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages of one state a destination has, and of how many people they tell.

    :param late: their deadline has passed and they are not acknowledged.
    :param oldest: when the oldest of them was made.
    """

    destination: str
    state: MessageState
    late: bool
    messages: int
    people: int
    oldest: Micros


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a destination is told of recalls: see ``cdp.export.tables.webhook_endpoints``."""

    destination: str
    url: str
    enabled: bool
    disabled_for: str
    secret_version: int
    old_secret_version: int | None
    old_secret_until: Micros | None
    slow_until: Micros | None
    failures: int
    changed_at: Micros
