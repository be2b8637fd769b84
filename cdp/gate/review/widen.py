"""What the text of a candidate newly permits, whether or not it means anybody today: pure.

A difference in people misses what a rule opens before anybody falls under it. So both texts are bound to
each destination and purpose over every category at once, by the code that binds decisions, and of each
jurisdiction is compared:

1. ``rows``: what must be so of a person for a row to leave: what permits ask, and what silences the forbids.
2. ``inputs``: likewise, for a category to be read by a segment's definition.
3. ``fields``: in which form a category may leave: the meet of the permits and limits.

Something is new when no grant of the text in force gave as much for as little. Whether a destination is
switched on and its contract runs is not asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import combinations
from typing import Literal, NamedTuple

import msgspec

from cdp.gate.bind import bind_all
from cdp.gate.decide import meet
from cdp.gate.explain import condition_word
from cdp.gate.manifest import word
from cdp.gate.model import CLEAR, DROP, Clause, Condition, Terms
from cdp.policy import Bundle, FieldRule, Transform, covers, lineage

What = Literal["rows", "inputs", "fields"]
Needs = frozenset[frozenset[Condition]]
"""What must be so of a person: one of each set."""
_Moved = Mapping[str, tuple[str, str]]
"""Name → its category before (empty for none) and now."""


class Widening(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """Something newly permitted.

    :param names: categories, or fields and events that are declared otherwise (``traits.plan``); of one that
        covers others only it itself; empty for ``rows``.
    :param before: what had to be so, or in which form it left; ``never``; ``after`` likewise.
    :param rules: those about this destination and purpose that differ.
    """

    destination: str
    purpose: str
    what: What
    names: tuple[str, ...]
    jurisdictions: tuple[str, ...]
    before: str
    after: str
    rules: tuple[str, ...]


class _Grant(NamedTuple):
    """Something may be done: in this form, of whom this is so."""

    form: Transform
    needs: Needs


_Granted = Mapping[tuple[What, str], list[_Grant]]


def widened(old: Bundle, new: Bundle) -> tuple[Widening, ...]:
    """Return what ``new`` permits and ``old`` does not, by destination and purpose."""
    categories = sorted(old.categories | new.categories)
    moved = _moved(old, new)
    alike = not moved and all(getattr(old, part) == getattr(new, part) for part in ("rules", "categories"))
    found: list[Widening] = []
    for destination in new.destinations.values():
        for purpose in sorted(destination.purposes):
            same = old.destinations.get(destination.name), old.purposes.get(purpose)
            if alike and same == (destination, new.purposes[purpose]):
                continue
            before, after = (_bound(bundle, destination.name, purpose, categories) for bundle in (old, new))
            if after is not None and (moved or before != after):
                found += _compared(destination.name, purpose, before, after, new, moved)
    return tuple(sorted(found))


def _bound(bundle: Bundle, destination: str, purpose: str, categories: list[str]) -> Terms | None:
    target = bundle.destinations.get(destination)
    if target is None or purpose not in target.purposes:
        return None
    return bind_all(bundle, target, bundle.purposes[purpose], categories)


def _moved(old: Bundle, new: Bundle) -> _Moved:
    """Return what is declared under another category, or newly."""
    before, after = dict(_declared(old)), dict(_declared(new))
    return {
        name: (before.get(name, ""), category)
        for name, category in after.items()
        if before.get(name) != category
    }


def _declared(bundle: Bundle) -> Iterator[tuple[str, str]]:
    for kind in ("traits", "identifiers", "properties"):
        declared: Mapping[str, FieldRule] = getattr(bundle.fields, kind)
        yield from ((f"{kind}.{name}", rule.category) for name, rule in declared.items())
    yield from ((f"events.{name}", category) for name, category in bundle.fields.events.items())


def _compared(
    destination: str, purpose: str, before: Terms | None, after: Terms, new: Bundle, moved: _Moved
) -> Iterator[Widening]:
    places: dict[tuple[What, str, str, str], set[str]] = defaultdict(set)
    for place in after.everywhere:
        for found in opened(before, after, place, moved):
            places[found].add(place)
    grouped: dict[tuple[What, str, str, tuple[str, ...]], set[str]] = defaultdict(set)
    for (what, was, now, name), reached in places.items():
        grouped[what, was, now, tuple(sorted(reached))].add(name)
    for (what, was, now, where), names in grouped.items():
        yield Widening(
            destination=destination,
            purpose=purpose,
            what=what,
            names=tuple(_roots(new, names)),
            jurisdictions=where,
            before=was,
            after=now,
            rules=_differing(before, after),
        )


def opened(
    before: Terms | None, after: Terms, place: str, moved: _Moved
) -> Iterator[tuple[What, str, str, str]]:
    """Yield (what, words before, words now, name) of each grant in a jurisdiction that is new.

    :param moved: what else to name beside the categories of ``after``.
    """
    held, granted = {} if before is None else _granted(before, place), _granted(after, place)
    rows = set()
    names: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, (was, now) in moved.items():
        names[now].append((name, was))
    for (what, category), grants in granted.items():
        for name, was in ((category, category), *names[category]):
            known = held.get((what, was), [])
            for grant in grants:
                if any(_as_much(other, grant) for other in known):
                    continue
                said = _said(what, _nearest(known, grant)), _said(what, grant)
                if what == "rows":
                    rows.add(said)
                if what != "inputs" or not known or said not in rows:  # else it only follows its row
                    yield what, *said, name


def _granted(terms: Terms, place: str) -> _Granted:
    """Return everything that is granted in a jurisdiction: ``rows`` first."""
    permits = [clause for clause in terms.permits if place in clause.where]
    base = _silencing((forbid for forbid in terms.forbids if not forbid.inputs), place)
    if base is None or not permits:
        return {}
    asked = [(permit, base | _all_of(permit.where[place])) for permit in permits]
    found: dict[tuple[What, str], list[_Grant]] = {}
    found["rows", ""] = _least(_Grant(CLEAR, needs) for _, needs in asked)
    limits = [clause for clause in terms.limits if place in clause.where]
    for number, category in enumerate(terms.fields):
        silent = _silencing((forbid for forbid in terms.forbids if category in forbid.inputs), place)
        if silent is None:
            continue
        reading = (_Grant(CLEAR, silent | needs) for permit, needs in asked if category in permit.inputs)
        found["inputs", category] = _least(reading)
        found["fields", category] = _least(_forms(permits, limits, number, place, silent))
    return found


def _forms(
    permits: Sequence[Clause], limits: Sequence[Clause], number: int, place: str, silent: Needs
) -> Iterator[_Grant]:
    """Yield in which forms a field leaves: with every limit, and with each that can be silenced silent."""
    held: dict[frozenset[Condition], list[Clause]] = defaultdict(list)
    fixed = list(permits)
    for limit in limits:
        helping = _helping(limit, place)
        (held[helping] if helping else fixed).append(limit)
    for count in range(len(held) + 1):
        for chosen in combinations(held, count):
            biting = [
                clause for helping, clauses in held.items() if helping not in chosen for clause in clauses
            ]
            form = reduce(meet, (clause.plan[number] for clause in (*fixed, *biting)))
            if form != DROP:
                yield _Grant(form, silent | frozenset(chosen))


def _silencing(forbids: Iterable[Clause], place: str) -> Needs | None:
    """Return what must be known of a person so that none of these fires; None where nothing helps."""
    needs = frozenset(_helping(forbid, place) for forbid in forbids if place in forbid.where)
    return needs if all(needs) else None


def _helping(clause: Clause, place: str) -> frozenset[Condition]:
    """Return the conditions of which any, known to hold, makes a forbid or limit FALSE."""
    return frozenset(Condition(one.kind, one.days) for one in clause.where[place] if not one.wanted)


def _least(grants: Iterable[_Grant]) -> list[_Grant]:
    """Return the grants of which no other gives as much for less."""
    found: list[_Grant] = []
    for grant in grants:
        if not any(_as_much(other, grant) for other in found):
            found = [other for other in found if not _as_much(grant, other)] + [grant]
    return found


def _all_of(conditions: Iterable[Condition]) -> Needs:
    return frozenset(frozenset({condition}) for condition in conditions)


def _as_much(known: _Grant, grant: _Grant) -> bool:
    """True when ``known`` gave at least this form to everybody to whom ``grant`` gives it."""
    return meet(known.form, grant.form) == grant.form and all(
        any(all(any(_implies(one, other) for other in less) for one in more) for more in grant.needs)
        for less in known.needs
    )


def _implies(one: Condition, other: Condition) -> bool:
    return (one.kind, one.wanted) == (other.kind, other.wanted) and one.days <= other.days


def _nearest(known: list[_Grant], grant: _Grant) -> _Grant | None:
    def likeness(other: _Grant) -> tuple[bool, int]:
        return other.form == grant.form, len(other.needs & grant.needs)

    return max(known, key=likeness, default=None)


def _said(what: What, grant: _Grant | None) -> str:
    if grant is None:
        return DROP.kind if what == "fields" else "never"
    needs = " and ".join(sorted(" or ".join(sorted(map(condition_word, one))) for one in grant.needs))
    if what == "fields":
        return f"{word(grant.form)} if {needs}" if needs else word(grant.form)
    return needs or "always"


def _differing(before: Terms | None, after: Terms) -> tuple[str, ...]:
    one, other = {} if before is None else _by_rule(before), _by_rule(after)
    return tuple(sorted(rule for rule in one.keys() | other.keys() if one.get(rule) != other.get(rule)))


def _by_rule(terms: Terms) -> dict[str, Clause]:
    return {clause.rule: clause for clause in (*terms.permits, *terms.forbids, *terms.limits)}


def _roots(bundle: Bundle, names: set[str]) -> list[str]:
    """Return the names without those that one of them stands for: everything as sensitive as it below it."""

    def below(name: str) -> set[str]:
        same = bundle.is_sensitive(name)
        return {key for key in bundle.categories if covers(name, key) and bundle.is_sensitive(key) == same}

    whole = {name for name in names - {""} if name in bundle.categories and below(name) <= names}
    return sorted(
        name
        for name in names - {""}
        if not any(above in whole and name in below(above) for above in lineage(name)[1:])
    )
