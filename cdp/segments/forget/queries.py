"""Deletions in segments and lists: numbers of people, in rows and in sets."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pyroaring import BitMap
from sqlalchemy import Connection, delete, select, update

from cdp.segments.tables import list_entries, list_waiting, lists, segment_changes, segment_members
from cdp.store import among, among_bytes, chunks, lock_rows

_PAGE = 500


def forget_listed(connection: Connection, identity_nos: Collection[int]) -> int:
    """Take identities off every list; returns off how many."""
    e, done = list_entries.c, 0
    names = connection.execute(select(lists.c.name)).scalars().all()
    for chunk in chunks(identity_nos):
        for name in names:
            here = e.name == name, among(e.identity_no, chunk)
            done += connection.execute(delete(list_entries).where(*here)).rowcount
    return done


def forget_waiting(connection: Connection, tags: Iterable[str]) -> None:
    """Let no list wait for whoever has these tags, hex."""
    for chunk in chunks(tags):
        waits = among_bytes(connection, list_waiting.c.tag, [bytes.fromhex(tag) for tag in chunk])
        connection.execute(delete(list_waiting).where(waits))


def forget_members(connection: Connection, identity_nos: Iterable[int]) -> int:
    """Take people out of the stored members and the stored changes of segments; returns of how many rows.

    Locks the rows that it changes, by name and version: nobody takes two of them in another order.
    """
    gone, done = BitMap(identity_nos), 0
    m = segment_members.c
    query = select(m.name, m.version, m.members).order_by(m.name, m.version)
    for name, version, members in connection.execute(lock_rows(query)).all():
        held = BitMap.deserialize(members)
        if held & gone:
            left = held - gone
            here = m.name == name, m.version == version
            values = {"members": left.serialize(), "count": len(left)}
            connection.execute(update(segment_members).where(*here).values(values))
            done += 1
    return done + _forget_changes(connection, gone)


def _forget_changes(connection: Connection, gone: BitMap) -> int:
    c, done, after = segment_changes.c, 0, -1
    while True:
        pages = select(c.batch).where(c.batch > after).distinct().order_by(c.batch).limit(_PAGE)
        found = list(connection.execute(pages).scalars())
        query = select(c.batch, c.name, c.entered, c.exited).where(among(c.batch, found))
        for batch, name, *sets in connection.execute(query).all():
            entered, exited = (BitMap.deserialize(one) for one in sets)
            if (entered | exited) & gone:
                values = {"entered": (entered - gone).serialize(), "exited": (exited - gone).serialize()}
                here = c.batch == batch, c.name == name
                connection.execute(update(segment_changes).where(*here).values(values))
                done += 1
        if len(found) < _PAGE:
            return done
        after = found[-1]
