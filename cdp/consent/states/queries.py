"""Reads and writes of the derived states.

A *name* is what the states of one purpose under certain policies are kept as (``Rules.names``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import ColumnElement, Connection, bindparam, case, delete, func, literal, or_, select

from cdp.clock import Micros
from cdp.consent.model import RESTRAINING, EventType, Named, Standing, State
from cdp.consent.notices import INFORMED
from cdp.consent.queries import NOBODY, recipients_set, recipients_text, recipients_tuple
from cdp.consent.standings import EVENT_TYPES, NEVER, STATES, Apart, Standings
from cdp.consent.tables import consent_records, consent_standings
from cdp.store import (
    among,
    chunks,
    insert_ignoring,
    insert_many,
    read_among,
    read_labelled,
    read_numbers,
    read_rows,
    since,
)

AHEAD = 0
"""The batch of states that were made ahead: nobody has seen them."""
_SCAN_ABOVE = 5_000  # from here on one pass over a purpose beats look-ups by profile
_COLUMNS = ("batch", "profile_no", "projection", *Standing.__struct_fields__[1:])
_S = consent_standings.c
_STANDING = (
    _S.profile_no,
    _S.projection,
    _S.state,
    _S.reason,
    _S.since,
    _S.granted_at,
    _S.expires_at,
    _S.event_type,
    _S.notice_current,
    _S.recipients,
    _S.named,
    _S.record_id,
    _S.notice_given,
)

_OF_PROFILES = select(*_STANDING).where(among(_S.profile_no))
_DELETION = delete(consent_standings).where(_S.projection == bindparam("name"), among(_S.profile_no))

# -- reading ----------------------------------------------------------------------------------------


def states_for(connection: Connection, profile_nos: Iterable[int]) -> dict[tuple[int, str], Standing]:
    """Return (profile_no, name) → state, as stored, under any name."""
    rows = read_among(connection, _OF_PROFILES, profile_nos)
    return {(no, name): standing for no, name, standing in _standings(rows)}


def states_of(connection: Connection, name: str, only: Collection[int] | None) -> dict[int, Standing]:
    """Return profile_no → state, as stored, of ``only`` these or of everybody."""
    query = select(*_STANDING).where(_S.projection == name)
    if only is None:
        return {no: standing for no, _, standing in _standings(connection.execute(query))}
    if len(only) > _SCAN_ABOVE:
        wanted = BitMap(only)
        return {no: standing for no, _, standing in _standings(connection.execute(query)) if no in wanted}
    rows = read_among(connection, _OF_PROFILES.where(_S.projection == name), only)
    return {no: standing for no, _, standing in _standings(rows)}


def standings(connection: Connection, name: str, only: Iterable[int] | None) -> Standings:
    """Return the states under a name as columns, of ``only`` these profiles or of everybody."""
    parts = (
        (len(STATES), case({state: place for place, state in enumerate(STATES)}, value=_S.state)),
        (len(EVENT_TYPES), case({one: place for place, one in enumerate(EVENT_TYPES)}, value=_S.event_type)),
        (2, case((_S.notice_current, 1), else_=0)),
        (2, case((_S.notice_given.is_not(None), 1), else_=0)),
        (2, case((_S.recipients != NOBODY, 1), else_=0)),
    )
    packed: ColumnElement[int] = _S.profile_no  # with what has few values: there are a million rows to read
    for size, part in parts:
        packed = packed * size + part
    columns = [packed, func.coalesce(_S.granted_at, 0), func.coalesce(_S.expires_at, NEVER)]
    sizes = (1 << 32, *(size for size, _ in parts))
    found = [np.empty((0, 7), np.int64)]
    recipients: dict[frozenset[str], BitMap] = {}
    named: list[tuple[int, tuple[Named, ...]]] = []
    for page in [None] if only is None else chunks(only):
        these = [_S.projection == name, *([] if page is None else [among(_S.profile_no, page)])]
        codes, given, ends = read_numbers(connection, select(*columns).where(*these)).T
        numbers, states, kinds, current, informed, naming = np.unravel_index(codes, sizes)
        found.append(np.stack([numbers, states, kinds, current, given, ends, informed], axis=1))
        if naming.any():
            few = select(_S.profile_no, _S.recipients, _S.named).where(*these, _S.recipients != NOBODY)
            for (names, apart), people in read_labelled(connection, few).sets():
                one = recipients_set(names)
                recipients[one] = recipients.get(one, BitMap()) | people
                named += [(no, _named(apart)) for no in people if apart != NOBODY]
    return Standings.of(np.concatenate(found), recipients, Apart.gather(named))


def naming(connection: Connection, names: Collection[str]) -> BitMap:
    """Return the profiles of which a state under one of ``names`` names recipients."""
    query = select(_S.profile_no).where(_S.projection.in_(names), _S.recipients != NOBODY)
    return BitMap(connection.execute(query).scalars())


def resting_grants(
    connection: Connection, name: str, notices: Sequence[tuple[str, int]]
) -> NDArray[np.int64]:
    """Return a row for every state that rests on grants, about the newest of them.

    :param notices: (notice id, version).
    :returns: profile_no, when the grant took effect, its own end (``NEVER``), the place of its notice in
        ``notices`` (-1: it is none of them).
    """
    r = consent_records.c
    query = (
        select(
            _S.profile_no,
            case((r.event_time < r.received_at, r.event_time), else_=r.received_at),
            func.coalesce(r.expires_at, NEVER),
            place_of_notice(notices),
        )
        .join(consent_records, r.record_id == _S.record_id)
        .where(_S.projection == name, or_(_S.state == "granted", _S.state == "stale"))
    )
    return read_numbers(connection, query)


def informed(connection: Connection, purpose: str, notices: Sequence[tuple[str, int]]) -> BitMap:
    """Return the identities that were given one of ``notices`` of a purpose."""
    r = consent_records.c
    told = select(r.identity_no).where(r.state == INFORMED, r.purpose == purpose)
    return BitMap(connection.execute(told.where(place_of_notice(notices) >= 0).distinct()).scalars())


def place_of_notice(notices: Sequence[tuple[str, int]]) -> ColumnElement[int]:
    """Return the place in ``notices`` of the notice that a record is on; -1 where it is none of them."""
    r = consent_records.c
    cases = [
        ((r.notice_id == name) & (r.notice_version == version), place)
        for place, (name, version) in enumerate(notices)
    ]
    return case(*cases, else_=-1) if cases else literal(-1)


def restrained(connection: Connection, name: str) -> BitMap:
    """Return the profiles with a restraint on a purpose."""
    query = select(_S.profile_no).where(_S.projection == name, _S.state.in_(sorted(RESTRAINING)))
    return BitMap(connection.execute(query).scalars())


def stale(connection: Connection, names: Collection[str], now: Micros) -> list[tuple[str, str, int]]:
    """Return (purpose, reason, number of profiles) of the states that are stale at ``now``."""
    aged = (_S.state == "granted") & (_S.expires_at <= now)
    reason = case((aged, "stale_expired"), else_=_S.reason).label("why")
    these = select(_S.projection, reason).where(_S.projection.in_(names), or_(_S.state == "stale", aged))
    found = these.subquery().c
    query = select(found.projection, found.why, func.count()).group_by(found.projection, found.why)
    return sorted((_purpose(name), why, int(count)) for name, why, count in connection.execute(query))


def changed_since(connection: Connection, commit_no: int) -> BitMap:
    """Return the profiles of which a state was written after ``commit_no``; what is made ahead aside."""
    query = select(_S.profile_no).where(since(_S.batch, commit_no))
    return BitMap(connection.execute(query).scalars())


# -- writing ----------------------------------------------------------------------------------------


def add_states(connection: Connection, batch: int, states: Iterable[tuple[int, str, Standing]]) -> None:
    """Insert states of (profile_no, name) that have none yet."""
    insert_many(connection, consent_standings, _COLUMNS, _stored(batch, states))


def add_missing_states(
    connection: Connection, batch: int, states: Iterable[tuple[int, str, Standing]]
) -> None:
    """Insert states of those (profile_no, name) that have none yet."""
    rows = sorted(_stored(batch, states), key=lambda row: (row[2], row[1]))
    insert_ignoring(connection, consent_standings, _COLUMNS, rows)


def _stored(batch: int, states: Iterable[tuple[int, str, Standing]]) -> list[tuple[Any, ...]]:
    return [
        (
            batch,
            no,
            name,
            one.state,
            one.reason,
            one.since,
            one.granted_at,
            one.expires_at,
            one.event_type,
            one.notice_current,
            recipients_text(one.recipients),
            msgspec.json.encode(one.named).decode() if one.named else NOBODY,
            one.record_id,
            one.notice_given,
        )
        for no, name, one in states
    ]


def delete_states(connection: Connection, keys: Iterable[tuple[int, str]]) -> None:
    """Delete the states of (profile_no, name)."""
    by_name: dict[str, list[int]] = {}
    for profile_no, name in keys:
        by_name.setdefault(name, []).append(profile_no)
    for name, numbers in sorted(by_name.items()):
        for chunk in chunks(numbers):
            connection.execute(_DELETION, {"name": name, "numbers": chunk})


def delete_page(connection: Connection, name: str, limit: int) -> int:
    """Delete up to ``limit`` states under a name; returns how many there were."""
    page = select(_S.profile_no).where(_S.projection == name).order_by(_S.profile_no).limit(limit)
    numbers = [int(row[0]) for row in read_rows(connection, page)]
    if numbers:
        these = _S.projection == name, _S.profile_no >= numbers[0], _S.profile_no <= numbers[-1]
        connection.execute(delete(consent_standings).where(*these))
    return len(numbers)


# -- rows -------------------------------------------------------------------------------------------


def _standings(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, str, Standing]]:
    """Yield (profile_no, name, state); made for a million rows, so nothing is converted twice."""
    for row in rows:
        no, name, state, reason, since, granted, expires, kind, current, names, apart, record, told = row
        yield (
            int(no),
            name,
            Standing(
                purpose=_purpose(name),
                state=cast("State", state),
                reason=reason,
                since=since,
                granted_at=granted,
                expires_at=expires,
                event_type=cast("EventType", kind),
                notice_current=bool(current),
                recipients=recipients_tuple(names),
                named=() if apart == NOBODY else _named(apart),
                record_id=record,
                notice_given=told,
            ),
        )


@lru_cache
def _purpose(name: str) -> str:
    return name.partition("@")[0]


def _named(text: str) -> tuple[Named, ...]:
    return msgspec.json.decode(text, type=tuple[Named, ...])
