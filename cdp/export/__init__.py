"""Exports: what the gate released, in the formats that marketing tools read."""

from cdp.export.formats import encode
from cdp.export.model import Export, Status
from cdp.export.service import ExportService

__all__ = ["Export", "ExportService", "Status", "encode"]
