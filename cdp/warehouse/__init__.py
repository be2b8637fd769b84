"""The warehouse: a Parquet mirror of declared, clear columns, read through Ibis on DuckDB."""

from cdp.warehouse.engine import Snapshot, Tables, Warehouse, evaluated_at
from cdp.warehouse.mirror import Mirror
from cdp.warehouse.model import VALUE_COLUMN, Declared, declared, event_column
from cdp.warehouse.sets import bitmap

__all__ = [
    "VALUE_COLUMN",
    "Declared",
    "Mirror",
    "Snapshot",
    "Tables",
    "Warehouse",
    "bitmap",
    "declared",
    "evaluated_at",
    "event_column",
]
