"""Reports and the officer's queue, wired."""

from __future__ import annotations

from cdp.audit import AuditLog
from cdp.clock import Clock
from cdp.consent import ConsentLedger
from cdp.crypto import ProfileIds, Rotation
from cdp.gate import Gate
from cdp.ingest import DataCatalogue
from cdp.policy import InForce, Policies
from cdp.reports import House, OfficerQueue, Reporting, Reports
from cdp.segments import SegmentService
from cdp.settings import Settings
from cdp.store import Committer


def wire_reports(
    settings: Settings,
    committer: Committer,
    audit: AuditLog,
    in_force: InForce,
    policies: Policies,
    ledger: ConsentLedger,
    gate: Gate,
    segments: SegmentService,
    catalogue: DataCatalogue,
    rotation: Rotation,
    ids: ProfileIds,
    clock: Clock,
) -> Reporting:
    """Return what makes reports, and what gathers the officer's queue."""
    house = House(
        name=settings.controller_name,
        contact=settings.controller_contact,
        four_eyes=settings.four_eyes,
        backup_days=settings.key_backup_days,
    )
    policy = in_force.current
    return Reporting(
        Reports(committer, audit, policy, gate, segments, catalogue, rotation, ids, house, clock),
        OfficerQueue(committer, audit, policy, policies, ledger, rotation, settings.witness_key, clock),
    )
