"""The journal: what restrains, outside the database and before it, so that no restore loses it.

A stage without tables: files of lines, each checked against the one before.
"""

from cdp.journal.apart import kept_apart
from cdp.journal.model import (
    ORDERED,
    Apart,
    Consent,
    Erasure,
    Fact,
    Line,
    Listed,
    Numbers,
    Ordered,
    Position,
    Readmission,
    Segment,
    Switched,
    Thing,
    lifts,
    switched,
)
from cdp.journal.read import read_segment
from cdp.journal.service import Journal, segments

__all__ = [
    "ORDERED",
    "Apart",
    "Consent",
    "Erasure",
    "Fact",
    "Journal",
    "Line",
    "Listed",
    "Numbers",
    "Ordered",
    "Position",
    "Readmission",
    "Segment",
    "Switched",
    "Thing",
    "kept_apart",
    "lifts",
    "read_segment",
    "segments",
    "switched",
]
