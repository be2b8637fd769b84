"""Vendor formats: each file turns one format's bodies into ``Delivery`` and its messages into fields."""

from cdp.ingest.sources.cloudevents import from_cloudevent, read_events
from cdp.ingest.sources.pixel import rudder_pixel, segment_pixel
from cdp.ingest.sources.segment import EVENT_TYPES, Body, inflate, read_body

__all__ = [
    "EVENT_TYPES",
    "Body",
    "from_cloudevent",
    "inflate",
    "read_body",
    "read_events",
    "rudder_pixel",
    "segment_pixel",
]
