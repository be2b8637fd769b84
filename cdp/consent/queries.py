"""Reads and writes of the consent ledger and of the derived states."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)

from cdp.clock import DAY, Micros
from cdp.consent.grade import version_status
from cdp.consent.model import CONFIRMING, RESTRAINING, EventType, Named, Record, Standing, State, Told
from cdp.consent.notices import INFORMED
from cdp.consent.standings import EVENT_TYPES, NEVER, STATES, Standings
from cdp.consent.tables import consent_derivation, consent_records, consent_states
from cdp.policy import Purpose, lineage
from cdp.store import among, batches, chunks, insert_many, read_numbers, read_rows, since, until, upsert

_NOBODY = "[]"
_SCAN_ABOVE = 5_000  # from here on one pass over a purpose beats look-ups by profile
_SETS = 10_000  # different sets of recipients; people share a few
_WHOLE = Record.__struct_fields__
_DECISIVE = tuple(
    name for name in _WHOLE if name not in {"legal_basis", "notice_sha256", "language", "method", "sealed"}
)
_S = consent_states.c
_STANDING = (
    _S.profile_no,
    _S.purpose,
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


# -- the ledger -------------------------------------------------------------------------------------


def add_records(connection: Connection, batch: int, records: Sequence[Record]) -> None:
    """Append to the ledger."""
    columns = ("batch", *Record.__struct_fields__)
    stored = (msgspec.structs.replace(one, recipients=_text(one.recipients)) for one in records)
    rows = [(batch, *msgspec.structs.astuple(one)) for one in stored]
    insert_many(connection, consent_records, columns, rows)


def told(connection: Connection, identity_nos: Iterable[int]) -> list[Told]:
    """Return as much of these identities' records as tells what is news, in the order in which they came."""
    columns = [consent_records.c[name] for name in Told.__struct_fields__]
    found = []
    for chunk in chunks(identity_nos):
        query = select(*columns).where(among(consent_records.c.identity_no, chunk))
        found += [Told(*(*row[:-1], _tuple(row[-1]))) for row in connection.execute(query)]
    return sorted(found, key=lambda one: (one.received_at, one.record_id))


def told_until(connection: Connection, identity_nos: Iterable[int]) -> dict[int, Micros]:
    """Return identity_no → when its newest record was received, for those that have any."""
    number = consent_records.c.identity_no
    newest = select(number, func.max(consent_records.c.received_at)).group_by(number)
    return {
        int(row[0]): int(row[1])
        for chunk in chunks(identity_nos)
        for row in connection.execute(newest.where(among(number, chunk)))
    }


def records_of(
    connection: Connection,
    identity_nos: Iterable[int],
    *,
    decisive: bool = False,
    upto: int | None = None,
) -> list[Record]:
    """Return every record of these identities, in the order in which they came in.

    :param decisive: read only what precedence looks at, and leave the rest empty.
    :param upto: as of this commit; now when None.
    """
    names = _DECISIVE if decisive else _WHOLE
    columns = [consent_records.c[name] for name in names]
    found = []
    for chunk in chunks(identity_nos):
        query = select(*columns).where(
            among(consent_records.c.identity_no, chunk), until(consent_records.c.batch, upto)
        )
        for row in connection.execute(query):
            given: dict[str, Any] = dict(zip(names, row, strict=True))
            given["recipients"] = _tuple(given["recipients"])
            found.append(Record(**given))
    return sorted(found, key=lambda record: (record.received_at, record.record_id))


def known(connection: Connection, record_ids: Iterable[int]) -> set[int]:
    """Return those of these records that the ledger has."""
    r = consent_records.c
    found: set[int] = set()
    for chunk in chunks(record_ids):
        found.update(connection.execute(select(r.record_id).where(among(r.record_id, chunk))).scalars())
    return found


