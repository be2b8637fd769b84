"""Everything that the faces call; ``cdp/app.py`` builds it, handlers are given it."""

from __future__ import annotations

from dataclasses import dataclass

from cdp.access import AccessService
from cdp.audit import AuditLog
from cdp.clock import Clock
from cdp.consent import ConsentLedger
from cdp.crypto import Keyring, ProfileIds
from cdp.export import ExportService
from cdp.gate import Gate
from cdp.identity import IdentityService
from cdp.ingest import Quarantine
from cdp.pipeline import Pipeline
from cdp.policy import Bundle
from cdp.portrait import PortraitService
from cdp.profiles import ProfileService
from cdp.segments import SegmentService
from cdp.settings import Settings
from cdp.store import Committer, Store
from cdp.warehouse import Mirror, Warehouse
from cdp.worker import Writer


@dataclass(frozen=True, kw_only=True)
class Services:
    """The platform's verbs, by stage."""

    settings: Settings
    clock: Clock
    store: Store
    committer: Committer
    keyring: Keyring
    profile_ids: ProfileIds
    bundle: Bundle
    audit: AuditLog
    access: AccessService
    ledger: ConsentLedger
    identity: IdentityService
    profiles: ProfileService
    quarantine: Quarantine
    pipeline: Pipeline
    writer: Writer
    mirror: Mirror
    warehouse: Warehouse
    segments: SegmentService
    gate: Gate
    exports: ExportService
    portrait: PortraitService
