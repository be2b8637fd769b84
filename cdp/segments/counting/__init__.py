"""Counts for keys that may not know them exactly, and what each was told."""

from cdp.segments.counting.service import PER_DAY, SHORT_LIST, Counting

__all__ = ["PER_DAY", "SHORT_LIST", "Counting"]
