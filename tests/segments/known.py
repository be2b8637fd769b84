"""Public data in a platform, and its raw rows beside it: what a definition finds is computed another way.

A set is loaded once for all tests that take its fixture (``conftest.py``), so none of them writes anything
but definitions. People are known by the key that they have in the data. The store is SQLite: it only holds
the rows, and what is asked is answered from the mirror's files; one of the funnels goes through both stores.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from population import Population
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.policy import FieldCatalogue
from cdp.segments import SegmentService
from cdp.warehouse import Mirror, Warehouse

_BATCH = 20_000


class Happened(NamedTuple):
    """One event of somebody, as the data tells it."""

    who: str
    name: str
    at: Micros
    properties: dict[str, Any]


def rows(shared: Path, file: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a file of the public data."""
    raw = (shared / "data" / file).read_bytes()
    text = (gzip.decompress(raw) if file.endswith(".gz") else raw).decode()
    yield from csv.DictReader(io.StringIO(text, newline=""))


class Known:
    """A platform that knows what happened, and nothing else.

    :param happened: what happened; ``everybody`` are the keys of those whom it happened to.
    :param now: when everything is evaluated.
    """

    def __init__(
        self, folder: Path, fields: FieldCatalogue, happened: Iterable[Happened], now: Micros
    ) -> None:
        self.happened = list(happened)
        self.now = now
        self.everybody = sorted({event.who for event in self.happened})
        self._number = {who: number for number, who in enumerate(self.everybody, 1)}
        people = self._people = Population(f"sqlite:///{folder / 'cdp.sqlite'}")
        people.clock.at = now
        with people.committer.batch() as batch:
            people.link(batch, *([number] for number in self._number.values()))
        waiting = iter(self.happened)
        while some := list(islice(waiting, _BATCH)):
            with people.committer.batch() as batch:
                people.events(batch, [(self._number[who], name, at, more) for who, name, at, more in some])
        Mirror(people.store, folder / "warehouse", fields, people.clock).refresh()
        self._warehouse = Warehouse(folder / "warehouse")
        self.segments = SegmentService(
            people.store,
            people.committer,
            self._warehouse,
            fields,
            people.clock,
            lambda _connection: BitMap(),
            lambda _categories: frozenset(),
            bytes.hex,
        )

    def found(self, where: Any, **more: Any) -> set[str]:
        """Return whom a definition finds."""
        return {
            self.everybody[number - 1] for number in self.segments.preview({"where": where, **more}).members
        }

    def size(self, where: Any) -> int:
        """Return how many a definition finds."""
        return self.segments.preview({"where": where}).count

    def close(self) -> None:
        """Give everything back."""
        self._warehouse.close()
        self._people.close()
