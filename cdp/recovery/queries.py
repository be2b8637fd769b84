"""Reads and writes of the recovery stage."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from cdp.clock import Micros
from cdp.identity.tables import identifier_index
from cdp.recovery.model import Erased, Restored, Step
from cdp.recovery.tables import erasures, pending_restraints, recovery, tombstones
from cdp.store import chunks, erased_by, insert_ignoring, lock_rows, upsert

_PAGE = 20_000
_ERASURE = [erasures.c[name] for name in Erased.__struct_fields__]


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


def tombstones_of(connection: Connection, tags: Collection[str]) -> dict[str, Micros]:
    """Return those of ``tags`` that may not come back, with when they were erased."""
    found: dict[str, Micros] = {}
    for chunk in chunks(tags):
        query = select(tombstones.c.tag, tombstones.c.erased_at).where(tombstones.c.tag.in_(chunk))
        found.update({str(row[0]): int(row[1]) for row in connection.execute(query)})
    return found


def drop_tombstones(connection: Connection, tags: Collection[str]) -> int:
    """Let whoever has these tags come back; returns how many could not."""
    done = 0
    for chunk in chunks(tags):
        done += connection.execute(delete(tombstones).where(tombstones.c.tag.in_(chunk))).rowcount
    return done


def any_tombstone(connection: Connection) -> bool:
    """Return whether there is a tombstone."""
    return connection.execute(select(tombstones.c.tag).limit(1)).first() is not None


# -- erasures ---------------------------------------------------------------------------------------


def add_erasure(connection: Connection, erasure: Erased) -> None:
    """Store an erasure that binds in this batch."""
    connection.execute(insert(erasures).values(**_erasure_row(erasure)))


def find_erasure(connection: Connection, erasure_id: str, *, locked: bool = False) -> Erased | None:
    """Return an erasure, None when it never bound."""
    query = select(*_ERASURE).where(erasures.c.erasure_id == erasure_id)
    row = connection.execute(lock_rows(query) if locked else query).first()
    return None if row is None else _erasure(row)


def erasure_of(connection: Connection, batch: int) -> Erased | None:
    """Return the erasure that bound in a batch."""
    row = connection.execute(select(*_ERASURE).where(erasures.c.batch == batch)).first()
    return None if row is None else _erasure(row)


def change_erasure(connection: Connection, erasure: Erased) -> None:
    """Store how far an erasure has come."""
    given = {key: value for key, value in _erasure_row(erasure).items() if key != "erasure_id"}
    here = erasures.c.erasure_id == erasure.erasure_id
    connection.execute(update(erasures).where(here).values(**given))


def erasures_at(connection: Connection, *steps: Step) -> list[Erased]:
    """Return the erasures that have come so far, the oldest first."""
    query = select(*_ERASURE).where(erasures.c.step.in_(steps)).order_by(erasures.c.bound_at)
    return [_erasure(row) for row in connection.execute(query)]


def proven(connection: Connection, until: Micros) -> list[Erased]:
    """Return the erasures of which the time is over for which proof is kept."""
    e = erasures.c
    ended = e.step.in_(("deleted", "done"))
    query = select(*_ERASURE).where(ended, e.proof_until <= until).order_by(e.proof_until)
    return [_erasure(row) for row in connection.execute(query)]


def uncollected(connection: Connection, before: Micros) -> list[Erased]:
    """Return the erasures from before an instant whose certificate nobody fetched."""
    e = erasures.c
    query = select(*_ERASURE).where(e.certificate.is_not(None), e.bound_at < before)
    return [_erasure(row) for row in connection.execute(query)]


def numbers_of(connection: Connection, erasure: Erased) -> list[int]:
    """Return the identities that an erasure is of, ascending."""
    return erased_by(connection, erasure.batch)


def _erasure_row(erasure: Erased) -> dict[str, Any]:
    row = msgspec.structs.asdict(erasure)
    return row | {name: msgspec.json.encode(row[name]).decode() for name in ("deleted", "tags")}


def _erasure(row: Row[Any]) -> Erased:
    values = dict(zip(Erased.__struct_fields__, row, strict=True))
    tags = msgspec.json.decode(row.tags, type=tuple[str, ...])
    return Erased(**values | {"deleted": msgspec.json.decode(row.deleted), "tags": tags})
