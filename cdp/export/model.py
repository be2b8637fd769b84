"""An export as its requester sees it."""

from __future__ import annotations

from typing import Literal

import msgspec

from cdp.clock import Micros
from cdp.gate import Format

Status = Literal["ready", "dry_run", "refused"]


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, released and withheld.

    :param id: opaque; None for a dry run.
    :param status: ``ready`` to be fetched; ``dry_run``, or ``refused`` for a dry run of what would be
        refused, for ``reason``.
    :param as_of: the ``commit_no`` of the ledger that was decided on; ``members_as_of`` that of the
        segment's evaluation.
    :param members: people in the segment; ``released`` and ``withheld`` (by reason) of them.
    :param exact: False when the counts are noised.
    :param fields: name → kind of transform; where people are treated differently, joined by ``|``.
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
