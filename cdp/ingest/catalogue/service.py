"""The data catalogue of every source, and what of it ``fields.yaml`` does not declare.

Invariant: counts are in memory until ``flush``, so a crash loses some of them, which is all that it loses.
"""

from __future__ import annotations

from collections.abc import Container

from cdp.clock import Clock
from cdp.ingest.catalogue import queries
from cdp.ingest.catalogue.model import EventShape, SeenField
from cdp.ingest.catalogue.shapes import Shapes
from cdp.ingest.classify import snake_case
from cdp.policy import FieldCatalogue
from cdp.store import Committer, retrying


class DataCatalogue:
    """Keeps what sources send.

    :ivar shapes: counts it.
    """

    def __init__(self, committer: Committer, fields: FieldCatalogue, clock: Clock) -> None:
        self._committer = committer
        self._clock = clock
        self.shapes = Shapes(fields.events)
        self.adopt(fields)

    def adopt(self, fields: FieldCatalogue) -> None:
        """Tell names by what these fields declare."""
        self.shapes.events = fields.events
        self._declared: dict[str, Container[str]] = {"traits": fields.traits, "properties": fields.properties}

    def flush(self) -> None:
        """Add what was counted to the tables."""
        taken = self.shapes.take()

        def run() -> None:
            with self._committer.batch(head_first=True) as batch:  # so that two processes add to one another
                queries.add(batch.connection, taken, self._clock.now())

        if taken:
            retrying(run)

    def of(self, source_id: int) -> list[EventShape]:
        """Return the events of a source with their fields, up to now; all of them together first."""
        self.flush()
        with self._committer.store.reading() as connection:
            return queries.shapes_of(connection, source_id)

    def undeclared(self) -> list[SeenField]:
        """Return what came, up to now, and is not declared, what came most often first."""
        self.flush()
        with self._committer.store.reading() as connection:
            rows = queries.values_of(connection)
        found: dict[tuple[str, str], SeenField] = {}
        for source_id, part, sent, kind, count, at in rows:
            name = snake_case(sent) if part == "traits" else sent
            if name in self._declared[part] or not _is_declarable(part, sent, kind):
                continue
            held = found.get((part, name), SeenField(part, name, {}, (), 0))
            found[part, name] = SeenField(
                part=part,
                name=name,
                types=held.types | {kind: held.types.get(kind, 0) + count},
                sources=tuple(sorted({*held.sources, source_id})),
                last_seen_at=max(held.last_seen_at, at),
            )
        return sorted(found.values(), key=lambda item: (-item.seen, item.part, item.name))


def _is_declarable(part: str, sent: str, kind: str) -> bool:
    """False for what ``fields.yaml`` does not name: camel case, and objects, of which it names what is in."""
    return sent == snake_case(sent) if part == "properties" else kind != "object" or "." in sent
