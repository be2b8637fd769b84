"""Reads of what was done: the log, decisions, fetches, recalls, and who sent what. Nothing is written here.

Rows come a page at a time; what is kept of them are sums and sets of numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import ColumnElement, Connection, Row, Select, Table, case, func, or_, select

from cdp.access.tables import api_keys, sources
from cdp.audit.tables import audit_entries, audit_subjects
from cdp.clock import Micros
from cdp.consent.tables import consent_records
from cdp.export.tables import outbox
from cdp.gate.tables import export_classes, export_fetches, exports
from cdp.ingest.tables import events, quarantine
from cdp.profiles.tables import trait_observations
from cdp.reports.period import Period
from cdp.store import batches, read_rows

_STREAMED = {"yield_per": 1000}  # rows in memory at a time, also inside the driver
_REFERENCE_BYTES = 32
_A = audit_entries.c
_E = exports.c
_F = export_fetches.c
_O = outbox.c


class Only(NamedTuple):
    """Of which segment, destination or purpose something is asked; empty: of any."""

    segment: str = ""
    destination: str = ""
    purpose: str = ""


EVERY = Only()


# -- the log ----------------------------------------------------------------------------------------


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What the log has of one action for one purpose towards one destination.

    :param times: entries; ``people`` those that they concern, counted once for each entry.
    """

    purpose: str
    destination: str
    action: str
    outcome: str
    times: int
    people: int
    first: Micros
    last: Micros


def uses(connection: Connection, period: Period, actor: str = "") -> list[Use]:
    """Return what was done in a period, of everybody or of one actor.

    Without an actor only what names a purpose or a destination.
    """
    people = func.coalesce(func.sum(func.length(_A.subject_refs)), 0)
    named = _A.actor == actor if actor else or_(_A.purpose != "", _A.destination != "")
    by = (_A.purpose, _A.destination, _A.action, _A.outcome)
    query = (
        select(*by, func.count(), people, func.min(_A.at), func.max(_A.at))
        .where(*_during(_A.at, period), named)
        .group_by(*by)
        .order_by(*by)
    )
    return [
        Use(
            purpose=row[0],
            destination=row[1],
            action=row[2],
            outcome=row[3],
            times=int(row[4]),
            people=int(row[5]) // _REFERENCE_BYTES,
            first=int(row[6]),
            last=int(row[7]),
        )
        for row in connection.execute(query)
    ]


def subjects(connection: Connection, period: Period, actor: str, deciding: Sequence[str]) -> BitMap:
    """Return the identities that an actor's entries in a period concern, those of ``deciding`` actions aside.

    Who was erased since is in none of them.
    """
    query = (
        select(audit_subjects.c.identity_no)
        .join(audit_entries, _A.leaf_index == audit_subjects.c.leaf_index)
        .where(*_during(_A.at, period), _A.actor == actor, _A.outcome == "allowed")
        .where(_A.action.not_in(deciding))
        .distinct()
    )
    return BitMap(connection.execute(query).scalars())


def unsigned_since(connection: Connection, size: int) -> Micros | None:
    """Return when the first entry behind a checkpoint of ``size`` was made; None when there is none."""
    at = connection.execute(select(_A.at).where(_A.leaf_index == size)).scalar()
    return None if at is None else int(at)


