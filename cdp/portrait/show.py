"""What a portrait shows of traits and events under a view of the gate: pure.

Invariants: a field that the view does not show is not there, not even by name; one that it does is null and
named where its value is sealed, or where nothing of it may be shown in clear.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cdp.gate import View
from cdp.profiles import Observation, TimelineEvent


def shown_traits(observed: Mapping[str, Observation], view: View) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return trait → value, and the names of those that are null."""
    traits: dict[str, Any] = {}
    for name, found in sorted(observed.items()):
        show = view.trait(name)
        if show is not None:
            traits[name] = None if found.value is None else show(msgspec.json.decode(found.value))
    return traits, tuple(name for name, value in traits.items() if value is None)


def shown_event(event: TimelineEvent, view: View) -> TimelineEvent:
    """Return an event without what is not shown: a property, or its name and all of them."""
    show = view.event(event.type, event.name)
    if show is None:
        return msgspec.structs.replace(event, name="", properties=None, more=True)
    if event.properties is None:
        return event
    held: dict[str, Any] = msgspec.json.decode(event.properties)
    kept = {}
    for name, value in held.items():
        how = show(name)
        if how is not None and (left := how(value)) is not None:
            kept[name] = left
    if kept == held:
        return event
    return msgspec.structs.replace(event, properties=msgspec.json.encode(kept) if kept else None, more=True)
