"""The officer's queue."""

from cdp.reports.officer.model import SEVERITIES, Item, Place
from cdp.reports.officer.service import OfficerQueue, Waiting

__all__ = ["SEVERITIES", "Item", "OfficerQueue", "Place", "Waiting"]
