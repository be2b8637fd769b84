"""Everything that the faces call; ``cdp/app/`` builds it, handlers are given it."""

from __future__ import annotations

from dataclasses import dataclass

from cdp.access import AccessService
from cdp.api.limits import Asking
from cdp.audit import AuditLog, Bundler, Public, Witness
from cdp.clock import Clock, SteadyClock
from cdp.consent import ConsentLedger, Deriving, ReceiptIssuer
from cdp.crypto import Keyring, ProfileIds, Rotation, UserIdSignatures
from cdp.export import ExportService, Feeds, Outbox, Webhooks
from cdp.gate import Gate, Replays, Review
from cdp.identity import IdentityService, IndexPass, RulesPass
from cdp.ingest import Counts, DataCatalogue, Imports, Plans, Quarantine
from cdp.intake import Intake
from cdp.journal import Journal
from cdp.matching import Matching, ReviewQueue, Watch
from cdp.pipeline import Pipeline
from cdp.policy import Bundle, InForce, Policies
from cdp.portrait import Conflicts, EntryDetails, PortraitService, Previewer, Relinker, Revealer
from cdp.profiles import ProfileService
from cdp.recovery import Recovery
from cdp.reports import Reporting
from cdp.rights import Acts, Archives, ErasureService, LegalHolds, Links, Records, Retention, RightsService
from cdp.rights import opendsr as dsr
from cdp.segments import Counting, SegmentService
from cdp.settings import Settings
from cdp.store import Committer, Store
from cdp.told import ConsentIntake
from cdp.warehouse import Mirror, Warehouse
from cdp.worker import Writer


@dataclass(frozen=True, kw_only=True)
class Services:
    """The platform's verbs, by stage."""

    settings: Settings
    clock: Clock
    steady: SteadyClock
    store: Store
    committer: Committer
    keyring: Keyring
    rotation: Rotation
    signatures: UserIdSignatures
    profile_ids: ProfileIds
    in_force: InForce
    policies: Policies
    audit: AuditLog
    public_log: Public
    bundles: Bundler
    witness: Witness
    journal: Journal
    recovery: Recovery
    access: AccessService
    ledger: ConsentLedger
    deriving: Deriving
    receipts: ReceiptIssuer
    identity: IdentityService
    steward: Relinker
    matching: Matching
    review_queue: ReviewQueue
    watch: Watch
    rules_preview: Previewer
    rules_pass: RulesPass
    index_pass: IndexPass
    profiles: ProfileService
    quarantine: Quarantine
    counts: Counts
    catalogue: DataCatalogue
    plans: Plans
    imports: Imports
    pipeline: Pipeline
    writer: Writer
    intake: Intake
    consent_intake: ConsentIntake
    mirror: Mirror
    warehouse: Warehouse
    segments: SegmentService
    counting: Counting
    gate: Gate
    exports: ExportService
    outbox: Outbox
    feeds: Feeds
    webhooks: Webhooks
    replays: Replays
    review: Review
    portrait: PortraitService
    entry_details: EntryDetails
    conflicts: Conflicts
    reveal: Revealer
    acts: Acts
    erasure: ErasureService
    rights: RightsService
    retention: Retention
    holds: LegalHolds
    records: Records
    asking: Asking
    links: Links
    opendsr: dsr.OpenDsrProcessor
    opendsr_reports: dsr.Reports
    opendsr_fan_out: dsr.OpenDsrFanOut
    archives: Archives
    reporting: Reporting

    @property
    def bundle(self) -> Bundle:
        """The policies in force now."""
        return self.in_force.refresh()
