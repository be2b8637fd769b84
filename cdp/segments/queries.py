"""Reads and writes of segments, members and lists."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from pyroaring import BitMap
from sqlalchemy import Connection, Table, delete, func, insert, select, true, update

from cdp.clock import Micros
from cdp.identity.tables import identifier_index, links, profile_members
from cdp.segments.model import Change, PeopleList
from cdp.segments.tables import (
    list_entries,
    list_waiting,
    lists,
    segment_changes,
    segment_follow,
    segment_members,
    segments,
)
from cdp.store import (
    among,
    among_bytes,
    batches,
    chunks,
    insert_ignoring,
    insert_many,
    lock_table,
    read_rows,
    since,
    upsert,
)


class Stored(NamedTuple):
    """The newest version of a segment; ``source`` is None when it is deleted."""

    name: str
    version: int
    source: dict[str, Any] | None
    created_at: Micros
    created_by: str


class StoredMembers(NamedTuple):
    """A stored evaluation.

    :param as_of: the commit up to which it is right; ``computed_at`` when that was found.
    :param followed: it is kept as new as the store.
    """

    version: int
    as_of: int
    computed_at: Micros
    bitmap: BitMap
    followed: bool = False


class Following(NamedTuple):
    """How new the followed segments are."""

    as_of: int
    computed_at: Micros
    holder: int


def newest(connection: Connection, name: str | None = None, table: Table = segments) -> dict[str, Stored]:
    """Return the newest version of every segment, or of one, by name; deleted ones included.

    :param table: ``segments`` or ``tags``.
    """
    last = select(table.c.name, func.max(table.c.version).label("version")).group_by(table.c.name)
    if name is not None:
        last = last.where(table.c.name == name)
    top = last.subquery()
    query = (
        select(table)
        .join(top, (table.c.name == top.c.name) & (table.c.version == top.c.version))
        .order_by(table.c.name)
    )
    return {row.name: _stored(row) for row in connection.execute(query)}


def _stored(row: Any) -> Stored:
    source = None if row.definition is None else msgspec.json.decode(row.definition)
    return Stored(row.name, row.version, source, row.created_at, row.created_by)


def every_version(connection: Connection, name: str, table: Table = segments) -> list[Stored]:
    """Return every version of a segment, in their order; of a tag where the ``table`` is theirs."""
    query = select(table).where(table.c.name == name).order_by(table.c.version)
    return [_stored(row) for row in connection.execute(query)]


def add_version(connection: Connection, stored: Stored, batch: int, table: Table = segments) -> None:
    """Append a version."""
    source = None if stored.source is None else msgspec.json.encode(stored.source).decode()
    connection.execute(
        insert(table).values(
            name=stored.name,
            version=stored.version,
            definition=source,
            created_at=stored.created_at,
            created_by=stored.created_by,
            batch=batch,
        )
    )


def versions(connection: Connection, table: Table = segments) -> dict[str, int]:
    """Return the newest version of every segment, deleted ones included."""
    query = select(table.c.name, func.max(table.c.version)).group_by(table.c.name)
    return {name: int(version) for name, version in connection.execute(query)}


def members(connection: Connection, name: str) -> StoredMembers | None:
    """Return the newest stored evaluation of a segment."""
    f = segment_follow.c
    query = (
        select(segment_members, f.as_of.label("upto"), f.computed_at.label("found_at"))
        .outerjoin_from(segment_members, segment_follow, true())
        .where(segment_members.c.name == name)
        .order_by(segment_members.c.version.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    as_of, computed_at = row.as_of, row.computed_at
    if row.followed and row.upto is not None:
        as_of, computed_at = max(as_of, row.upto), max(computed_at, row.found_at)
    return StoredMembers(row.version, as_of, computed_at, BitMap.deserialize(row.members), row.followed)


def put_members(connection: Connection, name: str, stored: StoredMembers) -> None:
    """Store an evaluation in place of the one before."""
    row = {
        "name": name,
        "version": stored.version,
        "as_of": stored.as_of,
        "computed_at": stored.computed_at,
        "count": len(stored.bitmap),
        "members": stored.bitmap.serialize(),
        "followed": stored.followed,
    }
    upsert(connection, segment_members, [row], ["name", "version"])


def unfollow(connection: Connection, names: Collection[str]) -> None:
    """Say that nobody follows these segments."""
    here = segment_members.c.name.in_(sorted(names))
    connection.execute(update(segment_members).where(here).values(followed=False))


def unfollowed(connection: Connection) -> dict[tuple[str, int], int]:
    """Return (name, version) → as_of of every stored evaluation that is not kept as new as the store."""
    s = segment_members.c
    query = select(s.name, s.version, s.as_of).where(~s.followed)
    return {(row.name, row.version): row.as_of for row in connection.execute(query)}


def following(connection: Connection) -> Following | None:
    """Return how new the followed segments are; None when nobody ever followed any."""
    f = segment_follow.c
    row = connection.execute(select(f.as_of, f.computed_at, f.holder)).first()
    return None if row is None else Following(*row)


def put_following(connection: Connection, now: Following) -> None:
    """Say how new the followed segments are."""
    upsert(connection, segment_follow, [{"id": 1, **now._asdict()}], ["id"])


def add_change(connection: Connection, name: str, batch: int, change: Change) -> None:
    """Append who entered and who exited a segment."""
    connection.execute(
        insert(segment_changes).values(
            name=name,
            batch=batch,
            version=change.version,
            as_of=change.as_of,
            changed_at=change.changed_at,
            entered=change.entered.serialize(),
            exited=change.exited.serialize(),
        )
    )


def changes_since(connection: Connection, commit_no: int, limit: int) -> list[Change]:
    """Return the changes of the commits after ``commit_no``, in commit order, at most ``limit``."""
    c = segment_changes.c
    query = (
        select(batches.c.commit_no, segment_changes)
        .join_from(batches, segment_changes, c.batch == batches.c.batch)
        .where(batches.c.commit_no > commit_no)
        .order_by(batches.c.commit_no, c.name)
        .limit(limit)
    )
    return [
        Change(
            name=row.name,
            version=row.version,
            commit_no=row.commit_no,
            as_of=row.as_of,
            changed_at=row.changed_at,
            entered=BitMap.deserialize(row.entered),
            exited=BitMap.deserialize(row.exited),
        )
        for row in connection.execute(query)
    ]


def drop_members(connection: Connection, name: str) -> None:
    """Forget every evaluation of a segment."""
    connection.execute(delete(segment_members).where(segment_members.c.name == name))


def read_lists(connection: Connection) -> dict[str, PeopleList]:
    """Return every list by name."""
    query = (
        select(
            lists.c.name,
            lists.c.kind,
            lists.c.category,
            func.count(list_entries.c.identity_no).label("entries"),
        )
        .outerjoin_from(lists, list_entries, lists.c.name == list_entries.c.name)
        .group_by(lists.c.name, lists.c.kind, lists.c.category)
        .order_by(lists.c.name)
    )
    return {
        row.name: PeopleList(name=row.name, kind=row.kind, category=row.category, entries=row.entries)
        for row in connection.execute(query)
    }


def list_categories(connection: Connection) -> dict[str, str]:
    """Return list name → the category that standing on it tells."""
    return {row.name: row.category for row in connection.execute(select(lists.c.name, lists.c.category))}


def list_identities(connection: Connection, name: str) -> BitMap:
    """Return the identities on a list."""
    query = select(list_entries.c.identity_no).where(list_entries.c.name == name)
    return BitMap(connection.execute(query).scalars().all())


def known_now(connection: Connection, indexes: Iterable[bytes]) -> dict[bytes, int]:
    """Return blind index → identity_no for those that exist; until the batch ends nobody makes another."""
    lock_table(connection, identifier_index)
    found: dict[bytes, int] = {}
    for chunk in chunks(indexes):
        query = select(identifier_index.c.blind_index, identifier_index.c.identity_no).where(
            among_bytes(connection, identifier_index.c.blind_index, chunk)
        )
        found.update(read_rows(connection, query))
    return found


def put_list(
    connection: Connection,
    put: PeopleList,
    identity_nos: Iterable[int],
    tags: Collection[bytes],
    batch: int,
) -> None:
    """Make the list hold exactly these identities, and wait for those with these tags."""
    row = {"name": put.name, "kind": put.kind, "category": put.category, "batch": batch}
    upsert(connection, lists, [row], ["name"])
    connection.execute(delete(list_entries).where(list_entries.c.name == put.name))
    entries = [(put.name, number) for number in identity_nos]
    insert_many(connection, list_entries, ("name", "identity_no"), entries)
    connection.execute(delete(list_waiting).where(list_waiting.c.name == put.name))
    waiting = [(tag, put.name) for tag in sorted(tags)]
    insert_many(connection, list_waiting, ("tag", "name"), waiting)


def lists_with(
    connection: Connection, names: Collection[str], identity_nos: Collection[int]
) -> list[tuple[int, str]]:
    """Return (identity_no, list) of each of these lists that one of these stands on."""
    e = list_entries.c
    query = select(e.identity_no, e.name).where(e.name.in_(names), among(e.identity_no, identity_nos))
    return [(int(number), name) for number, name in read_rows(connection, query)]


def black_listed(connection: Connection, name: str) -> tuple[BitMap, set[bytes]]:
    """Return the identities on a list, and the tags that wait for it, if it is a black one."""
    black = select(lists.c.name).where(lists.c.name == name, lists.c.kind == "black")
    numbers = select(list_entries.c.identity_no).where(list_entries.c.name.in_(black))
    tags = select(list_waiting.c.tag).where(list_waiting.c.name.in_(black))
    return (
        BitMap(connection.execute(numbers).scalars().all()),
        {tag for (tag,) in read_rows(connection, tags)},
    )


def add_black_listed(
    connection: Connection,
    name: str,
    category: str,
    identity_nos: Iterable[int],
    tags: Iterable[bytes],
    batch: int,
) -> tuple[int, int]:
    """Add to a black list, which is made where there is none.

    :returns: how many identities are new on it, and how many tags.
    """
    row = {"name": name, "kind": "black", "category": category, "batch": batch}
    insert_ignoring(connection, lists, tuple(row), [tuple(row.values())])
    entries = [(name, number) for number in sorted(identity_nos)]
    waiting = [(tag, name) for tag in sorted(tags)]
    return (
        insert_ignoring(connection, list_entries, ("name", "identity_no"), entries),
        insert_ignoring(connection, list_waiting, ("tag", "name"), waiting),
    )


def any_waits(connection: Connection) -> bool:
    """Return whether a list waits for anybody."""
    return connection.execute(select(list_waiting.c.tag).limit(1)).first() is not None


def enter_waiting(connection: Connection, number_of: Mapping[bytes, int]) -> None:
    """Put identities on the lists that wait for their tags, which then wait no longer."""
    w = list_waiting.c
    for chunk in chunks(number_of):
        these = among_bytes(connection, w.tag, chunk)
        found = read_rows(connection, select(w.tag, w.name).where(these))
        if found:
            rows = sorted((name, number_of[tag]) for tag, name in found)
            insert_ignoring(connection, list_entries, ("name", "identity_no"), rows)
            connection.execute(delete(list_waiting).where(these))


def profiles_on(connection: Connection, kind: str) -> BitMap:
    """Return the profiles with an identity on a list of this kind."""
    query = (
        select(profile_members.c.profile_no)
        .distinct()
        .join_from(lists, list_entries, lists.c.name == list_entries.c.name)
        .join(profile_members, profile_members.c.identity_no == list_entries.c.identity_no)
        .where(lists.c.kind == kind)
    )
    return BitMap(connection.execute(query).scalars().all())


def relinked_since(connection: Connection, commit_no: int) -> list[tuple[int, int]]:
    """Return (identity_no, profile_no) of every identity whose profile was written after a commit."""
    m = profile_members.c
    query = select(m.identity_no, m.profile_no).where(since(m.batch, commit_no))
    return [(row.identity_no, row.profile_no) for row in connection.execute(query)]


def parted_since(connection: Connection, commit_no: int) -> BitMap:
    """Return the profiles at both ends of every link that stood and was found to stand no longer since."""
    now, stood = links.alias(), links.alias()
    before = select(stood.c.low).where(stood.c.low == now.c.low, stood.c.high == now.c.high, stood.c.accepted)
    pairs = select(now.c.low, now.c.high).where(
        since(now.c.batch, commit_no), ~now.c.accepted, before.correlate(now).exists()
    )
    ends = {number for pair in read_rows(connection, pairs) for number in pair}
    m = profile_members.c
    found = BitMap()
    for chunk in chunks(ends):
        query = select(m.profile_no).where(among(m.identity_no, chunk))
        found.update(number for (number,) in read_rows(connection, query))
    return found


def people_on_lists(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """Return how many profiles stand on each of these lists; one with nobody is absent."""
    query = (
        select(list_entries.c.name, func.count(profile_members.c.profile_no.distinct()))
        .join(profile_members, profile_members.c.identity_no == list_entries.c.identity_no)
        .where(list_entries.c.name.in_(sorted(names)))
        .group_by(list_entries.c.name)
    )
    return {name: int(people) for name, people in connection.execute(query)}
