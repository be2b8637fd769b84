"""From the bytes of a source's call to classified, indexed events; and what could not become one."""

from cdp.ingest.classify import Classifier, has_type, snake_case
from cdp.ingest.keep import Keeper, decisive, refusals, strip
from cdp.ingest.model import (
    Classified,
    Delivery,
    Event,
    EventType,
    Indexed,
    Message,
    Prepared,
    Reject,
    RejectKind,
    Trait,
)
from cdp.ingest.protect import Protector, UnsealableError
from cdp.ingest.quarantine import Quarantine, QuarantineItem
from cdp.ingest.queries import add_events, event_times, events_between, forget_events, timeline
from cdp.ingest.service import EventKeys
from cdp.ingest.sources import EVENT_TYPES, Body, read_body, rudder_pixel, segment_pixel
from cdp.ingest.undeclared import SeenField, Undeclared
from cdp.ingest.validate import Validator, looks_personal

__all__ = [
    "EVENT_TYPES",
    "Body",
    "Classified",
    "Classifier",
    "Delivery",
    "Event",
    "EventKeys",
    "EventType",
    "Indexed",
    "Keeper",
    "Message",
    "Prepared",
    "Protector",
    "Quarantine",
    "QuarantineItem",
    "Reject",
    "RejectKind",
    "SeenField",
    "Trait",
    "Undeclared",
    "UnsealableError",
    "Validator",
    "add_events",
    "decisive",
    "event_times",
    "events_between",
    "forget_events",
    "has_type",
    "looks_personal",
    "read_body",
    "refusals",
    "rudder_pixel",
    "segment_pixel",
    "snake_case",
    "strip",
    "timeline",
]