def committed_record(connection: Connection, record_id: int) -> tuple[Record, int, Micros] | None:
    """Return (record, commit_no, when it committed); None when there is no such record."""
    r = consent_records.c
    query = (
        select(*(r[name] for name in _WHOLE), batches.c.commit_no, batches.c.committed_at)
        .join(batches, batches.c.batch == r.batch)
        .where(r.record_id == record_id)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    *values, commit_no, at = row
    given: dict[str, Any] = dict(zip(_WHOLE, values, strict=True))
    given["recipients"] = _tuple(given["recipients"])
    return Record(**given), int(commit_no), int(at)


# -- the derived states -----------------------------------------------------------------------------


def states_for(connection: Connection, profile_nos: Iterable[int]) -> dict[tuple[int, str], Standing]:
    """Return (profile_no, purpose) → state, as stored."""
    found = {}
    for chunk in chunks(profile_nos):
        query = select(*_STANDING).where(among(_S.profile_no, chunk))
        for profile_no, standing in _standings(connection, query):
            found[profile_no, standing.purpose] = standing
    return found


def states_of_purpose(
    connection: Connection, purpose: str, only: Collection[int] | None
) -> dict[int, Standing]:
    """Return profile_no → state of one purpose, as stored, of ``only`` these or of everybody."""
    query = select(*_STANDING).where(_S.purpose == purpose)
    if only is None:
        return dict(_standings(connection, query))
    if len(only) > _SCAN_ABOVE:
        wanted = BitMap(only)
        return {no: standing for no, standing in _standings(connection, query) if no in wanted}
    return {
        no: standing
        for chunk in chunks(only)
        for no, standing in _standings(connection, query.where(among(_S.profile_no, chunk)))
    }


def standings(connection: Connection, purpose: str, only: Iterable[int] | None) -> Standings:
    """Return the states of one purpose as columns, of ``only`` these profiles or of everybody."""
    numbers = (
        _S.profile_no,
        case({name: place for place, name in enumerate(STATES)}, value=_S.state),
        case({name: place for place, name in enumerate(EVENT_TYPES)}, value=_S.event_type),
        case((_S.notice_current, 1), else_=0),
        func.coalesce(_S.granted_at, 0),
        func.coalesce(_S.expires_at, NEVER),
        case((_S.notice_given.is_not(None), 1), else_=0),
    )
    pages = [None] if only is None else list(chunks(only))
    found = [np.empty((0, len(numbers)), np.int64)]
    recipients: dict[int, frozenset[str]] = {}
    named: dict[int, tuple[Named, ...]] = {}
    for page in pages:
        these = [_S.purpose == purpose, *([] if page is None else [among(_S.profile_no, page)])]
        found.append(read_numbers(connection, select(*numbers).where(*these)))
        few = select(_S.profile_no, _S.recipients, _S.named).where(*these, _S.recipients != _NOBODY)
        for no, names, apart in read_rows(connection, few):
            recipients[no] = _set(names)
            if apart != _NOBODY:
                named[no] = _named(apart)
    return Standings.of(np.concatenate(found), recipients, named)


def confirmed(
    connection: Connection, purpose: Purpose, recipient: str, upto: int | None = None
) -> NDArray[np.int64]:
    """Return a row for every confirmed grant for ``recipient`` that no restraint of its identity followed.

    One on a notice that has materially changed is left out: what it said is not what is asked now.

    :param upto: as of this commit; now when None.
    :returns: identity_no, the first instant at which the grant is expired (``NEVER``: at none).
    """
    given, later = consent_records.alias(), consent_records.alias()
    took_effect = case(
        (given.c.event_time < given.c.received_at, given.c.event_time), else_=given.c.received_at
    )
    superseded = [
        (given.c.notice_id == notice.id) & (given.c.notice_version == notice.version)
        for notice in purpose.notices
        if version_status(purpose, notice.id, notice.version) == "superseded"
    ]
    restrained = (
        select(later.c.record_id)
        .where(
            later.c.identity_no == given.c.identity_no,
            later.c.purpose.in_(lineage(purpose.key)),
            later.c.state.in_(sorted(RESTRAINING)),
            later.c.received_at >= took_effect,
            until(later.c.batch, upto),
        )
        .exists()
    )
    these = (
        given.c.purpose == purpose.key,
        given.c.state == "granted",
        given.c.act,
        given.c.method.in_(sorted(CONFIRMING)),
        given.c.source_kind != "import",  # what another system says of itself
        until(given.c.batch, upto),
    )
    sets = connection.execute(select(given.c.recipients).where(*these).distinct()).scalars()
    covering = [names for names in sets if names == _NOBODY or recipient in _set(names)]
    query = select(given.c.identity_no, took_effect, func.coalesce(given.c.expires_at, NEVER)).where(
        *these, given.c.recipients.in_(covering), ~restrained, *(~notice for notice in superseded)
    )
    rows = np.array(read_rows(connection, query), np.int64).reshape(-1, 3)
    numbers, effective, ends = rows.T
    if purpose.validity_days is not None:
        ends = np.minimum(ends, effective + purpose.validity_days * DAY)
    return np.stack([numbers, ends], axis=1)


def naming(connection: Connection, purposes: Collection[str]) -> BitMap:
    """Return the profiles of which a state of one of ``purposes`` names recipients."""
    query = select(_S.profile_no).where(_S.purpose.in_(purposes), _S.recipients != _NOBODY)
    return BitMap(connection.execute(query).scalars())


def resting_grants(
    connection: Connection, purpose: str, notices: Sequence[tuple[str, int]]
) -> NDArray[np.int64]:
    """Return a row for every state of a purpose that rests on grants, about the newest of them.

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
            _place_of_notice(notices),
        )
        .join(consent_records, r.record_id == _S.record_id)
        .where(_S.purpose == purpose, or_(_S.state == "granted", _S.state == "stale"))
    )
    return read_numbers(connection, query)


def informed(connection: Connection, purpose: str, notices: Sequence[tuple[str, int]]) -> BitMap:
    """Return the identities that were given one of ``notices`` of a purpose."""
    r = consent_records.c
    told = select(r.identity_no).where(r.state == INFORMED, r.purpose == purpose)
    return BitMap(connection.execute(told.where(_place_of_notice(notices) >= 0).distinct()).scalars())


def _place_of_notice(notices: Sequence[tuple[str, int]]) -> ColumnElement[int]:
    r = consent_records.c
    cases = [
        ((r.notice_id == name) & (r.notice_version == version), place)
        for place, (name, version) in enumerate(notices)
    ]
    return case(*cases, else_=-1) if cases else literal(-1)


def restrained(connection: Connection, purpose: str) -> BitMap:
    """Return the profiles with a restraint on ``purpose``."""
    query = select(_S.profile_no).where(_S.purpose == purpose, _S.state.in_(sorted(RESTRAINING)))
    return BitMap(connection.execute(query).scalars())


def stale(connection: Connection, now: Micros) -> list[tuple[str, str, int]]:
    """Return (purpose, reason, number of profiles) of the states that are stale at ``now``."""
    aged = (_S.state == "granted") & (_S.expires_at <= now)
    reason = case((aged, "stale_expired"), else_=_S.reason).label("why")
    found = select(_S.purpose, reason).where(or_(_S.state == "stale", aged)).subquery().c
    query = select(found.purpose, found.why, func.count()).group_by(found.purpose, found.why)
    return sorted((purpose, why, int(count)) for purpose, why, count in connection.execute(query))


def changed_since(connection: Connection, commit_no: int) -> BitMap:
    """Return the profiles of which a state was written after ``commit_no``."""
    query = select(_S.profile_no).where(since(_S.batch, commit_no))
    return BitMap(connection.execute(query).scalars())


def add_states(connection: Connection, batch: int, states: Iterable[tuple[int, Standing]]) -> None:
    """Insert states of (profile_no, purpose) that have none yet."""
    columns = ("batch", "profile_no", *Standing.__struct_fields__)
    stored = (
        (no, msgspec.structs.replace(one, recipients=_text(one.recipients), named=_text(one.named)))
        for no, one in states
    )
    rows = [(batch, no, *msgspec.structs.astuple(one)) for no, one in stored]
    insert_many(connection, consent_states, columns, rows)


def delete_states(connection: Connection, keys: Iterable[tuple[int, str]]) -> None:
    """Delete the states of (profile_no, purpose)."""
    by_purpose: dict[str, list[int]] = {}
    for profile_no, purpose in keys:
        by_purpose.setdefault(purpose, []).append(profile_no)
    for purpose, numbers in sorted(by_purpose.items()):
        for chunk in chunks(numbers):
            connection.execute(
                delete(consent_states).where(_S.purpose == purpose, among(_S.profile_no, chunk))
            )


def _standings(connection: Connection, query: Select[Any]) -> Iterator[tuple[int, Standing]]:
    """Yield (profile_no, state); made for a million rows, so nothing is converted twice."""
    for row in connection.execute(query):
        no, purpose, state, reason, since, granted, expires, kind, current, names, apart, record, told = row
        yield (
            int(no),
            Standing(
                purpose=purpose,
                state=cast("State", state),
                reason=reason,
                since=since,
                granted_at=granted,
                expires_at=expires,
                event_type=cast("EventType", kind),
                notice_current=bool(current),
                recipients=_tuple(names),
                named=() if apart == _NOBODY else _named(apart),
                record_id=record,
                notice_given=told,
            ),
        )


def _text(several: Sequence[str] | Sequence[Named]) -> str:
    return msgspec.json.encode(several).decode() if several else _NOBODY


@lru_cache(_SETS)
def _tuple(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...])


@lru_cache(_SETS)
def _set(text: str) -> frozenset[str]:
    return frozenset(_tuple(text))


def _named(text: str) -> tuple[Named, ...]:
    return msgspec.json.decode(text, type=tuple[Named, ...])


def speakers(connection: Connection, after: int, limit: int) -> list[int]:
    """Return up to ``limit`` identity numbers above ``after`` that have a record, ascending."""
    number = consent_records.c.identity_no
    query = select(number).where(number > after).distinct().order_by(number).limit(limit)
    return [int(row[0]) for row in connection.execute(query)]


def derived_under(connection: Connection) -> str:
    """Return the digest of the purposes that the states were derived under; empty when never marked."""
    return str(connection.execute(select(consent_derivation.c.purposes)).scalar() or "")


def mark_derived(connection: Connection, purposes: str) -> None:
    """Store the digest of the purposes that the states are derived under."""
    upsert(connection, consent_derivation, [{"id": 1, "purposes": purposes}], ("id",))


def unmark(connection: Connection, unless: str) -> None:
    """Note that states may be those of several policies, unless they are marked as derived under these."""
    mark = consent_derivation.c.purposes
    connection.execute(update(consent_derivation).where(mark.not_in(("", unless))).values(purposes=""))
