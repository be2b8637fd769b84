"""Consent: the append-only ledger, its precedence and the state derived from it."""

from cdp.consent.model import (
    RESTRAINING,
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
from cdp.consent.precedence import standing
from cdp.consent.service import ConsentLedger
from cdp.consent.signals.segment import statements as segment_statements
from cdp.consent.signals.segment import unmapped as segment_unmapped

__all__ = [
    "RESTRAINING",
    "ConsentLedger",
    "Draft",
    "EventType",
    "Member",
    "Record",
    "RecordState",
    "SourceKind",
    "Standing",
    "State",
    "Statement",
    "segment_statements",
    "segment_unmapped",
    "standing",
]
