"""Reads and writes of archives."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from cdp.clock import Micros
from cdp.rights.archive.model import Archive
from cdp.rights.archive.tables import archive_chunks, archive_identities, archives
from cdp.store import among, insert_many

_A = archives.c
_C = archive_chunks.c
_COLUMNS = Archive.__struct_fields__


def begin(
    connection: Connection, batch: int, archive: Archive, numbers: Iterable[int], proved: Collection[int]
) -> None:
    """Store an archive that is about to be built; nothing is left of one of this request before it."""
    drop(connection, [archive.request_id])
    connection.execute(insert(archives).values(batch=batch, **msgspec.structs.asdict(archive)))
    rows = [(archive.request_id, number, number in proved) for number in numbers]
    insert_many(connection, archive_identities, ("request_id", "identity_no", "proved"), rows)


def add_chunks(
    connection: Connection, archive: Archive, first: int, sealed: Sequence[bytes], done: int, total: int
) -> bool:
    """Store chunks from number ``first`` on; False when this building counts no more."""
    if not _change(connection, archive, chunks=first + len(sealed), done=done, total=total):
        return False
    rows = [(archive.request_id, archive.attempt, first + place, one) for place, one in enumerate(sealed)]
    insert_many(connection, archive_chunks, ("request_id", "attempt", "chunk_no", "sealed"), rows)
    return True


def finish(connection: Connection, archive: Archive, size: int, sha256: str, now: Micros) -> bool:
    """Have an archive be ready; False when this building counts no more."""
    return _change(connection, archive, state="ready", bytes=size, sha256=sha256, ready_at=now)


def _change(connection: Connection, archive: Archive, **values: object) -> bool:
    mine = _A.request_id == archive.request_id, _A.attempt == archive.attempt, _A.state == "building"
    return bool(connection.execute(update(archives).where(*mine).values(**values)).rowcount)


def find(connection: Connection, request_id: str) -> Archive | None:
    """Return the archive of a request; None when there is none."""
    return next(iter(_archives(connection, _A.request_id == request_id)), None)


def identities_of(connection: Connection, request_id: str) -> tuple[list[int], list[int]]:
    """Return whose data an archive holds, and which of those were proved, ascending."""
    i = archive_identities.c
    query = select(i.identity_no, i.proved).where(i.request_id == request_id).order_by(i.identity_no)
    rows = [(int(number), bool(proved)) for number, proved in connection.execute(query)]
    return [number for number, _ in rows], [number for number, proved in rows if proved]


def chunk(connection: Connection, archive: Archive, number: int) -> bytes | None:
    """Return one sealed chunk; None when it is gone."""
    these = _C.request_id == archive.request_id, _C.attempt == archive.attempt, _C.chunk_no == number
    found = connection.execute(select(_C.sealed).where(*these)).scalar()
    return None if found is None else bytes(found)


def holding(connection: Connection, identity_nos: Collection[int]) -> list[Archive]:
    """Return the archives that hold data of one of these."""
    i = archive_identities.c
    held = select(i.request_id).where(among(i.identity_no, identity_nos))
    return _archives(connection, _A.request_id.in_(held))


def expired(connection: Connection, now: Micros) -> list[Archive]:
    """Return the archives whose time is over."""
    return _archives(connection, _A.expires_at <= now)


def _archives(connection: Connection, wanted: ColumnElement[bool]) -> list[Archive]:
    query = select(*(_A[name] for name in _COLUMNS)).where(wanted).order_by(_A.request_id)
    return [Archive(**dict(zip(_COLUMNS, row, strict=True))) for row in connection.execute(query)]


def drop(connection: Connection, request_ids: Collection[str]) -> None:
    """Delete archives, whatever there is of them."""
    for table in (archive_chunks, archive_identities, archives):
        connection.execute(delete(table).where(table.c.request_id.in_(request_ids)))
