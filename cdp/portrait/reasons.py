"""Why a person is in a segment, as far as it may be seen: pure.

Invariants: a value is shown as the portrait and the timeline show it, or it is null and its name is under
``masked_fields``; an event that tells too much is counted and not shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from cdp.gate import View
from cdp.segments import OF_EVENT, Happening, Reason, Why


class ShownReason(msgspec.Struct, frozen=True, kw_only=True):
    """One condition for one person; as ``segments.Reason``, but for what may not be seen.

    :param value: of a trait: what the person's is.
    """

    kind: str
    condition: dict[str, Any]
    holds: bool
    matched: int | None
    amount: Any
    steps: tuple[bool, ...]
    value: Any
    events: tuple[Happening, ...]
    masked_fields: tuple[str, ...]
    parts: tuple[ShownReason, ...]

    def __repr__(self) -> str:
        return f"<reason {self.kind}>"


class ShownWhy(msgspec.Struct, frozen=True, kw_only=True):
    """Why a person is in a segment, or is not."""

    why: Why
    reason: ShownReason

    def __repr__(self) -> str:
        return "<why>"


def shown_reason(reason: Reason, view: View, traits: Mapping[str, Any]) -> ShownReason:
    """Return a condition as it may be seen.

    :param traits: those of the person that are shown, as the portrait has them.
    """
    masked: set[str] = set()
    events = tuple(_shown_events(reason.events, view, masked))
    amount, value = reason.amount, None
    if amount is not None and (name := _aggregated(reason.condition)):
        amount = _shown_amount(reason, name, view)
        if amount is None:
            masked.add(name)
    parts = tuple(shown_reason(part, view, traits) for part in reason.parts)
    if reason.kind == "ratio" and (hidden := {name for part in parts for name in part.masked_fields}):
        amount = None
        masked |= hidden
    if reason.kind == "trait":
        name = reason.condition["trait"]
        value = traits.get(name)
        if name not in traits or traits[name] is None:
            masked.add(name)
    return ShownReason(
        kind=reason.kind,
        condition=reason.condition,
        holds=reason.holds,
        matched=reason.matched,
        amount=amount,
        steps=reason.steps,
        value=value,
        events=events,
        masked_fields=tuple(sorted(masked)),
        parts=parts,
    )


def _shown_events(events: tuple[Happening, ...], view: View, masked: set[str]) -> Iterator[Happening]:
    for event in events:
        show = view.event(event.type, event.name)
        if show is None:
            masked.add("*")
            continue
        read = {}
        for name, value in event.read.items():
            how = show(name)
            left = None if how is None else how(value)
            if left is None:
                masked.add(name)
            else:
                read[name] = left
        yield msgspec.structs.replace(event, read=read)


def _aggregated(condition: Mapping[str, Any]) -> str | None:
    """Return the property that an event condition aggregates; what every event has is told with the event."""
    if "event" not in condition:
        return None
    found = (
        part["property"] for part in condition.values() if isinstance(part, Mapping) and "property" in part
    )
    return next((name for name in found if name not in OF_EVENT), None)


def _shown_amount(reason: Reason, name: str, view: View) -> Any:
    """Return what events amount to as the property itself is shown."""
    show = view.event(reason.condition.get("type", "track"), reason.condition["event"])
    how = None if show is None else show(name)
    return None if how is None else how(reason.amount)
