"""Tracking plans: what the events of a source are to look like, and what happens to those that do not."""

from cdp.ingest.plans.infer import infer_plan
from cdp.ingest.plans.judges import VIOLATIONS, Judges
from cdp.ingest.plans.model import Held, Mode, Plan, PlannedEvent, SeenViolation
from cdp.ingest.plans.read import read_plan
from cdp.ingest.plans.service import Plans

__all__ = [
    "VIOLATIONS",
    "Held",
    "Judges",
    "Mode",
    "Plan",
    "PlannedEvent",
    "Plans",
    "SeenViolation",
    "infer_plan",
    "read_plan",
]
