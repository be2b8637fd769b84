"""What contradicts itself in a bundle that holds together: pure.

1. Permits that never count: no destination they are about may receive the purpose, or the purpose has
   channels that they do not cover.
2. Permits that a forbid always overrides, whoever the person is; a forbid that reads as if it asked
   something of the person, and cannot be FALSE.
3. Words on one field that differ, and so mean ``drop`` together.
4. Purposes of destinations for which nobody, or nobody of a jurisdiction, can ever be released.

What is merely missing is in ``gaps.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from cdp.policy.findings import Finding
from cdp.policy.model import Bundle, Destination, Rule, Transform
from cdp.policy.names import covers
from cdp.policy.reading import aims_at, word

if TYPE_CHECKING:
    from cdp.policy.load import Reading


def contradictions(reading: Reading) -> Iterator[Finding]:
    """Yield what a lawyer should look at, or what cannot do what it seems to say."""
    yield from _dead_permits(reading)
    yield from _overridden(reading)
    yield from _meeting_in_drop(reading)
    yield from _unreachable(reading)


def _targets(bundle: Bundle, rule: Rule) -> list[Destination]:
    """Return the destinations that may receive data under a rule."""
    return [
        destination
        for destination in bundle.destinations.values()
        if aims_at(rule, destination) and any(covers(rule.purpose, key) for key in destination.purposes)
    ]


def _where(reading: Reading, rule: Rule) -> str:
    place = reading.rules.at(rule, "id")
    return f"{rule.id} ({place.file}:{place.line})"


# -- 1 ----------------------------------------------------------------------------------------------


def _dead_permits(reading: Reading) -> Iterator[Finding]:
    bundle = reading.bundle
    for rule in bundle.rules:
        if rule.effect != "permit":
            continue
        receiving = [one for one in _targets(bundle, rule) if rule.purpose in one.purposes]
        for name in sorted(rule.destination_names):
            if rule.purpose not in bundle.destinations[name].purposes:
                yield Finding.at(
                    reading.rules.at(rule, "destinations", "name"),
                    f"the permit {rule.id!r} names {name}, which may not receive data for {rule.purpose}",
                    f"add the purpose to destinations/{name}.yaml, or take the name out",
                    error=True,
                )
        if not receiving and not rule.destination_names:
            yield Finding.at(
                reading.rules.at(rule, "destinations"),
                f"the permit {rule.id!r} never counts: no destination it is about may receive {rule.purpose}",
                "add the purpose to a destination, or take the rule out",
                error=True,
            )
        missing = set(bundle.purposes[rule.purpose].channels) - set(rule.channels)
        if rule.channels and missing:
            yield Finding.at(
                reading.rules.at(rule, "channels"),
                f"the permit {rule.id!r} never counts: {rule.purpose} also uses {', '.join(sorted(missing))}",
                "name every channel of the purpose, or take channels out",
                error=True,
            )


# -- 2 ----------------------------------------------------------------------------------------------


def _overridden(reading: Reading) -> Iterator[Finding]:
    bundle = reading.bundle
    forbids = [rule for rule in bundle.rules if rule.effect == "forbid"]
    for forbid in forbids:
        if _asks(forbid) and not _can_be_false(forbid):
            yield Finding.at(
                reading.rules.at(forbid, "require"),
                f"the forbid {forbid.id!r} fires for everybody: what is not known counts against the person",
                "ask for the lack of something (not_minor: false, notice_current: false), or ask nothing",
            )
        if _can_be_false(forbid):
            continue
        for permit in bundle.rules:
            if permit.effect != "permit" or not covers(forbid.purpose, permit.purpose):
                continue
            what = _killed(bundle, forbid, permit)
            if what:
                yield Finding.at(
                    reading.rules.at(permit, "id"),
                    f"the permit {permit.id!r} {what}: {_where(reading, forbid)} always overrides it",
                    "narrow the forbid, or take out what it stops",
                )


def _asks(rule: Rule) -> bool:
    require = rule.require
    return any(
        value is not None
        for value in (require.consent, require.max_age_days, require.notice_current, require.not_minor)
    )


def _can_be_false(rule: Rule) -> bool:
    return rule.require.not_minor is False or rule.require.notice_current is False


def _killed(bundle: Bundle, forbid: Rule, permit: Rule) -> str:
    """Return what of a permit never comes to pass under a forbid; empty when something may."""
    places = forbid.jurisdictions or bundle.jurisdictions.configured
    everywhere = bool(places & bundle.jurisdictions.controller) or permit.jurisdictions <= places
    channels = set(bundle.purposes[permit.purpose].channels)
    if not everywhere or (forbid.channels and channels and not channels & set(forbid.channels)):
        return ""
    targets = [one for one in _targets(bundle, permit) if permit.purpose in one.purposes]
    if not targets or not all(aims_at(forbid, one) for one in targets):
        return ""
    if not forbid.inputs:
        return "never counts"
    read = sorted(
        key
        for key in permit.inputs
        if any(covers(listed, key) for listed in forbid.inputs)
        and not (key in permit.fields and permit.fields[key].kind == "drop")
    )
    named = sorted(
        key
        for key, word in permit.fields.items()
        if key != "*" and word.kind != "drop" and any(covers(listed, key) for listed in forbid.inputs)
    )
    if read:
        return f"lists {', '.join(read)} under inputs in vain"
    return f"names {', '.join(named)} under fields in vain" if named else ""


# -- 3 ----------------------------------------------------------------------------------------------


def _meeting_in_drop(reading: Reading) -> Iterator[Finding]:
    """Yield pairs of rules that together drop a field that both of them mean to release or keep in part."""
    bundle = reading.bundle
    speaking = [rule for rule in bundle.rules if rule.effect != "forbid" and rule.fields]
    declared = {
        rule.category for rule in (*bundle.fields.traits.values(), *bundle.fields.identifiers.values())
    }
    for one, other in combinations(speaking, 2):
        if one.effect == other.effect == "permit":
            if one.purpose != other.purpose:
                continue
        elif not (covers(one.purpose, other.purpose) or covers(other.purpose, one.purpose)):
            continue
        if not (one.jurisdictions & other.jurisdictions) or not _share_target(bundle, one, other):
            continue
        lost = sorted(c for c in declared if _differ(word(bundle, one, c), word(bundle, other, c)))
        if lost:
            before, later = (other, one) if other.effect == "permit" != one.effect else (one, other)
            yield Finding.at(
                reading.rules.at(later, "fields"),
                f"the {later.effect} {later.id!r} and {_where(reading, before)} differ on {', '.join(lost)}: "
                "together they drop it",
                "use one transform in both, or write drop",
            )


def _share_target(bundle: Bundle, one: Rule, other: Rule) -> bool:
    return bool({d.name for d in _targets(bundle, one)} & {d.name for d in _targets(bundle, other)})


def _differ(one: Transform | None, other: Transform | None) -> bool:
    if one is None or other is None or one == other:
        return False
    return not {one.kind, other.kind} & {"clear", "drop"}


# -- 4 ----------------------------------------------------------------------------------------------


def _unreachable(reading: Reading) -> Iterator[Finding]:
    bundle = reading.bundle
    for destination in bundle.destinations.values():
        document = reading.documents[f"destinations/{destination.name}.yaml"]
        for purpose in sorted(destination.purposes):
            covered = frozenset[str]().union(
                *(
                    rule.jurisdictions
                    for rule in bundle.rules
                    if rule.effect == "permit" and rule.purpose == purpose and aims_at(rule, destination)
                )
            )
            missing = sorted(bundle.jurisdictions.configured - covered)
            if missing:
                who = "nobody at all" if set(missing) & bundle.jurisdictions.controller else "nobody there"
                yield Finding.at(
                    document.error("", "purposes"),
                    f"{who} can be released to {destination.name} for {purpose}: no permit covers "
                    + ", ".join(missing),
                    "write a permit for it, or take the purpose out of the destination",
                )
