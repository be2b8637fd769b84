"""fold: observations → the traits of a profile. Pure.

A profile's trait is the observation that wins by the trait's survivorship: ``most_recent`` compares
(observed_at, event id), ``most_trusted`` compares (trust of the source, observed_at, event id). The fold
carries envelopes of sealed values without opening them; it depends on the set of observations only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cdp.clock import Micros
from cdp.policy import FieldCatalogue
from cdp.profiles.model import Observation


def fold(
    observations: Iterable[Observation], fields: FieldCatalogue, trust: Mapping[int, int]
) -> dict[str, dict[int, Observation]]:
    """Return trait name → profile_no → the surviving observation.

    :param observations: in any order.
    :param trust: source_id → how far it is trusted; higher wins, a source without a word has 0.
    """
    best: dict[str, dict[int, Observation]] = {}
    for item in observations:
        people = best.setdefault(item.name, {})
        held = people.setdefault(item.profile_no, item)
        if held is not item and _outranks(item, held, fields, trust):
            people[item.profile_no] = item
    return best


def _outranks(item: Observation, held: Observation, fields: FieldCatalogue, trust: Mapping[int, int]) -> bool:
    rule = fields.traits.get(item.name)
    trusted = rule is not None and rule.survivorship == "most_trusted"

    def rank(one: Observation) -> tuple[int, Micros, bytes]:
        return trust.get(one.source_id, 0) if trusted else 0, one.observed_at, one.event_id

    return rank(item) > rank(held)
