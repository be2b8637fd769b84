"""Reads and writes of retention: pages of what people left, runs, legal holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, RowMapping, delete, func, insert, select, tuple_, update

from cdp.clock import Micros
from cdp.identity.tables import profile_members
from cdp.ingest.tables import events
from cdp.profiles.tables import trait_observations
from cdp.rights.retention.model import EVERYBODY, Hold, Run
from cdp.rights.retention.tables import legal_holds, retention_runs
from cdp.store import among, batches, chunks, read_rows, update_many

Key = tuple[int, int]
"""(batch, seq) of a row."""


class EventRow(NamedTuple):
    """What is looked at of an event.

    :param properties: JSON text, None without any; ``sealed`` likewise.
    """

    batch: int
    seq: int
    identity_no: int
    event_id: bytes
    type: str
    name: str
    received_at: Micros
    properties: str | None
    sealed: bytes | None


class TraitRow(NamedTuple):
    """What is looked at of an observation; it was received when its batch was committed."""

    batch: int
    seq: int
    identity_no: int
    name: str
    received_at: Micros


# -- people ---------------------------------------------------------------------------------------------


def last_identity(connection: Connection) -> int:
    """Return the highest identity number that is somebody's; 0 when there is nobody."""
    return int(connection.execute(select(func.max(profile_members.c.identity_no))).scalar() or 0)


def page(connection: Connection, after: int, upto: int, limit: int) -> dict[int, int]:
    """Return identity_no → profile_no of the next identities above ``after``."""
    m = profile_members.c
    query = (
        select(m.identity_no, m.profile_no)
        .where(m.identity_no > after, m.identity_no <= upto)
        .order_by(m.identity_no)
        .limit(limit)
    )
    return {int(row.identity_no): int(row.profile_no) for row in connection.execute(query)}


def members(connection: Connection, profile_nos: Iterable[int]) -> dict[int, list[int]]:
    """Return profile_no → all its identities."""
    m = profile_members.c
    found: dict[int, list[int]] = {}
    for chunk in chunks(set(profile_nos)):
        query = select(m.profile_no, m.identity_no).where(among(m.profile_no, chunk))
        for profile_no, identity_no in connection.execute(query):
            found.setdefault(int(profile_no), []).append(int(identity_no))
    return found


# -- what they left -------------------------------------------------------------------------------------


def events_of(connection: Connection, identity_nos: Sequence[int], before: Micros) -> Iterable[EventRow]:
    """Yield the events of identities that were received before an instant."""
    columns = [events.c[name] for name in EventRow._fields]
    query = select(*columns).where(among(events.c.identity_no, identity_nos), events.c.received_at < before)
    return map(EventRow._make, read_rows(connection, query))


def traits_of(connection: Connection, identity_nos: Sequence[int], before: Micros) -> Iterable[TraitRow]:
    """Yield the observations of identities that were received before an instant."""
    o = trait_observations.c
    query = (
        select(o.batch, o.seq, o.identity_no, o.name, batches.c.committed_at)
        .join(batches, batches.c.batch == o.batch)
        .where(among(o.identity_no, identity_nos), batches.c.committed_at < before)
    )
    return map(TraitRow._make, read_rows(connection, query))


def delete_events(connection: Connection, keys: Iterable[Key]) -> None:
    """Delete events."""
    for chunk in chunks(keys):
        connection.execute(delete(events).where(tuple_(events.c.batch, events.c.seq).in_(chunk)))


def delete_traits(connection: Connection, keys: Iterable[Key]) -> None:
    """Delete observations."""
    o = trait_observations.c
    for chunk in chunks(keys):
        connection.execute(delete(trait_observations).where(tuple_(o.batch, o.seq).in_(chunk)))


def replace_events(connection: Connection, left: Mapping[Key, tuple[str | None, bytes | None]]) -> None:
    """Put what is left of events in the place of what they held; one that is gone stays so."""
    rows = [(*key, *left[key]) for key in sorted(left)]
    update_many(connection, events, ("batch", "seq"), ("properties", "sealed"), rows)


# -- runs -----------------------------------------------------------------------------------------------


