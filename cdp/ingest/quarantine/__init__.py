"""Failed events: kept sealed, found again by index, replayed or discarded."""

from cdp.ingest.quarantine.finding import QuarantineItem
from cdp.ingest.quarantine.service import Quarantine, Waiting, Wanted

__all__ = ["Quarantine", "QuarantineItem", "Waiting", "Wanted"]
