"""What the reading of one person shares: the stages, the snapshot, whose data it is, what was met."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from cdp.access import AccessService
from cdp.audit import AuditLog
from cdp.clock import Clock
from cdp.consent import ConsentLedger, ReceiptIssuer
from cdp.gate import Gate, Subject
from cdp.identity import IdentityService
from cdp.ingest import Quarantine
from cdp.policy import Bundle
from cdp.profiles import ProfileService
from cdp.segments import SegmentService
from cdp.store import Connection


class Stages(NamedTuple):
    """Where a person's data lies."""

    identity: IdentityService
    access: AccessService
    profiles: ProfileService
    ledger: ConsentLedger
    receipts: ReceiptIssuer
    segments: SegmentService
    quarantine: Quarantine
    audit: AuditLog
    gate: Gate
    clock: Clock


class Scope(NamedTuple):
    """Whose data an archive holds.

    :param numbers: the identities; ``proved`` those of them that the person proved.
    :param members: profile_no → those of its identities that are among them.
    :param whole: see ``Reach``.
    """

    proved: tuple[int, ...]
    numbers: tuple[int, ...]
    members: dict[int, list[int]]
    whole: bool


class Context:
    """One person, being read at one snapshot.

    ``seen`` collects (part, name) → names of the sources of every field that was met; ``left_out`` says in
    words what is missing; ``unreadable`` counts what could not be opened; ``named`` are the (type, value) of
    the identifiers. ``ids`` gives each identity its number in the archive.
    """

    def __init__(
        self, stages: Stages, connection: Connection, scope: Scope, subject: Subject, bundle: Bundle
    ) -> None:
        self.stages = stages
        self.connection = connection
        self.scope = scope
        self.subject = subject
        self.bundle = bundle
        self.sources = {one.source_id: one for one in stages.access.read_sources(connection)}
        self.ids = {number: place for place, number in enumerate(scope.numbers, 1)}
        self.seen: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.left_out: list[str] = []
        self.unreadable = 0
        self.named: set[tuple[str, str]] = set()

    def note(self, part: str, name: str, source: str | None) -> None:
        """Note that a field was met."""
        self.seen[part, name].update(() if source is None else (source,))

    def source(self, source_id: int) -> str | None:
        """Return the name of a source, None where it is not known any more."""
        known = self.sources.get(source_id)
        return None if known is None else known.name

    def purpose(self, key: str) -> str:
        """Return what a purpose is called."""
        known = self.bundle.purposes.get(key)
        return key if known is None else known.name
