"""Vendor formats: each file turns one format's bodies into ``Delivery`` and its messages into fields."""

from cdp.ingest.sources.segment import Body, read_body

__all__ = ["Body", "read_body"]
