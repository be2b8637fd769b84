"""Exports: what the gate released, in the formats that marketing tools read."""

from cdp.export.addresses import check_url, resolve
from cdp.export.deltas import Changes, Cursor, Feeds
from cdp.export.formats import GrowingFile, encode, harmless
from cdp.export.model import Endpoint, Export, MessageCount, Status
from cdp.export.names import named_segment, segment_id
from cdp.export.outbox import Outbox, Sent, Waiting
from cdp.export.retries import asked_to_wait, next_try
from cdp.export.service import ExportService
from cdp.export.webhooks import Shown, Webhooks

__all__ = [
    "Changes",
    "Cursor",
    "Endpoint",
    "Export",
    "ExportService",
    "Feeds",
    "GrowingFile",
    "MessageCount",
    "Outbox",
    "Sent",
    "Shown",
    "Status",
    "Waiting",
    "Webhooks",
    "asked_to_wait",
    "check_url",
    "encode",
    "harmless",
    "named_segment",
    "next_try",
    "resolve",
    "segment_id",
]
