"""index: identifiers → blind indexes, under this version of the normaliser and the one before.

Invariants:

1. An index is of (type, version, value) and never gets another identity. What version 1 indexed keeps that
   row, too: the journal, lists and backups name it, and an identity without any row counts as erased.
2. An event is looked up under version 2. While identifiers of version 1 are not all indexed anew
   (``passing``) also under what version 1 made of its text: who is found is given the new index at once.
3. Where what version 1 made of a text becomes another value than the text does (a number that was sent
   without its country, an extension that was part of the number), the old one is looked up for as long as it
   is kept, and linked on the word of that event, as if it had named both: they are two values.
4. Identities that turn out to be one value stay two, linked by a candidate of origin ``index``, which is
   evidence as any other: a steward may take it apart.
5. An installation that never used version 1 (not ``kept``) pays nothing for it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from cdp.clock import Micros
from cdp.crypto import BlindIndex
from cdp.identity import queries
from cdp.identity.identifiers import EARLIER, VERSION, Normaliser
from cdp.identity.model import Candidate
from cdp.ingest import Indexed
from cdp.store import Connection

_CACHED = 50_000
_KNOWN = 200_000


class Before(NamedTuple):
    """Who version 1 indexed by texts of now.

    :param same: blind index → those of the same value.
    :param other: blind index of version 1 → whose it is, of texts that are another value now.
    """

    same: dict[bytes, set[int]]
    other: dict[bytes, int]


class Indexes:
    """Computes blind indexes and finds who they stand for, with a bounded memory.

    :param passing: identifiers of version 1 may not be indexed anew yet.
    :param kept: identifiers of version 1 may be there.
    """

    def __init__(self, blind: BlindIndex) -> None:
        self._indexed = lru_cache(_CACHED)(blind)
        self._together = lru_cache(_CACHED)(self._each)
        self._known: dict[bytes, int] = {}
        self._absent: set[bytes] = set()
        self.passing = True
        self.kept = True

    def forget(self) -> None:
        """Drop what is held in memory."""
        self._indexed.cache_clear()
        self._together.cache_clear()
        self._known.clear()

    def __call__(self, identifiers: tuple[tuple[str, str], ...]) -> tuple[bytes, ...]:
        """Return the blind index of each (type, normalised value)."""
        return self._together(identifiers)

    def _each(self, identifiers: tuple[tuple[str, str], ...]) -> tuple[bytes, ...]:
        return tuple(self._indexed(kind, value, VERSION) for kind, value in identifiers)

    def earlier(
        self, identifiers: Sequence[tuple[str, str]], earlier: Iterable[tuple[int, str]]
    ) -> tuple[tuple[int, bytes], ...]:
        """Return (place, blind index) of the earlier values of some identifiers (``Event.earlier``)."""
        return tuple(
            (place, self._indexed(identifiers[place][0], value, EARLIER)) for place, value in earlier
        )

    def every(self, item: Indexed) -> list[tuple[int, bytes]]:
        """Return (place, blind index) under both versions, of every identifier of an event."""
        identifiers = item.classified.event.identifiers
        other = {place for place, _ in item.earlier}
        same = [
            (place, self._indexed(kind, value, EARLIER))
            for place, (kind, value) in enumerate(identifiers)
            if place not in other
        ]
        return [*enumerate(item.indexes), *same, *item.earlier]

    def find(self, connection: Connection, indexes: Collection[bytes]) -> dict[bytes, int]:
        """Return blind index → identity_no for those committed."""
        found = {index: number for index in indexes if (number := self._known.get(index))}
        if len(found) < len(indexes):
            loaded = queries.find(connection, [index for index in indexes if index not in found])
            if len(self._known) > _KNOWN:
                self._known.clear()
            self._known.update(loaded)
            found |= loaded
        return found

    def before(self, connection: Connection, events: Iterable[Indexed], normalise: Normaliser) -> Before:
        """Return who version 1 indexed by the texts of events.

        Nobody new is ever indexed under version 1, so who is not there need not be looked for again.
        """
        wanted: dict[bytes, set[bytes]] = defaultdict(set)
        others: set[bytes] = set()
        for item in events:
            identifiers = item.classified.event.identifiers
            for (place, old), (_, text) in zip(item.earlier, item.classified.event.earlier, strict=True):
                kind, value = identifiers[place]
                if normalise.anew(kind, text) != value:
                    others.add(old)
                elif self.passing:
                    wanted[item.indexes[place]].add(old)
            if self.passing:
                for index, (kind, value) in zip(item.indexes, identifiers, strict=True):
                    wanted[index].add(self._indexed(kind, value, EARLIER))
        asked = others.union(*wanted.values()) - self._absent
        if not asked:
            return Before({}, {})
        found = self.find(connection, asked)
        if len(self._absent) > _KNOWN:
            self._absent.clear()
        self._absent |= asked - found.keys()
        same = {index: {found[old] for old in olds if old in found} for index, olds in wanted.items()}
        return Before(
            {index: numbers for index, numbers in same.items() if numbers},
            {old: found[old] for old in others if old in found},
        )


def same_value(homes: Mapping[bytes, Collection[int]], now: Micros) -> list[Candidate]:
    """Return the candidates between identities that are one value, of the smallest with each other.

    They come before all that was told: whoever they were linked to was linked to one and the same value.

    :param homes: anything → the identities of one value.
    """
    pairs = {
        (min(numbers), number) for numbers in homes.values() for number in numbers if number > min(numbers)
    }
    return [
        Candidate(
            occurred_at=0,
            event_id=hashlib.sha256(b"index %d %d" % pair).digest()[:16],
            position=0,
            low=pair[0],
            high=pair[1],
            received_at=now,
            verified=True,
            origin="index",
        )
        for pair in sorted(pairs)
    ]
