"""Retention: data goes when its period is over, unless a legal hold keeps it."""

from cdp.rights.retention.holds import LegalHolds
from cdp.rights.retention.model import EVERYBODY, Hold, HoldReason, Run, RunState
from cdp.rights.retention.periods import Due, Kept, Periods
from cdp.rights.retention.service import Retention

__all__ = [
    "EVERYBODY",
    "Due",
    "Hold",
    "HoldReason",
    "Kept",
    "LegalHolds",
    "Periods",
    "Retention",
    "Run",
    "RunState",
]
