"""fold: observations → the traits of a profile. Pure, and the one definition of every rule.

A trait has the value of the observation that wins by the trait's ``survivorship``. Observations stand in
one **order**: by (observed_at, event id), and where one event says a trait twice, by what it says. "Newest"
is the last in that order, however late it came in.

=============  =====================================================================================
most_recent    the newest observation
most_trusted   the newest of the most trusted source
most_frequent  the value said by most observations; of several, the one said last
longest_lived  the value that was held longest; of several, the one said last. An observation is held until
               the next of the same source; the last one of each source until the newest of all
min, max       the smallest or greatest value
sum            the sum of all values, to six decimals; nothing where it is too large for a number
union          every value there is, once: a list. Of a list, its items
validated      the newest validated observation; the newest of all where none is validated
=============  =====================================================================================

An observation is **validated** while the last word of the trait ``validated_by`` that the same source says of
the person, with it or after it and before the source says the trait anew, is true.

Rules that compare values compare them as of their declared type (``TYPED``): what is not of it, or was
sealed under another declaration, takes no part, and holds, the newest of them, only where there is nothing
else. Under ``longest_lived`` it is a value of its own. Of equal values the newest observation holds.

A **correction** (an observation of the source ``CORRECTION``, made for a rectification) stands over all
rules: while there is one of a trait, the newest holds, whatever sources say; of ``WITHDRAWN`` nothing does.

What was observed more than ``expires`` days before today counts no more: an observation counts up to the end
of that day in UTC, so what a trait is can change at midnight, and else only by what is observed.

Invariant: the result depends on the set of observations, on the policies and on the day, and on nothing else.
The rules that do not compare carry envelopes of sealed values without opening them. ``cdp.segments.compile``
says the same to the warehouse's engine; a test holds one against the other.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from cdp.clock import DAY, Micros
from cdp.policy import TYPED, FieldCatalogue, FieldRule, Survivorship, Typed
from cdp.profiles.model import CORRECTION, WITHDRAWN, Observation, mark

Trust = Mapping[str, Mapping[int, int]]
"""Trait → source_id → how far the source is trusted about it; a source without a word has 0."""
Group = Sequence[Observation]
"""Observations of one trait of one profile; never none."""

FINE = float(1 << 33)
"""Below it a float tells six decimals apart; a greater sum is as it is."""
_DECIMALS = 6
_EVER: Micros = -(1 << 62)
_Place = tuple[Micros, bytes, int, str, bytes, int, int]
_decode = msgspec.json.Decoder().decode
_SOURCE = itemgetter(Observation._fields.index("source_id"))


def fold(
    observations: Iterable[Observation], fields: FieldCatalogue, trust: Trust, now: Micros
) -> dict[str, dict[int, Observation]]:
    """Return trait name → profile_no → the surviving observation; no name of which nothing counts.

    :param observations: in any order; those of what validates (``FieldCatalogue.folded_from``) among them.
    :param now: the day on which it is asked.
    """
    said: dict[str, list[Observation]] = defaultdict(list)
    for item in observations:
        said[item.name].append(item)
    counted = {
        name: _corrected(_counted(group, fields.traits.get(name), now)) for name, group in said.items()
    }
    found = {}
    for name, group in counted.items():
        rule = fields.traits.get(name)
        if not group:
            continue
        if rule is None or rule.survivorship == "most_recent":
            found[name] = _best(group, {})
        elif rule.survivorship == "most_trusted":
            found[name] = _best(group, trust.get(name, {}))
        elif rule.survivorship == "validated":
            flags = _readable(counted.get(rule.validated_by, ()), fields.traits[rule.validated_by])
            found[name] = _validated_of(group, flags)
        else:
            choose = _CHOOSE[rule.survivorship]
            found[name] = {no: choose(held, rule) for no, held in _people(group).items()}
    return found


def since(rule: FieldRule | None, now: Micros) -> Micros:
    """Return the instant from which on observations of a trait count."""
    if rule is None or rule.expires is None:
        return _EVER
    return (now // DAY - rule.expires) * DAY


def order(one: Observation) -> _Place:
    """Return the place of an observation in the order; no two have the same."""
    value, sealed = one.value or "", one.sealed or b""
    return one.observed_at, one.event_id, mark(value), value, sealed, one.identity_no, one.source_id


def typed(one: Observation, rule: FieldRule) -> Typed | None:
    """Return the clear value of an observation as of its declared type; None when it has none."""
    if one.value is None or not rule.clear:
        return None
    return TYPED[rule.type](_decode(one.value))


def _counted(group: Group, rule: FieldRule | None, now: Micros) -> Group:
    if rule is None or rule.expires is None:
        return group
    after = since(rule, now)
    return [one for one in group if one.observed_at >= after]


def _corrected(group: Group) -> Group:
    """Return of whom a correction counts that alone, nothing where it withdraws; of all others everything."""
    if CORRECTION not in map(_SOURCE, group):
        return group
    newest = {
        number: max(held, key=order)
        for number, held in _people([one for one in group if one.source_id == CORRECTION]).items()
    }
    others = [one for one in group if one.profile_no not in newest]
    return others + [one for one in newest.values() if one.value != WITHDRAWN]


def _people(group: Group) -> dict[int, list[Observation]]:
    found: dict[int, list[Observation]] = defaultdict(list)
    for one in group:
        found[one.profile_no].append(one)
    return found


def _best(group: Group, ranks: Mapping[int, int]) -> dict[int, Observation]:
    """Return profile_no → the newest observation, of the most trusted source where that counts.

    :param ranks: source_id → how far it is trusted; none where that does not count.
    """
    found: dict[int, Observation] = {}
    for item in group:
        held = found.setdefault(item.profile_no, item)
        if held is not item and _outranks(item, held, ranks):
            found[item.profile_no] = item
    return found


def _outranks(item: Observation, held: Observation, ranks: Mapping[int, int]) -> bool:
    if ranks:
        rank, other = ranks.get(item.source_id, 0), ranks.get(held.source_id, 0)
        if rank != other:
            return rank > other
    if item.observed_at != held.observed_at:
        return item.observed_at > held.observed_at
    return order(item) > order(held)


# -- rules that look at several ---------------------------------------------------------------------


def _newest(group: Iterable[Observation]) -> Observation:
    return max(group, key=order)


def _by_value(group: Group, rule: FieldRule) -> dict[Typed, list[Observation]]:
    """Return value → the observations that say it; of those that can be read."""
    found: dict[Typed, list[Observation]] = defaultdict(list)
    for one in group:
        value = typed(one, rule)
        if value is not None:
            found[value].append(one)
    return found


def _most_frequent(group: Group, rule: FieldRule) -> Observation:
    said = _by_value(group, rule)
    if not said:
        return _newest(group)
    return max((len(alike), order(newest := _newest(alike)), newest) for alike in said.values())[2]


def _longest_lived(group: Group, rule: FieldRule) -> Observation:
    ordered = sorted(group, key=order)
    ends: dict[int, Micros] = {}  # by source: when it said the next thing
    held: dict[Typed | tuple[int], int] = defaultdict(int)
    last: dict[Typed | tuple[int], int] = {}
    for place in reversed(range(len(ordered))):
        one = ordered[place]
        value = typed(one, rule)
        key = (place,) if value is None else value
        held[key] += ends.get(one.source_id, ordered[-1].observed_at) - one.observed_at
        last.setdefault(key, place)
        ends[one.source_id] = one.observed_at
    return ordered[max((span, last[key]) for key, span in held.items())[1]]


def _extreme(pick: Callable[[Iterable[Any]], Typed]) -> Callable[[Group, FieldRule], Observation]:
    def choose(group: Group, rule: FieldRule) -> Observation:
        said = _by_value(group, rule)
        return _newest(said[pick(said)] if said else group)

    return choose


def _sum(group: Group, rule: FieldRule) -> Observation:
    said = [(number, one) for one in group if isinstance(number := typed(one, rule), float)]
    if not said:
        return _newest(group)
    total = _total(number for number, _ in said)
    newest = _newest(one for _, one in said)
    return newest._replace(value=None if total is None else msgspec.json.encode(total).decode())


def _total(numbers: Iterable[float]) -> float | int | None:
    try:
        total = math.fsum(numbers)
    except OverflowError:
        return None
    if abs(total) < FINE:
        total = round(total, _DECIMALS) + 0.0
    return int(total) if total.is_integer() and abs(total) < 1 << 53 else total


def _union(group: Group, rule: FieldRule) -> Observation:
    said = _by_value(group, rule)
    if not said:
        return _newest(group)
    values = [value for text in said for value in _decode(str(text))] if rule.type == "list" else list(said)
    items = {msgspec.json.encode(value, order="sorted"): value for value in values}
    newest = _newest(one for alike in said.values() for one in alike)
    return newest._replace(value=msgspec.json.encode([items[key] for key in sorted(items)]).decode())


def _readable(flags: Group, rule: FieldRule) -> Group:
    """Return what says whether something is validated; what cannot be read says nothing."""
    return [one for one in flags if typed(one, rule) is not None]


def _validated_of(group: Group, flags: Group) -> dict[int, Observation]:
    said = _people(flags)
    return {
        no: held[0] if len(held) == 1 else _validated(held, said.get(no, ()))
        for no, held in _people(group).items()
    }


def _validated(group: Group, flags: Group) -> Observation:
    """Return the newest validated observation, else the newest.

    :param flags: what was said of whether it is, of the same profile.
    """
    about: dict[int, Observation] = {}
    valid: dict[Observation, bool] = {}
    said = [*((0, one) for one in group), *((1, flag) for flag in flags)]
    for turn, one in sorted(said, key=_spoken):
        if turn == 0:
            about[one.source_id] = one
        elif one.source_id in about:
            valid[about[one.source_id]] = one.value == "true"
    return _newest([one for one in group if valid.get(one)] or group)


def _spoken(said: tuple[int, Observation]) -> tuple[Micros, bytes, int, _Place]:
    """Return when something is said: of one event the values first, then what is said of them."""
    turn, one = said
    return one.observed_at, one.event_id, turn, order(one)


_CHOOSE: dict[Survivorship, Callable[[Group, FieldRule], Observation]] = {
    "most_frequent": _most_frequent,
    "longest_lived": _longest_lived,
    "min": _extreme(min),
    "max": _extreme(max),
    "sum": _sum,
    "union": _union,
}
