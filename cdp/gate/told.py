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
6. A browser's key is anybody's, so a place that it tells is a hint: it adds a law and records no place. So is
   one that comes with an unsigned browser's consent. An age that it tells counts: it only restrains.

Places in clear are read as sets of those of whom the same was recorded; only what is sealed, and ages, are
read one by one, of the identities that have any.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.gate import queries
from cdp.gate.ages import AgeKind, born_by
from cdp.gate.opening import UNREADABLE, Opener
from cdp.policy import Bundle, Jurisdictions, PlaceKind, covers
from cdp.store import Connection

_Kind = PlaceKind | Literal["state_hint"]
HINTS: dict[PlaceKind, _Kind] = {"country": "hint", "state": "state_hint", "hint": "hint"}
_AGES: dict[str, AgeKind] = {"user.demographic.date_of_birth": "birth", "user.demographic.age_range": "age"}
_decode = msgspec.json.Decoder().decode


class Said(NamedTuple):
    """Every place ever recorded of one identity.

    :param hints: countries that may add a law and never take one away; ``state_hints`` are such states.
    :param unread: True when one of them cannot be opened: it may be anywhere.
    """

    countries: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()
    hints: frozenset[str] = frozenset()
    state_hints: frozenset[str] = frozenset()
    unread: bool = False

    def plus(self, kind: _Kind, value: str | None) -> Said:
        """Return these places and one more; None is one that cannot be opened."""
        if value is None:
            return self._replace(unread=True)
        match kind:
            case "country":
                return self._replace(countries=self.countries | {value})
            case "state":
                return self._replace(states=self.states | {value})
            case "hint":
                return self._replace(hints=self.hints | {value})
            case "state_hint":
                return self._replace(state_hints=self.state_hints | {value})

    def within(self, jurisdictions: Jurisdictions) -> frozenset[str]:
        """Return the jurisdictions of these places, hints aside; none when they name no place."""
        if self.unread:
            return jurisdictions.configured
        return jurisdictions.recorded(self.countries, self.states)

    def near(self, jurisdictions: Jurisdictions) -> frozenset[str]:
        """Return the jurisdictions that the hints add, wherever else the person has a recorded place."""
        return jurisdictions.hinted(self.hints, self.state_hints)


NOWHERE = Said()


class Heard(msgspec.Struct, frozen=True):
    """All that was ever told of some identities.

    :param places: places recorded of one identity → the identities of which just these were recorded.
    :param births: identity_no → the latest day of birth that all it was ever told of leaves possible.
    """

    places: dict[Said, BitMap]
    births: dict[int, date]


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


class _Opened(NamedTuple):
    """One observation, opened.

    :param told_at: 0 where nobody asked.
    :param claimed: told by a browser.
    """

    identity_no: int
    name: str
    event_id: bytes
    value: object
    told_at: Micros
    claimed: bool