def add_run(connection: Connection, run: Run) -> None:
    """Store a run."""
    connection.execute(insert(retention_runs).values(**_columns(run)))


def store_run(connection: Connection, run: Run, held: Micros) -> bool:
    """Store how far a run is; False when another process worked on it since ``held``."""
    r = retention_runs.c
    mine = update(retention_runs).where(r.run_id == run.run_id, r.state == "running", r.changed_at == held)
    return connection.execute(mine.values(**_columns(run))).rowcount == 1


def find_run(connection: Connection, run_id: str) -> Run | None:
    """Return one run."""
    row = (
        connection.execute(select(retention_runs).where(retention_runs.c.run_id == run_id)).mappings().first()
    )
    return None if row is None else _run(row)


def newest_runs(connection: Connection, limit: int) -> list[Run]:
    """Return runs, the newest first."""
    r = retention_runs.c
    query = select(retention_runs).order_by(r.now.desc(), r.run_id.desc()).limit(limit)
    return [_run(row) for row in connection.execute(query).mappings()]


def newest_run(connection: Connection, schedule: str, *, dry: bool) -> Run | None:
    """Return the newest run of a schedule that came to its end."""
    r = retention_runs.c
    query = select(retention_runs).where(r.schedule == schedule, r.dry.is_(dry), r.state == "done")
    row = connection.execute(query.order_by(r.now.desc()).limit(1)).mappings().first()
    return None if row is None else _run(row)


def running(connection: Connection) -> Run | None:
    """Return the run that is under way."""
    query = select(retention_runs).where(retention_runs.c.state == "running")
    row = connection.execute(query).mappings().first()
    return None if row is None else _run(row)


def _columns(run: Run) -> dict[str, object]:
    return {**msgspec.to_builtins(run), "counts": msgspec.json.encode(run.counts).decode()}


def _run(row: RowMapping) -> Run:
    given = {name: row[name] for name in Run.__struct_fields__}
    return msgspec.convert({**given, "counts": msgspec.json.decode(str(row["counts"]))}, Run)


# -- holds ----------------------------------------------------------------------------------------------


def add_hold(connection: Connection, batch: int, hold: Hold) -> None:
    """Store a hold."""
    given = {**msgspec.to_builtins(hold), "categories": msgspec.json.encode(hold.categories).decode()}
    connection.execute(insert(legal_holds).values(batch=batch, **given))


def lift_hold(connection: Connection, hold_id: str, at: Micros) -> bool:
    """Note that a hold ends; False when there is none that stands."""
    h = legal_holds.c
    lifted = update(legal_holds).where(h.hold_id == hold_id, h.lifted_at.is_(None)).values(lifted_at=at)
    return connection.execute(lifted).rowcount == 1


def find_hold(connection: Connection, hold_id: str) -> Hold | None:
    """Return one hold."""
    query = select(legal_holds).where(legal_holds.c.hold_id == hold_id)
    row = connection.execute(query).mappings().first()
    return None if row is None else _hold(row)


def holds(connection: Connection, *, standing: bool) -> list[Hold]:
    """Return holds, the newest first; only those that stand, or all."""
    h = legal_holds.c
    query = select(legal_holds).order_by(h.placed_at.desc(), h.hold_id)
    if standing:
        query = query.where(h.lifted_at.is_(None))
    return [_hold(row) for row in connection.execute(query).mappings()]


def standing_on(connection: Connection, identity_nos: Iterable[int]) -> list[Hold]:
    """Return the holds that stand on any of these identities, or on everybody."""
    h = legal_holds.c
    found: list[Hold] = []
    for chunk in chunks({EVERYBODY, *identity_nos}):
        query = select(legal_holds).where(h.lifted_at.is_(None), among(h.identity_no, chunk))
        found += [_hold(row) for row in connection.execute(query.order_by(h.hold_id)).mappings()]
    return found


def _hold(row: RowMapping) -> Hold:
    given = {name: row[name] for name in Hold.__struct_fields__}
    return msgspec.convert({**given, "categories": msgspec.json.decode(str(row["categories"]))}, Hold)
