"""From the bytes of a source's call to classified, indexed events; and what could not become one."""

from cdp.ingest.catalogue import DataCatalogue, EventShape, FieldShape, SeenField
from cdp.ingest.classify import Classifier, has_type, snake_case
from cdp.ingest.inspect import inspect
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
    RejectReason,
    Replay,
    Sender,
    Trait,
)
from cdp.ingest.outcome import Outcome, Replayed, Unheard, unheard
from cdp.ingest.plans import Held, Plans, SeenViolation, infer_plan
from cdp.ingest.protect import Protector, UnsealableError
from cdp.ingest.quarantine import Quarantine, QuarantineItem, Waiting, Wanted
from cdp.ingest.queries import add_events, event_times, events_between, forget_events, timeline
from cdp.ingest.service import EventKeys
from cdp.ingest.sources import EVENT_TYPES, Body, read_body, rudder_pixel, segment_pixel
from cdp.ingest.tally import OUTCOMES, Counted, Counts, Tally, weigh
from cdp.ingest.validate import Validator, looks_personal

__all__ = [
    "EVENT_TYPES",
    "OUTCOMES",
    "Body",
    "Classified",
    "Classifier",
    "Counted",
    "Counts",
    "DataCatalogue",
    "Delivery",
    "Event",
    "EventKeys",
    "EventShape",
    "EventType",
    "FieldShape",
    "Held",
    "Indexed",
    "Keeper",
    "Message",
    "Outcome",
    "Plans",
    "Prepared",
    "Protector",
    "Quarantine",
    "QuarantineItem",
    "Reject",
    "RejectKind",
    "RejectReason",
    "Replay",
    "Replayed",
    "SeenField",
    "SeenViolation",
    "Sender",
    "Tally",
    "Trait",
    "Unheard",
    "UnsealableError",
    "Validator",
    "Waiting",
    "Wanted",
    "add_events",
    "decisive",
    "event_times",
    "events_between",
    "forget_events",
    "has_type",
    "infer_plan",
    "inspect",
    "looks_personal",
    "read_body",
    "refusals",
    "rudder_pixel",
    "segment_pixel",
    "snake_case",
    "strip",
    "timeline",
    "unheard",
    "weigh",
]
