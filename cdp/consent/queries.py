"""Reads and writes of the consent ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, case, func, select

from cdp.clock import DAY, Micros
from cdp.consent.grade import version_status
from cdp.consent.model import CONFIRMING, RESTRAINING, Record
from cdp.consent.standings import NEVER
from cdp.consent.tables import consent_proofs, consent_records
from cdp.policy import Purpose, lineage
from cdp.store import among, batches, chunks, forget_rows, insert_many, read_among, read_rows, until

NOBODY = "[]"
"""Recipients, where none are named."""
_SETS = 10_000  # different sets of recipients; people share a few
_WHOLE = Record.__struct_fields__
_RECIPIENTS = _WHOLE.index("recipients")
_DECISIVE = tuple(
    name for name in _WHOLE if name not in {"legal_basis", "notice_sha256", "language", "method", "sealed"}
)
_R = consent_records.c
_RECORDS, _DECISIVE_RECORDS = (
    select(*(_R[name] for name in names)).where(among(_R.identity_no)) for names in (_WHOLE, _DECISIVE)
)
_NEWEST = (
    select(_R.identity_no, func.max(_R.received_at)).where(among(_R.identity_no)).group_by(_R.identity_no)
)


def add_records(connection: Connection, batch: int, records: Sequence[Record]) -> None:
    """Append to the ledger."""
    columns = ("batch", *_WHOLE)
    before, after = slice(None, _RECIPIENTS), slice(_RECIPIENTS + 1, None)
    told = (msgspec.structs.astuple(one) for one in records)
    rows = [(batch, *one[before], recipients_text(one[_RECIPIENTS]), *one[after]) for one in told]
    insert_many(connection, consent_records, columns, rows)


def told_until(connection: Connection, identity_nos: Iterable[int]) -> dict[int, Micros]:
    """Return identity_no → when its newest record was received, for those that have any."""
    return dict(read_among(connection, _NEWEST, identity_nos))


def told(connection: Connection, identity_nos: Iterable[int]) -> dict[int, list[Record]]:
    """Return identity_no → what precedence looks at of its records, the oldest first."""
    found: dict[int, list[Record]] = defaultdict(list)
    for record in records_of(connection, identity_nos, decisive=True):
        found[record.identity_no].append(record)
    return found


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
    names, query = (_DECISIVE, _DECISIVE_RECORDS) if decisive else (_WHOLE, _RECORDS)
    if upto is not None:
        query = query.where(until(_R.batch, upto))
    found = [_record(names, row) for row in read_among(connection, query, identity_nos)]
    return sorted(found, key=lambda record: (record.received_at, record.record_id))


def _record(names: Sequence[str], row: Sequence[Any]) -> Record:
    given: dict[str, Any] = dict(zip(names, row, strict=True))
    given["act"], given["verified"] = bool(given["act"]), bool(given["verified"])
    given["recipients"] = recipients_tuple(given["recipients"])
    return Record(**given)


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
    return _record(_WHOLE, values), int(commit_no), int(at)


def forget(connection: Connection, identity_nos: Iterable[int]) -> int:
    """Delete every record of identities; returns how many."""
    return forget_rows(connection, consent_records.c.identity_no, identity_nos)


def add_proofs(connection: Connection, rows: Sequence[tuple[int, int, bytes]]) -> None:
    """Store (record id, identity_no, sealed record) of people who are erased."""
    insert_many(connection, consent_proofs, ("record_id", "identity_no", "sealed"), rows)


def proofs(connection: Connection, identity_nos: Iterable[int]) -> list[tuple[int, int, bytes]]:
    """Return (record id, identity_no, sealed record) of people who were erased."""
    p = consent_proofs.c
    found: list[tuple[int, int, bytes]] = []
    for chunk in chunks(identity_nos):
        query = select(p.record_id, p.identity_no, p.sealed).where(among(p.identity_no, chunk))
        found += [(row[0], row[1], bytes(row[2])) for row in read_rows(connection, query)]
    return sorted(found)


def drop_proofs(connection: Connection, identity_nos: Iterable[int]) -> int:
    """Delete what is kept of people who were erased; returns how many records."""
    return forget_rows(connection, consent_proofs.c.identity_no, identity_nos)


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
    covering = [names for names in sets if names == NOBODY or recipient in recipients_set(names)]
    query = select(given.c.identity_no, took_effect, func.coalesce(given.c.expires_at, NEVER)).where(
        *these, given.c.recipients.in_(covering), ~restrained, *(~notice for notice in superseded)
    )
    rows = np.array(read_rows(connection, query), np.int64).reshape(-1, 3)
    numbers, effective, ends = rows.T
    if purpose.validity_days is not None:
        ends = np.minimum(ends, effective + purpose.validity_days * DAY)
    return np.stack([numbers, ends], axis=1)


def speakers(
    connection: Connection, after: int, limit: int, purposes: Collection[str] | None = None
) -> list[int]:
    """Return up to ``limit`` identity numbers above ``after`` that have a record, ascending.

    :param purposes: a record about one of these; about any when None.
    """
    number = consent_records.c.identity_no
    these = [] if purposes is None else [consent_records.c.purpose.in_(purposes)]
    query = select(number).where(number > after, *these).distinct().order_by(number).limit(limit)
    return [row[0] for row in read_rows(connection, query)]


def recipients_text(names: Sequence[str]) -> str:
    """Return recipients as they are stored."""
    return msgspec.json.encode(names).decode() if names else NOBODY


@lru_cache(_SETS)
def recipients_tuple(text: str) -> tuple[str, ...]:
    """Return recipients that are stored so."""
    return msgspec.json.decode(text, type=tuple[str, ...])


@lru_cache(_SETS)
def recipients_set(text: str) -> frozenset[str]:
    """Return recipients that are stored so."""
    return frozenset(recipients_tuple(text))
