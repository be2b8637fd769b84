"""An event against the plan of its source → the ways in which it does not fit. Pure.

Invariants: what does not fit is told by place and keyword, never by value. Keys can be data, too: a name in a
place is one that the plan has; or it is that of a field which the plan does not have, at the top, of a form
that could be declared (``catalogue.fit``). Any other is ``*``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jsonschema_rs
import msgspec

from cdp.ingest.catalogue import fit
from cdp.ingest.model import Event
from cdp.ingest.plans.model import NAMED, PLANNED, Mode, Plan, PlannedEvent, Violation
from cdp.ingest.plans.schema import compiled

UNPLANNED = "unplanned"
_TOLD = 10
_LARGE = 8 * 1024
_UNNAMED = "*"


class Check(msgspec.Struct, frozen=True):
    """What an event is held against.

    :param event: how it is called in counts: ``track Order Completed``.
    :param names: those that the plan has.
    """

    event: str
    mode: Mode
    validator: jsonschema_rs.Validator | None
    names: frozenset[str]


class Verdict(msgspec.Struct, frozen=True):
    """An event that does not fit."""

    event: str
    mode: Mode
    violations: tuple[Violation, ...]


class Judge:
    """Holds events against one version of a plan.

    :raises DefinitionError: the plan cannot be compiled.
    """

    def __init__(self, plan: Plan, version: int) -> None:
        self.version = version
        self._unplanned = plan.unplanned
        self._checks = {
            (event.type, event.name): _check(event, plan.shared, at) for at, event in enumerate(plan.events)
        }

    def __call__(self, event: Event) -> Verdict | None:
        """Return how an event does not fit; None where it does."""
        kind = event.type
        check = self._checks.get((kind, event.name)) or self._checks.get((kind, ""))
        if check is None:
            if self._unplanned == "allow" or kind not in PLANNED:
                return None
            return Verdict(UNPLANNED, self._unplanned, (Violation("", UNPLANNED),))
        if check.validator is None:
            return None
        given = event.properties if kind in NAMED else event.traits
        if kind == "group":
            given = event.rest.get("traits", {})
        if check.validator.is_valid(given):
            return None
        part = "properties" if kind in NAMED else "traits"
        only_first = len(event.message.raw) > _LARGE  # each error costs as much as a small event
        return Verdict(check.event, check.mode, _violations(check, given, part, only_first=only_first))


def _check(event: PlannedEvent, shared: dict[str, Any], at: int) -> Check:
    label = f"{event.type} {event.name}".rstrip()
    if event.schema is None:
        return Check(label, event.mode, None, frozenset())
    schema = compiled(event.schema, shared, f"events[{at}].schema")
    return Check(label, event.mode, schema.validator, schema.names)


def _violations(check: Check, given: dict[str, Any], part: str, *, only_first: bool) -> tuple[Violation, ...]:
    found: dict[Violation, None] = {}
    for error in _errors(check.validator, given, only_first=only_first):
        for violation in _told(error, check.names, part):
            found[violation] = None
        if len(found) >= _TOLD:
            break
    return tuple(found)[:_TOLD]


def _errors(
    validator: jsonschema_rs.Validator | None, given: dict[str, Any], *, only_first: bool
) -> Iterable[jsonschema_rs.ValidationError]:
    if validator is None:
        return ()
    if not only_first:
        return validator.iter_errors(given)
    try:
        validator.validate(given)
    except jsonschema_rs.ValidationError as error:
        return (error,)
    return ()


def _told(error: jsonschema_rs.ValidationError, names: frozenset[str], part: str) -> list[Violation]:
    place = part
    for key in error.instance_path:
        place += "[]" if isinstance(key, int) else f".{key if key in names else _UNNAMED}"
    kind = error.kind.name
    if kind == "falseSchema":  # what a schema says by ``false``
        last = error.schema_path[-1]
        kind = last if last in {"additionalProperties", "unevaluatedProperties"} else "false"
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
        return [Violation(f"{place}.{error.kind.property}", kind)]
    keys = [key for key in getattr(error.kind, "unexpected", ()) if isinstance(key, str)]
    if not keys:
        return [Violation(place, kind)]
    told = [key if key in names or (place == part and fit(key)) else _UNNAMED for key in keys[:_TOLD]]
    return [Violation(f"{place}.{key}", kind) for key in told]
