"""Exports: what the gate released, in the formats that marketing tools read."""

from cdp.export.deltas import Changes, Cursor, Feeds
from cdp.export.formats import csv_cell, encode
from cdp.export.model import Endpoint, Export, MessageCount, Status
from cdp.export.names import named_segment, segment_id
from cdp.export.outbox import Outbox, Waiting
from cdp.export.service import ExportService
from cdp.export.webhooks import Shown, Webhooks

__all__ = [
    "Changes",
    "Cursor",
    "Endpoint",
    "Export",
    "ExportService",
    "Feeds",
    "MessageCount",
    "Outbox",
    "Shown",
    "Status",
    "Waiting",
    "Webhooks",
    "csv_cell",
    "encode",
    "named_segment",
    "segment_id",
]
