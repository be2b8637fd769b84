"""Reads and writes of what exports are decided again by, and of replays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from pyroaring import BitMap
from sqlalchemy import Connection, Row, func, insert, select, update

from cdp.consent.tables import consent_records
from cdp.gate.replay.model import Replay, Report
from cdp.gate.tables import export_records, export_replays, exports
from cdp.identity.tables import identities, link_candidates, link_suppressions, links
from cdp.store import among, batches, chunks, insert_ignoring, since, until


class Kept(NamedTuple):
    """What is kept beside an export.

    :param taken_out: the leaves of D, packed.
    :param causes: why each of D was taken out (``record.pack_sets``); None where it is not known.
    :param record: packed; None of an export older than records.
    """

    taken_out: bytes
    causes: bytes | None = None
    record: bytes | None = None


def add_record(connection: Connection, export_id: str, kept: Kept) -> None:
    """Store what is kept beside an export; what is there already stays."""
    row = (export_id, kept.taken_out, kept.causes, kept.record)
    insert_ignoring(connection, export_records, ("export_id", "taken_out", "causes", "record"), [row])


def kept(connection: Connection, export_id: str) -> Kept | None:
    """Return what is kept beside an export; None of one that is older than that."""
    r = export_records.c
    query = select(r.taken_out, r.causes, r.record).where(r.export_id == export_id)
    row = connection.execute(query).first()
    return None if row is None else Kept(bytes(row[0]), *(one and bytes(one) for one in row[1:]))


def without_leaves(connection: Connection, empty: bytes) -> list[tuple[str, BitMap, bytes]]:
    """Return (export id, D, its root) of the exports whose leaves of D are not kept.

    :param empty: the root of a D with nobody in it, whose leaves are known.
    """
    held = select(export_records.c.export_id)
    query = select(exports.c.export_id, exports.c.changed, exports.c.changed_root).where(
        exports.c.changed_root != empty, exports.c.export_id.not_in(held)
    )
    return [(row[0], BitMap.deserialize(row[1]), bytes(row[2])) for row in connection.execute(query)]


def committed(connection: Connection, export_id: str) -> int:
    """Return the commit that brought an export."""
    query = select(batches.c.commit_no).join(exports, exports.c.batch == batches.c.batch)
    return int(connection.execute(query.where(exports.c.export_id == export_id)).scalar_one())


# -- people of then ---------------------------------------------------------------------------------


def still_there(connection: Connection, identity_nos: Iterable[int]) -> BitMap:
    """Return those of some identities that have a row."""
    found = BitMap()
    for chunk in chunks(identity_nos):
        query = select(identities.c.identity_no).where(among(identities.c.identity_no, chunk))
        found.update(connection.execute(query).scalars())
    return found


def spoken_between(connection: Connection, after: int, upto: int) -> BitMap:
    """Return the identities of which a consent was recorded after a commit, up to another."""
    c = consent_records.c
    query = select(c.identity_no).where(since(c.batch, after), until(c.batch, upto)).distinct()
    return BitMap(connection.execute(query).scalars().all())


def related_between(connection: Connection, after: int, upto: int) -> BitMap:
    """Return the identities of which a link was told, decided or revoked after a commit, up to another."""
    found = BitMap()
    for table in (link_candidates, links, link_suppressions):
        c = table.c
        query = select(c.low, c.high).where(since(c.batch, after), until(c.batch, upto))
        found.update(number for pair in connection.execute(query) for number in pair)
    return found


# -- replays ----------------------------------------------------------------------------------------


def next_replay(connection: Connection) -> int:
    """Return the number of the next replay; the caller holds the head."""
    return int(connection.execute(select(func.max(export_replays.c.replay_no))).scalar() or 0) + 1


def add_replay(connection: Connection, replay: Replay, batch: int) -> None:
    """Insert a replay that begins."""
    connection.execute(insert(export_replays).values(**_shape(replay), batch=batch))


def change_replay(connection: Connection, replay: Replay) -> None:
    """Write how a replay ended."""
    changed = update(export_replays).where(export_replays.c.replay_no == replay.replay_no)
    connection.execute(changed.values(_shape(replay)))


def replay(connection: Connection, replay_no: int) -> Replay | None:
    """Return one replay."""
    row = connection.execute(_replays().where(export_replays.c.replay_no == replay_no)).first()
    return None if row is None else _replay(row)


def replays_of(connection: Connection, export_id: str, limit: int, before: int | None) -> list[Replay]:
    """Return replays of an export, the newest first.

    :param before: continue behind this one.
    """
    r = export_replays.c
    query = _replays().where(r.export_id == export_id)
    if before is not None:
        query = query.where(r.replay_no < before)
    return [_replay(row) for row in connection.execute(query.order_by(r.replay_no.desc()).limit(limit))]


def running(connection: Connection) -> list[Replay]:
    """Return the replays that say they are under way."""
    query = _replays().where(export_replays.c.state == "running")
    return [_replay(row) for row in connection.execute(query)]


def _replays() -> Any:
    return select(*(export_replays.c[name] for name in Replay.__struct_fields__))


def _replay(row: Row[Any]) -> Replay:
    given = dict(zip(Replay.__struct_fields__, row, strict=True))
    report = given.pop("report")
    return Replay(**given, report=None if report is None else msgspec.json.decode(report, type=Report))


def _shape(replay: Replay) -> dict[str, Any]:
    given = msgspec.structs.asdict(replay)
    report = given["report"]
    return {**given, "report": None if report is None else msgspec.json.encode(report).decode()}
