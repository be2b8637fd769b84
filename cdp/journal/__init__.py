"""The journal: what restrains, outside the database and before it, so that no restore loses it.

A stage without tables: files of lines, each checked against the one before.
"""

from cdp.journal.model import (
    Consent,
    Erasure,
    Fact,
    Line,
    Listed,
    Numbers,
    Position,
    Readmission,
    Segment,
    Switched,
    Thing,
    switched,
)
from cdp.journal.read import read_segment
from cdp.journal.service import Journal

__all__ = [
    "Consent",
    "Erasure",
    "Fact",
    "Journal",
    "Line",
    "Listed",
    "Numbers",
    "Position",
    "Readmission",
    "Segment",
    "Switched",
    "Thing",
    "read_segment",
    "switched",
]
