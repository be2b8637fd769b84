"""Reports of what was done, and the officer's queue: reads across all stages; nothing here changes any."""

from typing import NamedTuple

from cdp.reports.officer import SEVERITIES, Item, OfficerQueue, Place, Waiting
from cdp.reports.outline import Section, outline
from cdp.reports.page import CONTENT_SECURITY_POLICY, page
from cdp.reports.period import Period, Piece, period
from cdp.reports.queries import Only
from cdp.reports.service import House, Reports

__all__ = [
    "CONTENT_SECURITY_POLICY",
    "SEVERITIES",
    "House",
    "Item",
    "OfficerQueue",
    "Only",
    "Period",
    "Piece",
    "Place",
    "Reporting",
    "Reports",
    "Section",
    "Waiting",
    "outline",
    "page",
    "period",
]


class Reporting(NamedTuple):
    """All that reports."""

    reports: Reports
    queue: OfficerQueue
