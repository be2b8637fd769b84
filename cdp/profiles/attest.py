"""attest: observations → the traits of people with who says what: pure.

Invariants: what holds is what ``fold`` says holds; only observations that count (``expires``) are words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from cdp.clock import Micros
from cdp.policy import FieldCatalogue, FieldRule, Survivorship
from cdp.profiles.fold import Trust, fold, order, since, typed
from cdp.profiles.model import Observation, Survivor

ADDING: frozenset[Survivorship] = frozenset({"sum", "union"})
"""Rules under which sources do not contradict each other: what they say adds up."""


def attest(
    observations: Iterable[Observation],
    fields: FieldCatalogue,
    trust: Trust,
    names: Mapping[int, str],
    now: Micros,
) -> dict[int, dict[str, Survivor]]:
    """Return profile_no → trait name, in order → what holds of it and why; nobody who has no trait.

    :param names: source_id → the source's name.
    """
    held = list(observations)
    latest: dict[tuple[str, int], dict[int, Observation]] = defaultdict(dict)
    for one in held:
        if one.observed_at >= since(fields.traits.get(one.name), now):
            words = latest[one.name, one.profile_no]
            said = words.setdefault(one.source_id, one)
            if order(one) > order(said):
                words[one.source_id] = one
    people: dict[int, dict[str, Survivor]] = {}
    for name, survivors in sorted(fold(held, fields, trust, now).items()):
        rule = fields.traits.get(name)
        for profile_no, found in survivors.items():
            words = latest[name, profile_no]
            people.setdefault(profile_no, {})[name] = Survivor(
                observation=found,
                rule="most_recent" if rule is None else rule.survivorship,
                source=names.get(found.source_id, ""),
                sources=len(words),
                conflict=_conflict(list(words.values()), rule),
                words=tuple(
                    (names.get(one.source_id, ""), one)
                    for one in sorted(words.values(), key=order, reverse=True)
                ),
            )
    return people


def _conflict(words: Sequence[Observation], rule: FieldRule | None) -> bool | None:
    """Return whether words of several sources differ; None where one of them is sealed and no others do."""
    if len(words) < 2 or (rule is not None and rule.survivorship in ADDING):
        return False
    values = {_said(one, rule) for one in words if one.sealed is None}
    if len(values) > 1:
        return True
    return None if any(one.sealed is not None for one in words) else False


def _said(one: Observation, rule: FieldRule | None) -> object:
    value = None if rule is None else typed(one, rule)
    return one.value if value is None else (value,)
