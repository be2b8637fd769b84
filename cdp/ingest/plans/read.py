"""What an operator wrote → a plan, or the place at which it is wrong.

::

    mode: quarantine          # observe (default) | quarantine | block: for events that do not fit
    unplanned: observe        # allow (default) | observe | quarantine | block: for those not named below
    $defs: {money: {type: number, minimum: 0}}
    events:
      - type: track           # track | page | screen | identify | group
        name: Order Completed # track needs it; a page or screen without one stands for all that are not named
        mode: block           # its own, over the plan's
        schema: {…}           # of properties (track, page, screen) or traits (identify, group)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from cdp.errors import DefinitionError
from cdp.ingest.plans.model import NAMED, PLANNED, Mode, Plan, PlannedEvent
from cdp.ingest.plans.schema import compiled

MAX_BYTES = 256 * 1024
MAX_EVENTS = 500
MAX_NAME = 200
_MODES = get_args(Mode)
_PLAN = {"mode", "unplanned", "description", "$defs", "events"}
_EVENT = {"type", "name", "mode", "description", "schema"}


def read_plan(source: Mapping[str, Any]) -> Plan:
    """Return a checked plan.

    :raises DefinitionError: it is wrong; the message begins with the place.
    """
    if len(msgspec.json.encode(source)) > MAX_BYTES:
        raise DefinitionError(f"a plan has at most {MAX_BYTES} bytes")
    _check_keys(source, _PLAN, "")
    mode = _word(source.get("mode", "observe"), _MODES, "mode")
    unplanned = _word(source.get("unplanned", "allow"), ("allow", *_MODES), "unplanned")
    shared = source.get("$defs", {})
    if not isinstance(shared, dict):
        raise DefinitionError("$defs: this is a mapping of schemas")
    for name, inner in shared.items():
        compiled(inner, shared, f"$defs.{name}")
    given = source.get("events", [])
    if not isinstance(given, list) or len(given) > MAX_EVENTS:
        raise DefinitionError(f"events: this is a list of at most {MAX_EVENTS} events")
    events: dict[tuple[str, str], PlannedEvent] = {}
    for at, item in enumerate(given):
        event = _event(item, f"events[{at}]", mode, shared)
        if (event.type, event.name) in events:
            raise DefinitionError(f"events[{at}]: this event stands in the plan already")
        events[event.type, event.name] = event
    return Plan(mode=mode, unplanned=unplanned, shared=shared, events=tuple(events.values()))


def _event(item: object, place: str, mode: Any, shared: dict[str, Any]) -> PlannedEvent:
    if not isinstance(item, dict):
        raise DefinitionError(f"{place}: an event is a mapping")
    _check_keys(item, _EVENT, f"{place}.")
    kind = _word(item.get("type"), sorted(PLANNED), f"{place}.type")
    name = item.get("name", "")
    if not isinstance(name, str) or len(name) > MAX_NAME:
        raise DefinitionError(f"{place}.name: this is text of at most {MAX_NAME} characters")
    if name and kind not in NAMED:
        raise DefinitionError(f"{place}.name: {kind} has no name; take this away")
    if kind == "track" and not name:
        raise DefinitionError(f"{place}: a track event has a name")
    schema = item.get("schema")
    if "schema" in item:
        compiled(schema, shared, f"{place}.schema")
    own = _word(item.get("mode", mode), _MODES, f"{place}.mode")
    return PlannedEvent(type=kind, name=name, mode=own, schema=schema)


def _check_keys(given: Mapping[str, Any], known: set[str], place: str) -> None:
    for key in given:
        if key not in known:
            raise DefinitionError(f"{place}{key}: this is none of {', '.join(sorted(known))}")


def _word(value: object, allowed: Any, place: str) -> Any:
    if value not in allowed:
        raise DefinitionError(f"{place}: this is one of {', '.join(allowed)}")
    return value
