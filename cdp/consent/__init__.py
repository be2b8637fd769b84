"""Consent: the append-only ledger, its precedence and the state derived from it."""

from cdp.consent.anew.derive import Deriving, Progress
from cdp.consent.attach import bound_by
from cdp.consent.issue import ReceiptIssuer
from cdp.consent.model import (
    CONFIRMING,
    RESTRAINING,
    Appended,
    Draft,
    EventType,
    Member,
    Record,
    RecordState,
    SourceKind,
    Standing,
    State,
    Statement,
)
from cdp.consent.news import Track
from cdp.consent.precedence import standing
from cdp.consent.proofs import Proofs
from cdp.consent.receipt import jwk as receipt_jwk
from cdp.consent.receipt import verify as verify_receipt
from cdp.consent.service import ConsentLedger
from cdp.consent.signals import Heard, Listener, MalformedSignalError
from cdp.consent.standings import NEVER, Standings

__all__ = [
    "CONFIRMING",
    "NEVER",
    "RESTRAINING",
    "Appended",
    "ConsentLedger",
    "Deriving",
    "Draft",
    "EventType",
    "Heard",
    "Listener",
    "MalformedSignalError",
    "Member",
    "Progress",
    "Proofs",
    "ReceiptIssuer",
    "Record",
    "RecordState",
    "SourceKind",
    "Standing",
    "Standings",
    "State",
    "Statement",
    "Track",
    "bound_by",
    "receipt_jwk",
    "standing",
    "verify_receipt",
]
