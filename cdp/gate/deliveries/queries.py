"""Reads and writes of deliveries and of the rows of feeds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from pyroaring import BitMap
from sqlalchemy import Connection, Row, bindparam, delete, or_, select, update

from cdp.clock import Micros, random_id
from cdp.gate.deliveries.holding import Holding
from cdp.gate.tables import deliveries, destination_anchors, export_fetches, exports, feed_rows
from cdp.store import among, chunks, insert_many, insert_new, lock_rows

_D = deliveries.c
_F = feed_rows.c


class Audience(msgspec.Struct, frozen=True, kw_only=True):
    """The people of one segment that a destination holds for one purpose.

    :param inputs: every category that they were chosen by, as it was called then; ``reads`` the names of
        what was read; ``fields`` every field that left of them.
    :param next_seq: the number that the feed's next change gets; ``fed_export`` the decision that it was
        last brought up to, over ``fed_members`` (SHA-256 of the segment's members; None: not sure).
    """

    audience_no: int
    destination: str
    purpose: str
    segment: str
    inputs: frozenset[str]
    reads: frozenset[str]
    fields: frozenset[str]
    holding: Holding
    revision: int
    next_seq: int
    fed_export: str | None
    fed_members: bytes | None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a feed: see ``cdp.gate.tables.feed_rows``."""

    anchor: int
    seq: int
    added_seq: int
    digest: bytes | None
    digest_seq: int
    removed: str | None
    ref: bytes | None
    message_id: str | None


# -- audiences --------------------------------------------------------------------------------------


def find_audience(connection: Connection, destination: str, purpose: str, segment: str) -> Audience | None:
    """Return one audience; None when nothing ever went there."""
    query = select(deliveries).where(
        _D.destination == destination, _D.purpose == purpose, _D.segment == segment
    )
    row = connection.execute(query).first()
    return None if row is None else _audience(row)


def lock_audience(connection: Connection, destination: str, purpose: str, segment: str) -> Audience:
    """Lock and return one audience, made when it is new."""
    empty = Holding()
    row = (
        random_id(), destination, purpose, segment, "[]", "[]", "[]",
        empty.anchors, empty.others, empty.of, 0, 1,
    )  # fmt: skip
    columns = (
        "audience_no", "destination", "purpose", "segment", "inputs", "reads", "fields", "anchors", "others",
        "anchor_of", "revision", "next_seq",
    )  # fmt: skip
    insert_new(connection, deliveries, columns, [row], ("audience_no",))
    query = select(deliveries).where(
        _D.destination == destination, _D.purpose == purpose, _D.segment == segment
    )
    return _audience(connection.execute(lock_rows(query)).one())


def lock_numbered(connection: Connection, audience_no: int) -> Audience:
    """Lock and return an audience that exists."""
    query = select(deliveries).where(_D.audience_no == audience_no)
    return _audience(connection.execute(lock_rows(query)).one())


def revisions(connection: Connection) -> dict[int, int]:
    """Return audience_no → revision, of every audience, ascending."""
    query = select(_D.audience_no, _D.revision).order_by(_D.audience_no)
    return {int(row[0]): int(row[1]) for row in connection.execute(query)}


def load_audience(connection: Connection, audience_no: int) -> Audience:
    """Return an audience that exists."""
    return _audience(connection.execute(select(deliveries).where(_D.audience_no == audience_no)).one())


def audiences(connection: Connection) -> Iterator[Audience]:
    """Yield every audience, by destination, purpose and segment."""
    for number in (
        connection.execute(select(_D.audience_no).order_by(_D.destination, _D.purpose, _D.segment))
        .scalars()
        .all()
    ):
        yield load_audience(connection, number)


def audiences_at(connection: Connection, destination: str, *, lock: bool = False) -> list[Audience]:
    """Return every audience of a destination, locked or not."""
    query = select(deliveries).where(_D.destination == destination).order_by(_D.audience_no)
    if lock:
        query = lock_rows(query)
    return [_audience(row) for row in connection.execute(query)]


def anchored(connection: Connection, identity_nos: BitMap) -> dict[str, BitMap]:
    """Return destination → those of these identities from which pseudonyms of it are made."""
    a = destination_anchors.c
    found = connection.execute(select(a.destination, a.identities).order_by(a.destination))
    known = {row[0]: BitMap.deserialize(row[1]) & identity_nos for row in found}
    return {destination: anchors for destination, anchors in known.items() if anchors}


def save_audience(connection: Connection, audience: Audience) -> None:
    """Store an audience that this transaction has locked."""
    connection.execute(
        update(deliveries)
        .where(_D.audience_no == audience.audience_no)
        .values(
            inputs=msgspec.json.encode(sorted(audience.inputs)).decode(),
            reads=msgspec.json.encode(sorted(audience.reads)).decode(),
            fields=msgspec.json.encode(sorted(audience.fields)).decode(),
            anchors=audience.holding.anchors,
            others=audience.holding.others,
            anchor_of=audience.holding.of,
            revision=audience.revision + 1,
            next_seq=audience.next_seq,
            fed_export=audience.fed_export,
            fed_members=audience.fed_members,
        )
    )


def renumber(connection: Connection, audience_no: int, new_no: int) -> None:
    """Give an audience and the rows of its feed another number."""
    for table in (deliveries, feed_rows):
        held = table.c.audience_no == audience_no
        connection.execute(update(table).where(held).values(audience_no=new_no))


def _audience(row: Row[Any]) -> Audience:
    return Audience(
        audience_no=int(row.audience_no),
        destination=row.destination,
        purpose=row.purpose,
        segment=row.segment,
        inputs=frozenset(msgspec.json.decode(row.inputs, type=list[str])),
        reads=frozenset(msgspec.json.decode(row.reads, type=list[str])),
        fields=frozenset(msgspec.json.decode(row.fields, type=list[str])),
        holding=Holding(anchors=bytes(row.anchors), others=bytes(row.others), of=bytes(row.anchor_of)),
        revision=int(row.revision),
        next_seq=int(row.next_seq),
        fed_export=row.fed_export,
        fed_members=row.fed_members,
    )


# -- fetches ----------------------------------------------------------------------------------------


def overlapped(connection: Connection, fetch_no: int, started_at: Micros, audience: Audience) -> bool:
    """Return whether another fetch of the same audience ran while this one did, or may still run."""
    f = export_fetches.c
    query = (
        select(f.fetch_no)
        .join(exports, exports.c.export_id == f.export_id)
        .where(
            exports.c.destination == audience.destination,
            exports.c.purpose == audience.purpose,
            exports.c.segment == audience.segment,
            f.fetch_no != fetch_no,
            or_(f.settled.is_(None), f.finished_at >= started_at),
        )
    )
    return connection.execute(query.limit(1)).first() is not None


def unsettled(connection: Connection, before: Micros) -> list[tuple[int, str, BitMap]]:
    """Return (fetch_no, export id, skipped) of fetches begun before an instant and not settled."""
    f = export_fetches.c
    query = select(f.fetch_no, f.export_id, f.skipped).where(f.settled.is_(None), f.started_at < before)
    return [
        (int(row[0]), row[1], BitMap() if row[2] is None else BitMap.deserialize(row[2]))
        for row in connection.execute(query.order_by(f.fetch_no))
    ]


def settle(connection: Connection, fetch_no: int) -> None:
    """Mark a fetch as one whose outcome stands in the deliveries."""
    connection.execute(
        update(export_fetches).where(export_fetches.c.fetch_no == fetch_no).values(settled=True)
    )


# -- the feed ---------------------------------------------------------------------------------------


def fed(connection: Connection, audience_no: int) -> BitMap:
    """Return the anchors that the feed holds now."""
    query = select(_F.anchor).where(_F.audience_no == audience_no, _F.removed.is_(None))
    return BitMap(connection.execute(query).scalars())


def feed_page(
    connection: Connection, audience_no: int, after: int, limit: int, *, only_removed: bool
) -> list[Change]:
    """Return up to ``limit`` rows that changed after ``after``, in the order of their changes."""
    query = select(*(_F[name] for name in Change.__struct_fields__)).where(
        _F.audience_no == audience_no, _F.seq > after
    )
    if only_removed:
        query = query.where(_F.removed.is_not(None))
    rows = connection.execute(query.order_by(_F.seq).limit(limit))
    return [Change(**dict(zip(Change.__struct_fields__, row, strict=True))) for row in rows]


def add_fed(connection: Connection, audience_no: int, first_seq: int, anchors: Sequence[int]) -> None:
    """Put people into the feed, numbered from ``first_seq``; whoever was removed comes back as new."""
    for chunk in chunks(anchors):
        connection.execute(delete(feed_rows).where(_F.audience_no == audience_no, among(_F.anchor, chunk)))
    columns = ("audience_no", "anchor", "seq", "added_seq", "digest_seq")
    rows = [(audience_no, anchor, seq, seq, seq) for seq, anchor in enumerate(anchors, first_seq)]
    insert_many(connection, feed_rows, columns, rows)


def move_fed(
    connection: Connection,
    audience_no: int,
    first_seq: int,
    anchors: Sequence[int],
    removed: Mapping[int, str] | None = None,
    refs: Mapping[int, tuple[bytes, str]] | None = None,
) -> None:
    """Give rows of the feed new numbers, from ``first_seq``.

    :param removed: anchor → why it was removed; None: they may have changed.
    :param refs: of somebody about to be erased: (sealed profile_ref, id of the message whose key it has).
    """
    if not anchors:
        return
    values: dict[str, Any] = {"seq": bindparam("new_seq")}
    if removed is not None:
        values |= {
            "removed": bindparam("why"),
            "ref": bindparam("sealed"),
            "message_id": bindparam("message"),
        }
        values["digest"] = None
    statement = (
        update(feed_rows)
        .where(_F.audience_no == audience_no, _F.anchor == bindparam("who"), _F.removed.is_(None))
        .values(values)
    )
    rows = []
    for seq, anchor in enumerate(anchors, first_seq):
        row: dict[str, Any] = {"who": anchor, "new_seq": seq}
        if removed is not None:
            sealed, message = (refs or {}).get(anchor, (None, None))
            row |= {"why": removed[anchor], "sealed": sealed, "message": message}
        rows.append(row)
    connection.execute(statement, rows)


def set_digests(
    connection: Connection, audience_no: int, rows: Iterable[tuple[int, bytes | None, int]]
) -> None:
    """Store (anchor, digest, seq at which it became that) of rows delivered; of who was left out None."""
    given = [{"who": anchor, "is_now": digest, "since": seq} for anchor, digest, seq in rows]
    if given:
        statement = (
            update(feed_rows)
            .where(_F.audience_no == audience_no, _F.anchor == bindparam("who"), _F.removed.is_(None))
            .values(digest=bindparam("is_now"), digest_seq=bindparam("since"))
        )
        connection.execute(statement, given)


def drop_fed(connection: Connection, audience_no: int, anchors: Iterable[int]) -> None:
    """Delete the rows of people who cannot be named any more."""
    for chunk in chunks(anchors):
        connection.execute(delete(feed_rows).where(_F.audience_no == audience_no, among(_F.anchor, chunk)))


def forget_refs(connection: Connection, message_ids: Collection[str]) -> None:
    """Delete the rows of erased people whose message is done with: nothing can name them any more."""
    connection.execute(delete(feed_rows).where(_F.message_id.in_(sorted(message_ids))))
