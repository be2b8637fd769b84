"""The warehouse: a Parquet mirror of declared, clear columns, read through Ibis on DuckDB or Spark."""

from cdp.warehouse.engine import Columns, Tables, evaluated_at, wall_clock
from cdp.warehouse.files import Directory
from cdp.warehouse.focus import Focus, focus
from cdp.warehouse.mirror import Mirror
from cdp.warehouse.model import VALUE_COLUMN, Declared, Scan, declared, event_column
from cdp.warehouse.queries import factual_since, touched
from cdp.warehouse.sets import bitmap, flagged
from cdp.warehouse.snapshot import Snapshot, Warehouse, open_engine

__all__ = [
    "VALUE_COLUMN",
    "Columns",
    "Declared",
    "Directory",
    "Focus",
    "Mirror",
    "Scan",
    "Snapshot",
    "Tables",
    "Warehouse",
    "bitmap",
    "declared",
    "evaluated_at",
    "event_column",
    "factual_since",
    "flagged",
    "focus",
    "open_engine",
    "touched",
    "wall_clock",
]
