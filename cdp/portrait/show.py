"""What a portrait shows under a view of the gate: pure.

Invariants: a field that the view does not show is not there, not even by name, and nothing of where it came
from; one that it does is null and named where its value is sealed, or where nothing of it may be shown in
clear. A source's name may tell what it is the source of, so it goes with that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cdp.gate import Released, View
from cdp.identity import reason_shown
from cdp.policy import FieldRule
from cdp.portrait.model import Link, Provenance, ShownEvent, ShownIdentifier, Tag
from cdp.portrait.queries import HeldIdentifier, HeldLink
from cdp.profiles import Survivor, TimelineEvent
from cdp.segments import TagValue


def shown_traits(
    observed: Mapping[str, Survivor], view: View
) -> tuple[dict[str, Any], dict[str, Provenance]]:
    """Return trait → value, None where it is sealed or nothing of it is shown, and trait → its provenance."""
    traits: dict[str, Any] = {}
    provenance = {}
    for name, found in sorted(observed.items()):
        show = view.trait(name)
        if show is not None:
            held = found.observation
            traits[name] = None if held.value is None else show(msgspec.json.decode(held.value))
            provenance[name] = Provenance(
                source=found.source or None,
                observed_at=held.observed_at,
                rule=found.rule,
                sources=found.sources,
                conflict=found.conflict,
            )
    return traits, provenance


def shown_tags(
    traits: Mapping[str, Any],
    computed: Sequence[TagValue],
    declared: Mapping[str, FieldRule],
    view: View,
) -> tuple[Tag, ...]:
    """Return those of the traits shown that are conclusions, and what is computed, in place of what was told.

    What is computed is shown where the view shows that, and that the person was chosen by what it is found
    from.
    """
    rules = {name: rule for name, rule in declared.items() if rule.inferred}
    found = {
        name: Tag(name=name, value=traits[name], basis=rule.basis)
        for name, rule in rules.items()
        if name in traits
    }
    for one in computed:
        show = view.trait(one.name) if one.name in rules and view.chosen_by(one.reads) else None
        if show is None:
            found.pop(one.name, None)
        else:
            basis = rules[one.name].basis
            found[one.name] = Tag(name=one.name, value=show(one.value), basis=basis, version=one.version)
    return tuple(found[name] for name in sorted(found))


def shown_event(event: TimelineEvent, source: str | None, view: View) -> ShownEvent:
    """Return an event without what is not shown: a property, or its name, its source and all of them."""
    show = view.event(event.type, event.name)
    kept: dict[str, Any] = {}
    held: dict[str, Any] = msgspec.json.decode(event.properties) if event.properties else {}
    for name, value in held.items():
        how = None if show is None else show(name)
        if how is not None and (left := how(value)) is not None:
            kept[name] = left
    return ShownEvent(
        event_id=event.event_id,
        type=event.type,
        name=None if show is None else event.name,
        source=None if show is None else source,
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        properties=None if not kept else event.properties if kept == held else msgspec.json.encode(kept),
        more=event.more or show is None or kept != held,
    )


def shown_identifier(
    item: HeldIdentifier, mask: Released | None, source: str | None, view: View, *, device: bool
) -> ShownIdentifier:
    """Return an identifier, masked; that there is one is told, whatever may be seen of it."""
    named = view.names(item.type)
    value = None if mask is None else mask.values[0]
    return ShownIdentifier(
        identity_no=item.identity_no,
        type=item.type if named else None,
        device=device,
        masked=value if isinstance(value, str) else None,
        source=source if named else None,
        created_at=item.created_at,
    )


def shown_link(held: HeldLink, ends: Sequence[tuple[str, View] | None], source: str | None) -> Link:
    """Return a decision about two identities.

    :param ends: type and view of either end; None for one that was erased.
    """

    def named(kind: str) -> bool:
        return all(end is not None and end[1].names(kind) for end in ends)

    low, high = (None if end is None or not end[1].names(end[0]) else end[0] for end in ends)
    _, origin, at = held.told or (0, None, None)
    return Link(
        identities=(held.low, held.high),
        types=(low, high),
        accepted=held.accepted,
        reason=reason_shown(held.reason, named),
        holds=held.holds,
        origin=origin,
        event_id=held.event_id,
        source=None if None in {low, high} else source,
        occurred_at=at,
        rules_version=held.rules_version,
        decided_at=held.decided_at,
        batch=held.batch,
    )
