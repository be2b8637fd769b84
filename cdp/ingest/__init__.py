"""From the bytes of a source's call to classified, indexed events; and what could not become one."""

from cdp.ingest import apart
from cdp.ingest.adapters import CLOUDEVENT, Adapters, import_form
from cdp.ingest.catalogue import DataCatalogue, EventShape, FieldShape, SeenField, Shapes
from cdp.ingest.classify import Classifier, has_type, snake_case
from cdp.ingest.imports import (
    UNREADABLE,
    FileForm,
    Import,
    Imports,
    MappingText,
    Piece,
    row_message,
    row_number,
    unreadable_message,
)
from cdp.ingest.imports import schema as mapping_schema
from cdp.ingest.inspect import inspect
from cdp.ingest.keep import Keeper, decisive, refusals, strip
from cdp.ingest.model import (
    Classified,
    Delivery,
    Event,
    EventType,
    Indexed,
    Message,
    Note,
    Prepared,
    Reject,
    RejectKind,
    RejectReason,
    Replay,
    Sender,
    Trait,
)
from cdp.ingest.name import MAX_ID
from cdp.ingest.outcome import Outcome, Replayed, Unheard, unheard
from cdp.ingest.plans import Held, Judges, Plans, SeenViolation, infer_plan
from cdp.ingest.prepare import Preparer
from cdp.ingest.protect import Protector, UnsealableError
from cdp.ingest.quarantine import Quarantine, QuarantineItem, Waiting, Wanted
from cdp.ingest.queries import add_events, event_times, events_between, forget_events, timeline
from cdp.ingest.service import EventKeys
from cdp.ingest.sources import (
    EVENT_TYPES,
    Body,
    inflate,
    read_body,
    read_events,
    rudder_pixel,
    segment_pixel,
)
from cdp.ingest.tally import OUTCOMES, Counted, Counts, Tally, weigh
from cdp.ingest.validate import MAX_FIELDS, MAX_NAME, Validator, looks_personal

__all__ = [
    "CLOUDEVENT",
    "EVENT_TYPES",
    "MAX_FIELDS",
    "MAX_ID",
    "MAX_NAME",
    "OUTCOMES",
    "UNREADABLE",
    "Adapters",
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
    "FileForm",
    "Held",
    "Import",
    "Imports",
    "Indexed",
    "Judges",
    "Keeper",
    "MappingText",
    "Message",
    "Note",
    "Outcome",
    "Piece",
    "Plans",
    "Prepared",
    "Preparer",
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
    "Shapes",
    "Tally",
    "Trait",
    "Unheard",
    "UnsealableError",
    "Validator",
    "Waiting",
    "Wanted",
    "add_events",
    "apart",
    "decisive",
    "event_times",
    "events_between",
    "forget_events",
    "has_type",
    "import_form",
    "infer_plan",
    "inflate",
    "inspect",
    "looks_personal",
    "mapping_schema",
    "read_body",
    "read_events",
    "refusals",
    "row_message",
    "row_number",
    "rudder_pixel",
    "segment_pixel",
    "snake_case",
    "strip",
    "timeline",
    "unheard",
    "unreadable_message",
    "weigh",
]
