"""Wires what erases people: after a restore, and on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyroaring import BitMap

from cdp.audit import AuditLog
from cdp.clock import Clock
from cdp.consent import ConsentLedger
from cdp.crypto import Keyring
from cdp.export import Outbox
from cdp.identity import IdentityService
from cdp.ingest import Quarantine
from cdp.journal import Journal
from cdp.matching import forget_pairs, reject_again
from cdp.policy import InForce
from cdp.recovery import Eraser, Installation, KeptApart, Recovery
from cdp.rights import Archives, ErasureService, LegalHolds
from cdp.settings import Settings
from cdp.store import Committer, Connection, Erased
from cdp.warehouse import Mirror

_ERASED_FROM = (
    "identifier_index",
    "identities",
    "profile_members",
    "link_candidates",
    "links",
    "events",
    "trait_observations",
    "consent_records",
    "consent_standings",
    "quarantine",
    "quarantine_index",
)
"""Tables of the main database in which an erasure deletes what tells of a person."""
_KEY_TABLES = ("deks",)


def left_out(ledger: ConsentLedger, purpose: str) -> Callable[[Connection], BitMap]:
    """Return what tells whom no segment holds: who is restrained for ``purpose``, and who was erased."""
    erased = Erased()
    return lambda connection: ledger.restrained(connection, purpose) | erased(connection)


def recovering(
    committer: Committer,
    keyring: Keyring,
    journal: Journal,
    ledger: ConsentLedger,
    identity: IdentityService,
    installation: Installation,
    quarantine: Quarantine,
    outbox: Outbox,
    audit: AuditLog,
    in_force: InForce,
    clock: Clock,
) -> Recovery:
    """Return what replays a journal into a restored database, with what erases people then and live."""
    eraser = Eraser(
        committer,
        keyring,
        journal,
        identity,
        quarantine,
        outbox,
        audit,
        lambda: in_force.bundle.rights.erasure,
        lambda: committer.store.scrub(_ERASED_FROM) and keyring.store.scrub(_KEY_TABLES),
        {"pairs": forget_pairs},
        clock,
    )
    kept_apart = KeptApart(committer, journal, identity, reject_again, clock)
    return Recovery(committer, keyring, journal, ledger, identity, installation, kept_apart, eraser, clock)


def erasing(
    settings: Settings,
    committer: Committer,
    keyring: Keyring,
    audit: AuditLog,
    recovery: Recovery,
    mirror: Mirror,
    in_force: InForce,
    clock: Clock,
    archives: Archives,
) -> ErasureService:
    """Return the fulfiller of erasure."""
    recovery.eraser.at_once.append(archives.forget)
    service = ErasureService(
        committer,
        keyring,
        audit,
        recovery.eraser,
        mirror,
        in_force.refresh,
        settings.key_backup_days,
        clock,
    )
    service.holds.append(_held)
    return service


def _held(connection: Connection, identity_nos: Sequence[int]) -> str:
    """Return why somebody may not be erased: a legal hold stands on them, of whatever data."""
    return "legal_hold" if LegalHolds.on(connection, identity_nos) else ""
