"""Reads and writes of the recovery stage."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, select

from cdp.clock import Micros
from cdp.identity.tables import identifier_index, identities
from cdp.recovery.model import Restored
from cdp.recovery.tables import pending_restraints, recovery, tombstones
from cdp.store import among, chunks, insert_ignoring, lock_rows, upsert

_PAGE = 20_000


def read_state(connection: Connection, *, locked: bool = False) -> tuple[bool, Restored]:
    """Return whether the database is in order, and what is known of the backup it came out of."""
    query = select(recovery.c.ready, recovery.c.restored)
    row = connection.execute(lock_rows(query) if locked else query).first()
    if row is None:
        return False, Restored()
    return bool(row.ready), msgspec.json.decode(row.restored, type=Restored)


def write_state(connection: Connection, restored: Restored, *, ready: bool) -> None:
    """Store the state."""
    text = msgspec.json.encode(restored).decode()
    upsert(connection, recovery, [{"id": 1, "ready": int(ready), "restored": text}], ("id",))


def blind_indexes(connection: Connection) -> Iterator[tuple[bytes, int]]:
    """Yield (blind index, identity_no) of every identity, in the order of the indexes."""
    after = b""
    while True:
        query = (
            select(identifier_index.c.blind_index, identifier_index.c.identity_no)
            .where(identifier_index.c.blind_index > after)
            .order_by(identifier_index.c.blind_index)
            .limit(_PAGE)
        )
        rows = connection.execute(query).all()
        yield from ((bytes(row[0]), int(row[1])) for row in rows)
        if len(rows) < _PAGE:
            return
        after = bytes(rows[-1][0])


def unindexed(connection: Connection) -> list[int]:
    """Return the identities that no value finds any more: erasure deletes the index that each gets."""
    i, x = identities.c, identifier_index.c
    found = select(x.identity_no).where(x.identity_no == i.identity_no).exists()
    return list(connection.execute(select(i.identity_no).where(~found).order_by(i.identity_no)).scalars())


def forget_indexes(connection: Connection, identity_nos: Iterable[int]) -> None:
    """Delete the blind indexes of identities: nothing finds them by their values any more."""
    for chunk in chunks(identity_nos):
        connection.execute(delete(identifier_index).where(among(identifier_index.c.identity_no, chunk)))


def add_pending(connection: Connection, rows: Sequence[tuple[str, int, bytes]]) -> int:
    """Store (tag, record id, line) of people who are unknown; returns how many are new."""
    return insert_ignoring(connection, pending_restraints, ("tag", "record_id", "line"), sorted(rows))


def pending_of(
    connection: Connection, tags: Collection[str], *, apart: bool = False
) -> list[tuple[str, bytes]]:
    """Return (tag, line) of these tags: consent records, or with ``apart`` links (so in what follows)."""
    p = pending_restraints.c
    found = []
    for chunk in chunks(tags):
        query = select(p.tag, p.line).where(p.tag.in_(chunk), _about(apart=apart)).order_by(p.record_id)
        found += [(str(row[0]), bytes(row[1])) for row in connection.execute(query)]
    return found


def delete_pending(connection: Connection, tags: Collection[str], *, apart: bool = False) -> None:
    """Delete what is pending for these tags."""
    for chunk in chunks(tags):
        held = pending_restraints.c.tag.in_(chunk), _about(apart=apart)
        connection.execute(delete(pending_restraints).where(*held))


def any_pending(connection: Connection, *, apart: bool = False) -> bool:
    """Return whether anything is pending."""
    query = select(pending_restraints.c.tag).where(_about(apart=apart)).limit(1)
    return connection.execute(query).first() is not None


def _about(*, apart: bool) -> ColumnElement[bool]:
    record_id = pending_restraints.c.record_id
    return record_id < 0 if apart else record_id >= 0


def add_tombstones(connection: Connection, rows: Sequence[tuple[str, Micros]]) -> int:
    """Store (tag, erased at); returns how many are new."""
    return insert_ignoring(connection, tombstones, ("tag", "erased_at"), sorted(rows))


def tombstones_of(connection: Connection, tags: Collection[str]) -> set[str]:
    """Return those of ``tags`` that may not come back."""
    found: set[str] = set()
    for chunk in chunks(tags):
        query = select(tombstones.c.tag).where(tombstones.c.tag.in_(chunk))
        found.update(str(row[0]) for row in connection.execute(query))
    return found


def any_tombstone(connection: Connection) -> bool:
    """Return whether there is a tombstone."""
    return connection.execute(select(tombstones.c.tag).limit(1)).first() is not None