class Told:
    """Reads it, in memory, inside the gate.

    :param upto: as of this commit; now when None.
    """

    def __init__(self, opener: Opener, upto: int | None = None) -> None:
        self._opener = opener
        self._upto = upto

    def hear(self, connection: Connection, identity_nos: Iterable[int] | None, telling: Telling) -> Heard:
        """Return all that was ever told of these identities; of everybody when None."""
        wanted = None if identity_nos is None else BitMap(identity_nos)
        kinds, ages = dict(telling.places), dict(telling.ages)
        places: dict[tuple[_Kind, str | None], BitMap] = defaultdict(BitMap)
        sealed, aged = BitMap(), BitMap()
        for found in queries.recorded_alike(connection, wanted, telling.names, self._upto):
            for (name, text, claimed), numbers in found.sets():
                aged |= numbers if name in ages else BitMap()
                if name in kinds and not text:
                    sealed |= numbers
                elif name in kinds and isinstance(value := _decode(text), str):
                    kind = kinds[name]
                    places[HINTS[kind] if claimed else kind, value] |= numbers
        for one in self._opened(connection, list(sealed), kinds, dated=False):
            if one.value is UNREADABLE or isinstance(one.value, str):
                kind = kinds[one.name]
                place = one.value if isinstance(one.value, str) else None
                places[HINTS[kind] if one.claimed else kind, place].add(one.identity_no)
        for found in queries.consent_places(connection, wanted, self._upto):
            for (value, claimed), numbers in found.sets():
                places["hint" if claimed else "country", value] |= numbers
        return Heard(_joined(places), self.births(connection, aged, telling) if aged else {})

    def births(
        self, connection: Connection, identity_nos: Iterable[int] | None, telling: Telling
    ) -> dict[int, date]:
        """Return identity_no → the latest day of birth that all it was ever told of leaves possible."""
        wanted = None if identity_nos is None else list(identity_nos)
        kinds = dict(telling.ages)
        rows = self._opened(connection, wanted, kinds, dated=True)
        days = [
            (one.identity_no, one.name, one.event_id, day)
            for one in rows
            if (day := born_by(kinds[one.name], one.value, one.told_at)) is not None
        ]
        dated = {(number, event_id) for number, name, event_id, _ in days if kinds[name] == "birth"}
        found: dict[int, date] = {}
        for number, name, event_id, day in days:
            if name not in telling.made or (number, event_id) not in dated:
                found[number] = max(day, found.get(number, day))
        return found

    def _opened(
        self, connection: Connection, wanted: Sequence[int] | None, names: Collection[str], *, dated: bool
    ) -> Iterator[_Opened]:
        """Yield every observation of these traits."""
        rows = list(queries.recorded(connection, wanted, names, self._upto, dated=dated)) if names else []
        opened = self._opener.traits(
            (no, name, sealed, event) for no, name, _, sealed, event, *_ in rows if sealed
        )
        for number, name, text, sealed, event_id, told_at, claimed in rows:
            value = opened[number, name, event_id] if sealed else _decode(text or "null")
            yield _Opened(number, name, event_id, value, told_at, claimed)


def _joined(places: Mapping[tuple[_Kind, str | None], BitMap]) -> dict[Said, BitMap]:
    """Return the places of each identity together → the identities of which just these were recorded.

    :param places: one place → the identities of which it was recorded.
    """
    seen, several = BitMap(), BitMap()
    for numbers in places.values():
        several |= seen & numbers
        seen |= numbers
    found: dict[Said, BitMap] = defaultdict(BitMap)
    for place, numbers in places.items():
        found[NOWHERE.plus(*place)] |= numbers - several
    for said, numbers in _combined(list(places), [numbers & several for numbers in places.values()]):
        found[said] |= numbers
    return {said: numbers for said, numbers in found.items() if numbers}


def _combined(
    places: Sequence[tuple[_Kind, str | None]], recorded: Sequence[BitMap]
) -> Iterator[tuple[Said, BitMap]]:
    """Yield the same of identities of which several places were recorded: all get their next one at once.

    :param recorded: of which identities, for each of ``places``.
    """
    numbers = np.concatenate([np.empty(0, np.int64), *(np.array(one.to_array()) for one in recorded)])
    order = np.argsort(numbers, kind="stable")
    place = np.repeat(np.arange(len(places)), [len(one) for one in recorded])[order]
    identities, first, count = np.unique(numbers[order], return_index=True, return_counts=True)
    said = [NOWHERE]
    held = np.zeros(len(identities), np.int64)  # by identity: the place in ``said``
    for turn in range(int(count.max(initial=0))):
        more = count > turn
        steps = held[more] * len(places) + place[first[more] + turn]
        distinct, which = np.unique(steps, return_inverse=True)
        held[more] = len(said) + which
        said += [said[step // len(places)].plus(*places[step % len(places)]) for step in distinct.tolist()]
    order = np.argsort(held, kind="stable")
    distinct, starts = np.unique(held[order], return_index=True)
    for one, some in zip(distinct.tolist(), np.split(identities[order], starts)[1:], strict=True):
        yield said[one], BitMap(array("I", some.astype(np.uint32).tobytes()))
