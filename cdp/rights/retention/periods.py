"""How long data of a category is kept of a person under given laws: pure.

A row of ``retention.yaml`` *fits* a category at or below one of its own, in any of the person's jurisdictions
(or everywhere), where some purpose at or below its own rests on its basis there.

Invariants:

1. Of the rows that fit, the shortest wins.
2. But a row on what is **owed** (a contract, a legal obligation) is a ground to keep, which no choice of the
   controller shortens: where the longest of those is longer, it wins (GDPR Art. 17(3)(b); PIPL Art. 47).
3. No row, no period: nothing is deleted of a category that the policies say nothing about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import sha256
from typing import NamedTuple

import msgspec

from cdp.clock import DAY, Micros
from cdp.policy import Bundle, Retention, covers

OWED = frozenset({"contract", "legal_obligation"})


class Kept(NamedTuple):
    """For how many days from its receipt data is kept, and the row that says so."""

    days: int
    row: str


class Periods:
    """The periods of one bundle; what was asked once is remembered."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._known: dict[tuple[str, frozenset[str]], Kept | None] = {}

    def of(self, category: str, jurisdictions: frozenset[str]) -> Kept | None:
        """Return how long data of a category is kept of whom these laws bind; None without any period."""
        asked = category, jurisdictions
        if asked not in self._known:
            self._known[asked] = self._of(category, jurisdictions)
        return self._known[asked]

    def _of(self, category: str, jurisdictions: frozenset[str]) -> Kept | None:
        fitting = [row for row in self._bundle.retention if self._fits(row, category, jurisdictions)]
        limit = min((Kept(row.days, row.id) for row in fitting if row.basis not in OWED), default=None)
        ground = max((Kept(row.days, row.id) for row in fitting if row.basis in OWED), default=None)
        if limit is None or ground is None:
            return limit or ground
        return max(limit, ground, key=lambda kept: kept.days)

    def _fits(self, row: Retention, category: str, jurisdictions: frozenset[str]) -> bool:
        if row.jurisdictions and jurisdictions.isdisjoint(row.jurisdictions):
            return False
        if not any(covers(above, category) for above in row.categories):
            return False
        return row.basis == "*" or row.basis in self._bases(row.purpose, row.jurisdictions or jurisdictions)

    def _bases(self, purpose: str, jurisdictions: Collection[str]) -> set[str | None]:
        purposes = self._bundle.purposes.values()
        below = (one for one in purposes if purpose == "*" or covers(purpose, one.key))
        return {one.basis_in(name) for one in below for name in jurisdictions}


class Due:
    """What is past its period of one person at one moment.

    :param held: categories that a legal hold keeps, with all below.
    """

    def __init__(
        self, periods: Periods, jurisdictions: frozenset[str], now: Micros, held: Iterable[str] = ()
    ) -> None:
        self._periods = periods
        self._jurisdictions = jurisdictions
        self._now = now
        self._held = tuple(held)

    def row(self, category: str, received_at: Micros) -> str:
        """Return the row by which data that was received then is past its period; empty when it is not."""
        kept = self._periods.of(category, self._jurisdictions)
        return kept.row if kept is not None and self._now - received_at >= kept.days * DAY else ""

    def is_held(self, category: str) -> bool:
        """Return whether a legal hold keeps data of a category, whatever its period."""
        return any(covers(above, category) for above in self._held)

    def crosses(self, categories: Iterable[str], received_at: Micros, since: Micros | None) -> bool:
        """Return whether data of any of these categories came past its period after ``since``, or at all."""
        for category in categories:
            kept = self._periods.of(category, self._jurisdictions)
            if kept is None or self._now - received_at < kept.days * DAY:
                continue
            if since is None or since - received_at < kept.days * DAY:
                return True
        return False


def schedule(bundle: Bundle) -> str:
    """Return a digest of the periods and of all that decides which of them fit what."""
    fields = bundle.fields
    said = (
        bundle.retention,
        bundle.jurisdictions,
        sorted((key, sorted(purpose.basis.items())) for key, purpose in bundle.purposes.items()),
        sorted(fields.events.items()),
        sorted(fields.inferences.items()),
        [
            sorted((name, rule.category) for name, rule in part.items())
            for part in (fields.traits, fields.properties, fields.context)
        ],
    )
    return sha256(msgspec.json.encode(msgspec.to_builtins(said, order="deterministic"))).hexdigest()
