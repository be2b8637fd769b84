"""fold: observations → the traits of a profile. Pure.

A profile's trait is the observation that wins by the trait's survivorship: ``most_recent`` compares
(observed_at, event id), ``most_trusted`` compares (trust of the source, observed_at, event id). The fold
carries envelopes of sealed values without opening them; it depends on the set of observations only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cdp.policy import FieldCatalogue
from cdp.profiles.model import Observation

Trust = Callable[[int], int]
"""source_id → how far it is trusted; higher wins."""


def fold(observations: Iterable[Observation], fields: FieldCatalogue, trust: Trust) -> dict[str, Observation]:
    """Return the surviving observation of each trait name."""
    best: dict[str, tuple[tuple[int, int, bytes], Observation]] = {}
    for item in observations:
        rule = fields.traits.get(item.name)
        trusted = rule is not None and rule.survivorship == "most_trusted"
        rank = (trust(item.source_id) if trusted else 0, item.observed_at, item.event_id)
        held = best.get(item.name)
        if held is None or rank > held[0]:
            best[item.name] = (rank, item)
    return {name: item for name, (_, item) in sorted(best.items())}
