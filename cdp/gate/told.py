"""What was ever told of where somebody is and how old they are, identity by identity.

Invariants:

1. Everything ever told counts, never only the newest: moving away does not shake off a law, and no later
   word, no other source and no merge makes a known minor an adult.
2. What tells is found by the policies: traits with ``place`` in ``fields.yaml``, and those whose category is,
   or lies below, date of birth or age range.
3. An age counts from the day on which it came in: that is the youngest reading, and by the clock of whoever
   told it (1970, say) a minor would be of age.
4. A band that the platform made from a date of birth is not heard beside it: it says less.
5. What is there and cannot be opened may be anything: an age of a minor, a place of any law.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date
from typing import NamedTuple

import msgspec

from cdp.clock import Micros
from cdp.gate import queries
from cdp.gate.ages import AgeKind, born_by
from cdp.gate.opening import UNREADABLE, Opener
from cdp.policy import Bundle, Jurisdictions, PlaceKind, covers
from cdp.store import Connection

_AGES: dict[str, AgeKind] = {"user.demographic.date_of_birth": "birth", "user.demographic.age_range": "age"}
_decode = msgspec.json.Decoder().decode


class Said(NamedTuple):
    """Every place ever recorded of one identity.

    :param hints: places that may add a law and never take one away.
    :param unread: True when one of them cannot be opened: it may be anywhere.
    """

    countries: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()
    hints: frozenset[str] = frozenset()
    unread: bool = False

    def plus(self, kind: PlaceKind, value: str) -> Said:
        """Return these places and one more."""
        match kind:
            case "country":
                return self._replace(countries=self.countries | {value})
            case "state":
                return self._replace(states=self.states | {value})
            case "hint":
                return self._replace(hints=self.hints | {value})

    def within(self, jurisdictions: Jurisdictions) -> frozenset[str]:
        """Return the jurisdictions of these places; none when they name no place."""
        if self.unread:
            return jurisdictions.configured
        return jurisdictions.recorded(self.countries, self.states, self.hints)


NOWHERE = Said()


class Telling(msgspec.Struct, frozen=True):
    """Which traits tell of places and ages.

    :param places: (trait, kind of place that it records).
    :param ages: (trait, what it tells).
    :param made: traits that the platform makes from a date of birth.
    """

    places: frozenset[tuple[str, PlaceKind]] = frozenset()
    ages: frozenset[tuple[str, AgeKind]] = frozenset()
    made: frozenset[str] = frozenset()

    @staticmethod
    def of(bundle: Bundle) -> Telling:
        """Return what the policies say."""
        traits = bundle.fields.traits.items()
        ages = {
            name: kind for name, rule in traits for key, kind in _AGES.items() if covers(key, rule.category)
        }
        return Telling(
            places=frozenset((name, rule.place) for name, rule in traits if rule.place),
            ages=frozenset(ages.items()),
            made=frozenset(
                rule.generalise.into for name, rule in traits if rule.generalise and ages.get(name) == "birth"
            ),
        )

    @property
    def names(self) -> frozenset[str]:
        """Every trait that tells."""
        return frozenset(name for name, _ in (*self.places, *self.ages))


class Told:
    """Reads it, in memory, inside the gate.

    :param upto: as of this commit; now when None.
    """

    def __init__(self, opener: Opener, upto: int | None = None) -> None:
        self._opener = opener
        self._upto = upto

    def places(
        self, connection: Connection, identity_nos: Iterable[int] | None, telling: Telling
    ) -> dict[int, Said]:
        """Return identity_no → every place ever recorded of it.

        :param identity_nos: of these; of everybody when None.
        """
        wanted = None if identity_nos is None else list(identity_nos)
        kinds = dict(telling.places)
        found: dict[int, Said] = {}
        following: dict[tuple[Said, PlaceKind, str], Said] = {}  # few, however many people

        def add(number: int, kind: PlaceKind, value: object) -> None:
            if value is UNREADABLE:
                found[number] = found.get(number, NOWHERE)._replace(unread=True)
            elif isinstance(value, str):
                step = found.get(number, NOWHERE), kind, value
                if step not in following:
                    following[step] = step[0].plus(kind, value)
                found[number] = following[step]

        for number, name, _, value, _ in self._opened(connection, wanted, kinds, dated=False):
            add(number, kinds[name], value)
        for number, value, signal in queries.consent_places(connection, wanted, self._upto):
            add(number, "hint" if signal else "country", value)
        return found

    def births(
        self, connection: Connection, identity_nos: Iterable[int] | None, telling: Telling
    ) -> dict[int, date]:
        """Return identity_no → the latest day of birth that all it was ever told of leaves possible."""
        wanted = None if identity_nos is None else list(identity_nos)
        kinds = dict(telling.ages)
        rows = self._opened(connection, wanted, kinds, dated=True)
        days = [
            (number, name, event_id, day)
            for number, name, event_id, value, told_at in rows
            if (day := born_by(kinds[name], value, told_at)) is not None
        ]
        dated = {(number, event_id) for number, name, event_id, _ in days if kinds[name] == "birth"}
        found: dict[int, date] = {}
        for number, name, event_id, day in days:
            if name not in telling.made or (number, event_id) not in dated:
                found[number] = max(day, found.get(number, day))
        return found

    def _opened(
        self, connection: Connection, wanted: Sequence[int] | None, names: Collection[str], *, dated: bool
    ) -> Iterator[tuple[int, str, bytes, object, Micros]]:
        """Yield (identity_no, trait, event id, value, when told) of every observation of these traits."""
        rows = list(queries.recorded(connection, wanted, names, self._upto, dated=dated)) if names else []
        opened = self._opener.traits(
            (no, name, sealed, event) for no, name, _, sealed, event, _ in rows if sealed
        )
        for number, name, value, sealed, event_id, told_at in rows:
            yield (
                number,
                name,
                event_id,
                opened[number, name, event_id] if sealed else _decode(value or "null"),
                told_at,
            )
