"""Exploring: what is asked of segments as tables: history, overlaps, funnels, retention, portraits."""

from cdp.segments.explore.cells import Show, Table
from cdp.segments.explore.explorer import Explorer
from cdp.segments.explore.history import Version

__all__ = ["Explorer", "Show", "Table", "Version"]
