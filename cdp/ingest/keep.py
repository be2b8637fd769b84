"""keep: what is stored of an event of people who refused its collection (Consent, rule 9). Pure.

Invariants: where several rules of ``policies/intake.yaml`` fit, the strictest wins; somebody in whose
name nothing is known stands as nobody who granted. A source without rules costs one look-up a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from msgspec import structs

from cdp.consent import RESTRAINING
from cdp.ingest.model import Classified, Indexed
from cdp.policy import IntakeAction, IntakeRule

_STRICTNESS: tuple[IntakeAction, ...] = ("keep", "strip", "drop")
_SOURCES = 1_000


class Keeper:
    """Applies the intake rules of one bundle."""

    def __init__(self, rules: Sequence[IntakeRule]) -> None:
        self._rules = [rule for rule in rules if rule.action != "keep"]
        self._of = lru_cache(_SOURCES)(self._covering)

    def ruled(self, events: Iterable[Indexed]) -> list[Indexed]:
        """Return the events whose source has rules."""
        if not self._rules:
            return []
        return [item for item in events if self.rules_of(item)]

    def rules_of(self, item: Indexed) -> tuple[IntakeRule, ...]:
        """Return the rules about an event's source."""
        source = item.classified.event.source
        return self._of(source.name, source.kind)

    def _covering(self, name: str, kind: str) -> tuple[IntakeRule, ...]:
        return tuple(rule for rule in self._rules if rule.covers(name, kind))


def decisive(rules: Iterable[IntakeRule], states: Callable[[str], Iterable[str]]) -> IntakeRule | None:
    """Return the strictest rule that fits an event; None when it is kept whole.

    :param states: purpose → how the people whom the event names stand on it; ``missing`` for nothing.
    """
    found = [rule for rule in rules if any(_fits(rule, state) for state in states(rule.purpose))]
    return max(found, key=lambda rule: _STRICTNESS.index(rule.action), default=None)


def strip(item: Indexed) -> Indexed:
    """Return an event without its properties, traits, context and whatever else was sealed."""
    return Indexed(Classified(item.classified.event, None, None, ()), item.indexes, item.earlier)


def refusals(item: Indexed) -> Indexed | None:
    """Return what an event says that restrains its people, and nothing else of it; None if nothing does."""
    classified = item.classified
    said = tuple(one for one in classified.event.statements if one.state in RESTRAINING)
    if not said:
        return None
    return strip(
        structs.replace(
            item,
            classified=structs.replace(classified, event=structs.replace(classified.event, statements=said)),
        )
    )


def _fits(rule: IntakeRule, state: str) -> bool:
    return state in RESTRAINING if rule.when == "refused" else state != "granted"
