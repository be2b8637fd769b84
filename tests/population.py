"""A store that tests fill directly with events, observations and links, as the pipeline would."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete

from cdp.clock import DAY, FixedClock, Micros
from cdp.identity.tables import identifier_index, profile_members
from cdp.ingest.tables import events
from cdp.policy import FieldCatalogue, FieldRule
from cdp.profiles.tables import trait_observations
from cdp.store import Batch, Committer, Store, initialise, insert_ignoring, insert_many, metadata, upsert
from cdp.warehouse import Snapshot

NOW: Micros = 20_000 * DAY


def rule(
    name: str, kind: str = "string", *, clear: bool = True, category: str = "", **more: Any
) -> FieldRule:
    """Return a declared field, clear unless told otherwise."""
    return FieldRule(
        name=name,
        category=category or "user.behavior.purchase_history",
        protection="clear" if clear else "sealed",
        type=kind,  # type: ignore[arg-type]  # a literal at each call
        **more,
    )


def catalogue(
    properties: Iterable[FieldRule] = (),
    traits: Iterable[FieldRule] = (),
    context: Iterable[FieldRule] = (),
    events: Mapping[str, str] | None = None,
    inferences: Iterable[str] = (),
) -> FieldCatalogue:
    """Return a field catalogue of these rules."""
    return FieldCatalogue(
        events=dict(events or {}),
        traits={r.name: r for r in traits},
        properties={r.name: r for r in properties},
        context={r.name: r for r in context},
        identifiers={},
        inferences=dict.fromkeys(inferences, "user.inferred.preference"),
    )


def profiles(snapshot: Snapshot, sql: str) -> list[int]:
    """Return the column ``profile_no`` of a query over the mirror, ascending."""
    return sorted(snapshot.run(sql, NOW)["profile_no"].tolist())


def index_of(identity_no: int) -> bytes:
    """Return what stands for the blind index of an identity."""
    return identity_no.to_bytes(16)


class Population:
    """Writes rows of events, traits and links in batches of a real ``Committer``.

    Properties given as text are stored as they are, a mapping as JSON.
    """

    def __init__(self, url: str) -> None:
        self.store = Store(url)
        with self.store.writing() as connection, connection.begin():
            metadata.create_all(connection)
            initialise(connection)
        self.clock = FixedClock(NOW)
        self.committer = Committer(self.store, lambda _c, _n, _now, _entries: [], self.clock)
        self._serial = 0

    def people(self, *groups: Iterable[int]) -> None:
        """Store profiles, each a group of identities; the smallest identity is the profile's number."""
        with self.committer.batch() as batch:
            self.link(batch, *groups)

    def link(self, batch: Batch, *groups: Iterable[int]) -> None:
        """Map each group of identities to one profile, in ``batch``."""
        rows = [
            {"identity_no": number, "profile_no": min(group), "cluster_no": min(group), "batch": batch.id}
            for group in map(list, groups)
            for number in group
        ]
        upsert(batch.connection, profile_members, rows, ["identity_no"])
        indexes = [(index_of(row["identity_no"]), row["identity_no"]) for row in rows]
        insert_ignoring(batch.connection, identifier_index, ("blind_index", "identity_no"), sorted(indexes))

    def event(
        self,
        batch: Batch,
        identity_no: int,
        name: str,
        properties: Mapping[str, Any] | str | None = None,
        *,
        at: Micros = NOW,
        kind: str = "track",
        source_id: int = 1,
    ) -> None:
        """Store one event."""
        self._store(batch, [self._row(batch, identity_no, name, properties, at, kind, source_id)])

    def events(self, batch: Batch, happened: Iterable[tuple[int, str, Micros, Mapping[str, Any]]]) -> None:
        """Store many events at once: identity, name, when it happened, properties."""
        self._store(
            batch, [self._row(batch, who, name, more, at, "track", 1) for who, name, at, more in happened]
        )

    def trait(
        self,
        batch: Batch,
        identity_no: int,
        name: str,
        value: Any,
        *,
        at: Micros = NOW,
        source_id: int = 1,
        event_id: bytes | None = None,
        sealed: bool = False,
    ) -> None:
        """Store one observation, in clear unless ``sealed``."""
        text = None if sealed else json.dumps(value)
        ident = event_id or self._event_id()
        row = (
            batch.id,
            self._next(),
            identity_no,
            name,
            text,
            b"x" if sealed else None,
            source_id,
            at,
            ident,
        )
        columns = (
            "batch", "seq", "identity_no", "name", "value", "sealed", "source_id", "observed_at", "event_id",
        )  # fmt: skip
        insert_many(batch.connection, trait_observations, columns, [row])

    def forget(self, connection: Connection) -> None:
        """Delete every event, behind everybody's back."""
        connection.execute(delete(events))

    def erase(self, *numbers: int, index: bool = True) -> None:
        """Delete what the store has of some identities, as the erasure of a person does.

        :param index: their identifiers, too.
        """
        with self.committer.batch() as batch:
            for table in (events, trait_observations, profile_members, *([identifier_index] * index)):
                batch.connection.execute(delete(table).where(table.c.identity_no.in_(numbers)))
            batch.erase(numbers if index else ())

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def _row(
        self,
        batch: Batch,
        identity_no: int,
        name: str,
        properties: Mapping[str, Any] | str | None,
        at: Micros,
        kind: str,
        source_id: int,
    ) -> tuple[Any, ...]:
        text = properties if isinstance(properties, str) or properties is None else json.dumps(properties)
        return (
            batch.id, self._next(), identity_no, self._event_id(), source_id, kind, name,
            at, at, NOW, text, b"x",
        )  # fmt: skip

    @staticmethod
    def _store(batch: Batch, rows: Sequence[tuple[Any, ...]]) -> None:
        columns = (
            "batch", "seq", "identity_no", "event_id", "source_id", "type", "name",
            "occurred_at", "stamped_at", "received_at", "properties", "sealed",
        )  # fmt: skip
        insert_many(batch.connection, events, columns, rows)

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _event_id(self) -> bytes:
        return hashlib.sha256(str(self._serial).encode()).digest()[:16]