# -- what was decided and what left ------------------------------------------------------------------


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """An export as decided: see ``cdp.gate.tables.exports``."""

    export_id: str
    created_at: Micros
    segment: str
    destination: str
    purpose: str
    mode: str
    inputs: list[str]
    reads: list[str]
    plan: dict[str, str]
    counts: dict[str, Any]
    noised: dict[str, Any]


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that left, or lay ready to: a fetch, or what a feed was brought up to.

    :param skipped: a BitMap of identities that the fetch left out; None: all counts as delivered.
    """

    decision: Decision
    at: Micros
    skipped: bytes | None


_PLAIN = ("export_id", "created_at", "segment", "destination", "purpose", "mode")
_DECODED = ("inputs", "reads", "plan", "counts", "noised")
_COLUMNS = tuple(_E[name] for name in (*_PLAIN, *_DECODED))


def decisions(
    connection: Connection, period: Period, only: Only = EVERY, requested_by: int | None = None
) -> Iterator[Decision]:
    """Yield the exports decided in a period, oldest first.

    :param requested_by: only those that a key asked for.
    """
    query = select(*_COLUMNS).where(*_during(_E.created_at, period), *_only(exports, only))
    if requested_by is not None:
        query = query.where(_E.requested_by == requested_by)
    for row in _streamed(connection, query.order_by(_E.created_at, _E.audit_index)):
        yield _decision(row)


def departures(
    connection: Connection, period: Period, only: Only = EVERY, key_id: int | None = None
) -> Iterator[Departure]:
    """Yield what left in a period, by export.

    What a feed was brought up to lies ready from its decision on; read or not, it counts. Of one key only
    what it fetched itself.
    """
    fetched = (
        select(*_COLUMNS, _F.started_at, _F.skipped)
        .join(exports, _E.export_id == _F.export_id)
        .where(*_during(_F.started_at, period), *_only(exports, only))
        .order_by(_F.export_id, _F.fetch_no)
    )
    if key_id is None:
        fetched = fetched.where(_E.mode == "full")
        for decision in decisions(connection, period, only):
            if decision.mode == "delta":
                yield Departure(decision=decision, at=decision.created_at, skipped=None)
    else:
        fetched = fetched.where(_F.key_id == key_id)
    for row in _streamed(connection, fetched):
        yield Departure(decision=_decision(row), at=int(row.started_at), skipped=row.skipped)


def released(connection: Connection, export_id: str) -> BitMap:
    """Return the identities of which a row could leave with an export: M∖D."""
    c = export_classes.c
    sets = connection.execute(select(c.identities).where(c.export_id == export_id)).scalars()
    found = BitMap.union(BitMap(), *(BitMap.deserialize(bytes(one)) for one in sets))
    changed = connection.execute(select(_E.changed).where(_E.export_id == export_id)).scalar_one()
    return found - BitMap.deserialize(bytes(changed))


def was_destination(connection: Connection, name: str) -> bool:
    """Return whether anything was ever decided for a destination, or it was told anything."""
    found = select(_E.export_id).where(_E.destination == name).limit(1)
    told = select(_O.message_id).where(_O.destination == name).limit(1)
    return any(connection.execute(query).first() is not None for query in (found, told))


def _decision(row: Row[Any]) -> Decision:
    given = {name: getattr(row, name) for name in _PLAIN}
    return Decision(**given, **{name: msgspec.json.decode(getattr(row, name)) for name in _DECODED})


# -- recalls ----------------------------------------------------------------------------------------


class Recalled(msgspec.Struct, frozen=True, kw_only=True):
    """A message to a destination: see ``cdp.export.tables.outbox``."""

    destination: str
    purpose: str
    segment: str
    kind: str
    people: int
    state: str
    created_at: Micros
    deadline: Micros
    acknowledged_at: Micros | None


def recalls(connection: Connection, period: Period, only: Only = EVERY) -> Iterator[Recalled]:
    """Yield the messages made in a period, oldest first."""
    columns = [_O[name] for name in Recalled.__struct_fields__]
    query = (
        select(*columns).where(*_during(_O.created_at, period), *_only(outbox, only)).order_by(_O.created_at)
    )
    for row in _streamed(connection, query):
        yield Recalled(**dict(zip(Recalled.__struct_fields__, row, strict=True)))


# -- who sent what ----------------------------------------------------------------------------------


def key_named(connection: Connection, name: str) -> int | None:
    """Return the number of an API key, live or revoked."""
    return connection.execute(select(api_keys.c.key_id).where(api_keys.c.name == name)).scalar()


def source_named(connection: Connection, name: str) -> int | None:
    """Return the number of a source."""
    return connection.execute(select(sources.c.source_id).where(sources.c.name == name)).scalar()


def senders(connection: Connection) -> dict[int, tuple[str, str]]:
    """Return source number → (name, kind)."""
    s = sources.c
    rows = connection.execute(select(s.source_id, s.name, s.kind))
    return {int(number): (name, kind) for number, name, kind in rows}


def came_from(connection: Connection, source_id: int, period: Period) -> NDArray[np.int64]:
    """Return (identity_no, events, first, last received) of those about whom a source sent events."""
    e = events.c
    query = (
        select(e.identity_no, func.count(), func.min(e.received_at), func.max(e.received_at))
        .where(e.source_id == source_id, *_during(e.received_at, period))
        .group_by(e.identity_no)
    )
    return _numbers(connection, query, 4)


def spoken_of(connection: Connection, source_id: int, period: Period) -> BitMap:
    """Return the identities about whose consent a source said something."""
    c = consent_records.c
    query = select(c.identity_no).where(c.source_id == source_id, *_during(c.received_at, period)).distinct()
    return BitMap(connection.execute(query).scalars())


def told_by(
    connection: Connection, period: Period | None, source_id: int | None
) -> list[tuple[int, str, int]]:
    """Return (source, ``trait:…`` or ``event:…``, how often) of what sources told."""
    o, e = trait_observations.c, events.c
    event = case((e.type == "track", e.name), else_=e.type)
    traits = select(o.source_id, o.name, func.count()).group_by(o.source_id, o.name)
    happened = select(e.source_id, event, func.count()).group_by(e.source_id, event)
    if period is not None:
        traits = traits.join(batches, batches.c.batch == o.batch)
        traits = traits.where(*_during(batches.c.committed_at, period))
        happened = happened.where(*_during(e.received_at, period))
    if source_id is not None:
        traits, happened = traits.where(o.source_id == source_id), happened.where(e.source_id == source_id)
    return sorted(
        (int(source), f"{kind}:{name}", int(count))
        for kind, query in (("trait", traits), ("event", happened))
        for source, name, count in connection.execute(query)
    )


def quarantined(connection: Connection, source_id: int | None = None) -> list[tuple[str, int, Micros]]:
    """Return (kind, messages, when the oldest came) of what lies in quarantine, all or of a source."""
    q = quarantine.c
    query = select(q.kind, func.count(), func.min(q.received_at)).where(q.replayed_at.is_(None))
    if source_id is not None:
        query = query.where(q.source_id == source_id)
    rows = connection.execute(query.group_by(q.kind).order_by(q.kind))
    return [(kind, int(count), int(oldest)) for kind, count, oldest in rows]


def arrivals(connection: Connection, source_id: int) -> NDArray[np.int64]:
    """Return (identity_no, when it first came from a source, when from another; 0: never)."""
    e = events.c
    by_import = func.min(case((e.source_id == source_id, e.received_at)))
    otherwise = func.min(case((e.source_id != source_id, e.received_at)))
    query = (
        select(e.identity_no, by_import, func.coalesce(otherwise, 0))
        .group_by(e.identity_no)
        .having(by_import.is_not(None))
    )
    return _numbers(connection, query, 3)


def informed(connection: Connection) -> NDArray[np.int64]:
    """Return (identity_no, when first) of whoever was given a notice, or acted on one themselves."""
    c = consent_records.c
    at = case((c.event_time < c.received_at, c.event_time), else_=c.received_at)
    acted = (c.notice_id != "") & c.act & (c.source_kind != "import")
    query = select(c.identity_no, func.min(at)).where((c.state == "informed") | acted).group_by(c.identity_no)
    return _numbers(connection, query, 2)


# -- how --------------------------------------------------------------------------------------------


def _during(column: ColumnElement[int], period: Period) -> tuple[ColumnElement[bool], ...]:
    return column >= period.from_, column < period.to


def _numbers(connection: Connection, query: Select[Any], width: int) -> NDArray[np.int64]:
    return np.array(read_rows(connection, query), np.int64).reshape(-1, width)


def _only(table: Table, only: Only) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in only._asdict().items() if value]


def _streamed(connection: Connection, query: Select[Any]) -> Iterator[Row[Any]]:
    with connection.execute(query, execution_options=_STREAMED) as rows:
        yield from rows
