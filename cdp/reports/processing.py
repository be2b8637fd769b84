"""Records of processing activities (GDPR Art. 30(1)), from what was done, not from what was meant. Pure.

1. ``Done`` is what the log, the decisions and the fetches of a period say, by purpose and destination.
2. ``activities`` writes a record for each purpose that anything was done for, under the policies in force.
3. ``flags`` holds the two against each other: what is declared and was not used, what was used and is not
   declared, or no rule gives any more.

A number of people under ten is shown as ``<10``: a record is given out of the house.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from pyroaring import BitMap

from cdp.clock import Micros, rfc3339
from cdp.errors import InvalidInputError
from cdp.gate import CONTROLLER, bind
from cdp.ingest import SeenField
from cdp.policy import Bundle, FieldCatalogue, FieldRule, Purpose, Retention, Rule, aims_at, covers
from cdp.reports.period import on_day
from cdp.reports.queries import Decision, Departure, Use

FEW = 10
SEGMENTATION = "segmentation"
ASKING = ("consent.", "link.", "preferences.")
"""What people are asked and say about a purpose is no use for it."""
_DROP = "drop"
_TOLD = ("user.demographic.date_of_birth", "user.demographic.age_range")
_CONTEXT = "context."
Flow = tuple[str, str]
"""(purpose, destination)."""


class Sent(msgspec.Struct, kw_only=True):
    """What went to one destination for one purpose.

    :param words: field → how it left: ``clear``, ``hash``…; ``last`` when anything last did.
    :param inputs: categories that people were chosen by; ``reads`` the names of what was read for that.
    """

    decisions: int = 0
    departures: int = 0
    first: Micros = 0
    last: Micros = 0
    segments: set[str] = msgspec.field(default_factory=set)
    inputs: set[str] = msgspec.field(default_factory=set)
    reads: set[str] = msgspec.field(default_factory=set)
    words: dict[str, set[str]] = msgspec.field(default_factory=dict)
    identities: BitMap = msgspec.field(default_factory=BitMap)


class Done(msgspec.Struct, kw_only=True):
    """What was done in a period.

    :param revealed: purpose → field → how it was shown.
    :param evaluated: names of what the stored definitions read, where any was evaluated.
    :param told: (source, ``trait:…`` or ``event:…``), of everything that sources ever told.
    :param people: distinct people of some identities.
    """

    uses: Sequence[Use]
    sent: dict[Flow, Sent]
    revealed: Mapping[str, Mapping[str, set[str]]]
    evaluated: frozenset[str]
    told: Sequence[tuple[str, str]]
    people: Callable[[BitMap], int]

    def names_of(self, purpose: str) -> dict[str, set[str]]:
        """Return the names of what was read for a purpose, ``trait:…``, and how it left: ``read`` if not."""
        found: dict[str, set[str]] = {}
        flows = [sent for (key, _), sent in self.sent.items() if key == purpose]
        reads = {name for sent in flows for name in sent.reads if ":" in name}
        if purpose == SEGMENTATION and any(use.purpose == purpose for use in self.uses):
            reads |= self.evaluated
        for name in reads:
            found.setdefault(name, set()).add("read")
        for words in (*(sent.words for sent in flows), self.revealed.get(purpose, {})):
            for field, how in words.items():
                found.setdefault(f"trait:{field}", set()).update(how)
        return found


def few(count: int) -> int | str:
    """Return a number of people as it may be given out."""
    return f"<{FEW}" if 0 < count < FEW else count


def left_as(plan: Mapping[str, str]) -> dict[str, set[str]]:
    """Return field → how people got it, of the fields that anybody got."""
    found = {field: set(words.split("|")) - {_DROP} for field, words in plan.items()}
    return {field: words for field, words in found.items() if words}


def gather(
    decided: Iterable[Decision],
    left: Iterable[Departure],
    sets: Callable[[str], BitMap],
    only: BitMap | None = None,
) -> dict[Flow, Sent]:
    """Return what went where, of the decisions and departures of a period.

    :param sets: returns the identities of which a row could leave with an export.
    :param only: leave out departures of none of these identities, and all others from the rest.
    """
    found: dict[Flow, Sent] = {}
    for decision in decided:
        sent = found.setdefault((decision.purpose, decision.destination), Sent())
        sent.decisions += 1
        _chosen(sent, decision)
    for departure in left:
        decision = departure.decision
        identities = sets(decision.export_id)
        if departure.skipped is not None:
            identities -= BitMap.deserialize(departure.skipped)
        if only is not None:
            identities &= only
            if not identities:
                continue
        sent = found.setdefault((decision.purpose, decision.destination), Sent())
        sent.first = min(sent.first or departure.at, departure.at)
        sent.last = max(sent.last, departure.at)
        sent.departures += 1
        _chosen(sent, decision)
        for field, words in left_as(decision.plan).items():
            sent.words.setdefault(field, set()).update(words)
        sent.identities |= identities
    return found


def _chosen(sent: Sent, decision: Decision) -> None:
    sent.segments.add(decision.segment)
    sent.inputs.update(decision.inputs)
    sent.reads.update(decision.reads)


# -- the records ------------------------------------------------------------------------------------


def activities(bundle: Bundle, done: Done, now: Micros) -> list[dict[str, Any]]:
    """Return a record of each purpose that anything was done for, by key."""
    keys = {use.purpose for use in done.uses if use.purpose and use.outcome == "allowed"}
    keys |= {purpose for purpose, _ in done.sent}
    return [_activity(bundle, done, key, now) for key in sorted(keys)]


def _activity(bundle: Bundle, done: Done, key: str, now: Micros) -> dict[str, Any]:
    stated = bundle.purposes.get(key)
    uses = [use for use in done.uses if use.purpose == key]
    allowed = [use for use in uses if use.outcome == "allowed"]
    flows = {destination: sent for (purpose, destination), sent in done.sent.items() if purpose == key}
    names = done.names_of(key)
    data = [_datum(bundle, name, how) for name, how in sorted(names.items())]
    unnamed = {one for sent in flows.values() for one in sent.inputs} - {row["category"] for row in data}
    data += [
        {"name": None, "category": one, "sensitive": bundle.is_sensitive(one), "how": ["read"], "kept": None}
        for one in sorted(unnamed)
    ]
    reached = BitMap.union(BitMap(), *(sent.identities for sent in flows.values()))
    return {
        "purpose": key,
        "name": stated.name if stated else None,
        "description": stated.description if stated else None,
        "declared": stated is not None,
        "first": rfc3339(min(use.first for use in uses)) if uses else None,
        "last": rfc3339(max(use.last for use in uses)) if uses else None,
        "uses": sum(use.times for use in allowed),
        "refused": sum(use.times for use in uses if use.outcome == "denied"),
        "people_reached": few(done.people(reached)),
        "person_uses": few(sum(use.people for use in allowed)),
        "legal_bases": _bases(stated),
        "people": list(_people(key, flows, allowed)),
        "data": data,
        "recipients": [_recipient(bundle, name, sent, done, now) for name, sent in sorted(flows.items())],
        "sources": sorted({source for source, told in done.told if told in names}),
        "retention": _retention(bundle, stated, key, {str(row["category"]) for row in data}),
        "actions": [
            {
                "action": use.action,
                "destination": use.destination or None,
                "outcome": use.outcome,
                "times": use.times,
            }
            for use in uses
        ],
    }


def _bases(stated: Purpose | None) -> list[dict[str, Any]]:
    if stated is None:
        return []
    source = stated.source
    return [
        {"jurisdiction": "all others" if place == "*" else place, "basis": basis, "law": source.get(place)}
        for place, basis in sorted(stated.basis.items())
    ]


def _people(key: str, flows: Mapping[str, Sent], allowed: Sequence[Use]) -> Iterator[str]:
    """Yield the categories of people: how they were chosen."""
    segments = {name for sent in flows.values() for name in sent.segments}
    yield from (f"members of the segment {name}" for name in sorted(segments))
    if key == SEGMENTATION:
        yield "everybody of whom data is held, but whoever is restrained for it"
    elif any(use.people for use in allowed if use.destination == CONTROLLER):
        yield "people who were looked at one by one"


def _datum(bundle: Bundle, name: str, how: set[str]) -> dict[str, Any]:
    rule, category = declared_as(bundle.fields, name)
    return {
        "name": name,
        "category": category,
        "sensitive": bundle.is_sensitive(category) if category else None,
        "how": sorted(how),
        "kept": rule.protection if rule else None,
    }


def declared_as(fields: FieldCatalogue, name: str) -> tuple[FieldRule | None, str | None]:
    """Return (rule, category) of ``trait:…``, ``property:…``, ``event:…``, ``tag:…`` or ``list:…``."""
    kind, _, key = name.partition(":")
    rule: FieldRule | None = None
    if kind == "trait":
        rule = fields.output(key)
    elif kind == "property" and key.startswith(_CONTEXT):
        rule = fields.context.get(key.removeprefix(_CONTEXT))
    elif kind == "property":
        rule = fields.properties.get(key)
    elif kind == "event":
        return None, fields.event_category(key)
    elif kind == "tag":
        return None, fields.inference_category(key)
    return rule, rule.category if rule else None


def _recipient(bundle: Bundle, name: str, sent: Sent, done: Done, now: Micros) -> dict[str, Any]:
    return {
        **recipient(bundle, name, now),
        "decisions": sent.decisions,
        "deliveries": sent.departures,
        "people": few(done.people(sent.identities)),
        "first": rfc3339(sent.first) if sent.first else None,
        "last": rfc3339(sent.last) if sent.last else None,
    }


def recipient(bundle: Bundle, name: str, now: Micros) -> dict[str, Any]:
    """Return who a destination is, as declared now."""
    found = bundle.destinations.get(name)
    if found is None:
        return {"destination": name, "declared": False}
    ends = found.contract_expires
    return {
        "destination": name,
        "declared": True,
        "title": found.title,
        "role": found.role,
        "country": found.country,
        "region": found.region,
        "transfer_tool": found.transfer_tool,
        "contract": found.contract,
        "contract_expires": ends,
        "contract_over": ends is not None and on_day(ends) <= now,
        "enabled": found.enabled,
    }


def _retention(
    bundle: Bundle, stated: Purpose | None, key: str, categories: set[str]
) -> list[dict[str, Any]]:
    bases = set(stated.basis.values()) if stated else set()

    def applies(rule: Retention) -> bool:
        return (
            (rule.purpose == "*" or covers(rule.purpose, key))
            and (rule.basis == "*" or rule.basis in bases)
            and any(covers(above, one) for above in rule.categories for one in categories)
        )

    rules = sorted(
        (rule for rule in bundle.retention if applies(rule)), key=lambda rule: (rule.days, rule.id)
    )
    return [
        {
            "rule": rule.id,
            "categories": sorted(rule.categories),
            "days": rule.days,
            "basis": rule.basis,
            "jurisdictions": sorted(rule.jurisdictions) or ["everywhere"],
            "law": rule.source,
        }
        for rule in rules
    ]


# -- declared and done ------------------------------------------------------------------------------


def flags(
    bundle: Bundle, done: Done, undeclared: Iterable[SeenField], since: Micros, names: Mapping[int, str]
) -> dict[str, Any]:
    """Return what is declared and was not used, and what was used and is not declared.

    :param undeclared: fields that came without a declaration; those that last came before ``since`` aside.
    :param names: source number → name.
    """
    allowed = [use for use in done.uses if use.outcome == "allowed"]
    purposes = {use.purpose for use in allowed if use.purpose} | {purpose for purpose, _ in done.sent}
    reached = {use.destination for use in allowed if use.destination} | {name for _, name in done.sent}
    flows = {
        (use.purpose, use.destination or CONTROLLER) for use in allowed if use.purpose
    } | done.sent.keys()
    return {
        "declared_but_unused": {
            "purposes": sorted(_leaves(bundle) - purposes),
            "destinations": sorted(bundle.destinations.keys() - reached - {CONTROLLER}),
            "fields": _unused_fields(bundle, done, purposes),
            "rules": sorted(rule.id for rule in bundle.rules if not _bore(bundle, rule, flows)),
        },
        "used_but_undeclared": {
            "fields": [
                {
                    "part": one.part,
                    "name": one.name,
                    "seen": one.seen,
                    "last_seen": rfc3339(one.last_seen_at),
                    "sources": sorted(names.get(number, str(number)) for number in one.sources),
                }
                for one in undeclared
                if one.last_seen_at >= since
            ],
            "purposes": sorted(purposes - bundle.purposes.keys()),
            "destinations": sorted(reached - bundle.destinations.keys()),
            "releases": [
                {
                    "destination": destination,
                    "purpose": purpose,
                    "field": field,
                    "as": sorted(words),
                    "last": rfc3339(sent.last),
                }
                for (purpose, destination), sent in sorted(done.sent.items())
                for field, words in sorted(sent.words.items())
                if not _gives(bundle, destination, purpose, field)
            ],
        },
    }


def _leaves(bundle: Bundle) -> set[str]:
    """Return the purposes that something can be done for: one with others below it only heads them."""
    keys = bundle.purposes.keys()
    return {key for key in keys if not any(other != key and covers(key, other) for other in keys)}


def _unused_fields(bundle: Bundle, done: Done, purposes: Iterable[str]) -> list[str]:
    """Return the declared fields that nothing read and that do not decide a law or an age."""
    used = {name for key in purposes for name in done.names_of(key)}
    fields = bundle.fields

    def is_used(rule: FieldRule, name: str) -> bool:
        decides = rule.place or any(covers(told, rule.category) for told in _TOLD)
        made = rule.generalise is not None and f"trait:{rule.generalise.into}" in used
        return name in used or bool(decides) or made

    declared = [(f"trait:{name}", rule) for name, rule in fields.traits.items()]
    declared += [(f"property:{name}", rule) for name, rule in fields.properties.items()]
    declared += [(f"property:{_CONTEXT}{name}", rule) for name, rule in fields.context.items()]
    return sorted(name for name, rule in declared if not is_used(rule, name))


def _bore(bundle: Bundle, rule: Rule, flows: Iterable[Flow]) -> bool:
    """Return whether a rule bore on anything that was done."""
    for purpose, destination in flows:
        found = bundle.destinations.get(destination)
        about = rule.purpose == purpose if rule.effect == "permit" else covers(rule.purpose, purpose)
        if found is not None and about and aims_at(rule, found):
            return True
    return False


def _gives(bundle: Bundle, destination: str, purpose: str, field: str) -> bool:
    """Return whether a permit of now gives a field to a destination for a purpose, to anybody."""
    found, stated = bundle.destinations.get(destination), bundle.purposes.get(purpose)
    if found is None or stated is None or purpose not in found.purposes:
        return False
    try:
        terms = bind(bundle, found, stated, frozenset(), [field])
    except InvalidInputError:  # it is not declared any more
        return False
    return any(plan.kind != _DROP for permit in terms.permits for plan in permit.plan)
