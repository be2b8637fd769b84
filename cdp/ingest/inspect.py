"""inspect: an event → its shape counted, and the event or what it becomes under the plan of its source.

What is told through the consent API, and what comes out of quarantine again, is not what a source sends now:
it is not counted.
"""

from __future__ import annotations

from cdp.ingest.catalogue import Shapes
from cdp.ingest.model import Event, Reject
from cdp.ingest.plans import Judges


def inspect(shapes: Shapes, judges: Judges, event: Event) -> Event | Reject:
    """Return the event, or the reject that it becomes."""
    delivery = event.message.delivery
    if not delivery.statements and delivery.replayed_at is None:
        shapes.note(event)
    return judges(event)
