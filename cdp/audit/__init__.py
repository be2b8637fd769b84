"""The audit log: every use and refusal as a leaf of a Merkle tree that anybody can check.

``AuditLog`` is the log; ``merkle``, ``sparse``, ``checkpoint`` and ``verify`` are its pure parts.
"""

from cdp.audit.asking import DayOfUses
from cdp.audit.check import Report
from cdp.audit.checkpoint import NoteKey, open_checkpoint, parse_verifier
from cdp.audit.entry import reference, subjects_root
from cdp.audit.merkle import EMPTY_ROOT, leaf_hash, node_hash, root, verify_consistency, verify_inclusion
from cdp.audit.model import AuditEntry, AuditFilter, AuditPage, Checkpoint, Entry, Outcome
from cdp.audit.outside import (
    Bundler,
    Manifest,
    Public,
    Witness,
    WitnessAt,
    open_witness,
    verifier_sha256,
    witness_state,
)
from cdp.audit.queries import log_position
from cdp.audit.service import AuditLog
from cdp.audit.sparse import SparseProof, sparse_prove, sparse_root, verify_absence, verify_presence
from cdp.audit.tables import initialise
from cdp.audit.verify import Problem

__all__ = [
    "EMPTY_ROOT",
    "AuditEntry",
    "AuditFilter",
    "AuditLog",
    "AuditPage",
    "Bundler",
    "Checkpoint",
    "DayOfUses",
    "Entry",
    "Manifest",
    "NoteKey",
    "Outcome",
    "Problem",
    "Public",
    "Report",
    "SparseProof",
    "Witness",
    "WitnessAt",
    "initialise",
    "leaf_hash",
    "log_position",
    "node_hash",
    "open_checkpoint",
    "open_witness",
    "parse_verifier",
    "reference",
    "root",
    "sparse_prove",
    "sparse_root",
    "subjects_root",
    "verifier_sha256",
    "verify_absence",
    "verify_consistency",
    "verify_inclusion",
    "verify_presence",
    "witness_state",
]
