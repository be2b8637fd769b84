"""Reads for what goes outside, and the witness's rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, func, select, update

from cdp.audit.outside.tables import audit_cosignatures, audit_witnesses
from cdp.audit.tables import audit_entries, checkpoints
from cdp.clock import SECOND, Micros
from cdp.store import insert_ignoring, upsert

LONGEST_PAUSE = 900 * SECOND
"""Between two attempts with a witness that does not countersign."""
_STREAMED = {"yield_per": 1000}


class WitnessState(msgspec.Struct, frozen=True, kw_only=True):
    """How it is with a witness.

    :param size: of the newest checkpoint that it holds, as far as we know.
    :param trouble: a short code; empty while it countersigns.
    :param since: when that became so.
    :param failures: in a row.
    """

    witness: str
    size: int = 0
    trouble: str = ""
    since: Micros = 0
    failures: int = 0
    next_at: Micros = 0


class Shipped(NamedTuple):
    """An entry with what lies beside it for good: hashes, packed."""

    entry: bytes
    references: bytes
    details: bytes


def entries_between(connection: Connection, first: int, end: int) -> list[Shipped]:
    """Return the entries [first, end) that there are."""
    e = audit_entries.c
    query = (
        select(e.entry, e.subject_refs, e.detail_hashes)
        .where(e.leaf_index >= first, e.leaf_index < end)
        .order_by(e.leaf_index)
    )
    return [
        Shipped(bytes(row.entry), bytes(row.subject_refs or b""), bytes(row.detail_hashes or b""))
        for row in connection.execute(query)
    ]


def bytes_between(connection: Connection, first: int, end: int) -> int:
    """Return about how many bytes those entries are, with what lies beside them."""
    e = audit_entries.c
    beside = [func.coalesce(func.length(column), 0) for column in (e.subject_refs, e.detail_hashes)]
    length = func.length(e.entry) + beside[0] + beside[1]
    query = select(func.coalesce(func.sum(length), 0)).where(e.leaf_index >= first, e.leaf_index < end)
    return int(connection.execute(query).scalar_one())


def period(connection: Connection, since: Micros | None, until: Micros | None, size: int) -> tuple[int, int]:
    """Return [first, end): all entries below ``size`` of a period lie in it; equal where there is none."""
    e = audit_entries.c
    first, end = 0, size
    if since is not None:
        query = select(func.min(e.leaf_index)).where(e.at >= since, e.leaf_index < size)
        found = connection.execute(query).scalar()
        first = size if found is None else int(found)
    if until is not None:
        query = select(func.max(e.leaf_index)).where(e.at < until, e.leaf_index < size)
        found = connection.execute(query).scalar()
        end = 0 if found is None else int(found) + 1
    return (first, end) if first < end else (min(first, max(end, 0)), min(first, max(end, 0)))


def notes(connection: Connection, first: int, end: int) -> Iterator[tuple[int, str]]:
    """Yield (size, note with its cosignatures) of the checkpoints of sizes first ≤ size ≤ end."""
    c = checkpoints.c
    query = select(c.size, c.note).where(c.size >= first, c.size <= end).order_by(c.size)
    beside = cosignatures(connection, first, end)
    with connection.execute(query, execution_options=_STREAMED) as rows:
        for row in rows:
            yield int(row.size), row.note + "".join(f"{line}\n" for line in beside.get(int(row.size), ()))


def cosignatures(connection: Connection, first: int, end: int) -> dict[int, list[str]]:
    """Return size → signature lines of witnesses, for sizes first ≤ size ≤ end."""
    c = audit_cosignatures.c
    query = select(c.size, c.line).where(c.size >= first, c.size <= end).order_by(c.size, c.witness)
    found: dict[int, list[str]] = {}
    for row in connection.execute(query):
        found.setdefault(int(row.size), []).append(row.line)
    return found


def add_cosignature(connection: Connection, size: int, witness: str, line: str, at: Micros) -> None:
    """Store a verified signature line."""
    names = ("size", "witness", "line", "received_at")
    insert_ignoring(connection, audit_cosignatures, names, [(size, witness, line, at)])


def witness_state(connection: Connection, witness: str) -> WitnessState:
    """Return how it is with a witness; one never asked has no trouble yet."""
    row = connection.execute(select(audit_witnesses).where(audit_witnesses.c.witness == witness)).first()
    return WitnessState(witness=witness) if row is None else WitnessState(**row._asdict())


def put_witness_state(connection: Connection, state: WitnessState) -> None:
    """Store how it is with a witness."""
    upsert(connection, audit_witnesses, [msgspec.to_builtins(state)], ("witness",))


def claim_witness(connection: Connection, witness: str, now: Micros, until: Micros) -> bool:
    """Claim the next attempt; False when it is not due, or another process has it."""
    names = ("witness", "size", "trouble", "since", "failures", "next_at")
    insert_ignoring(connection, audit_witnesses, names, [(witness, 0, "", now, 0, 0)])
    w = audit_witnesses.c
    due = (w.next_at <= now) | (w.next_at > now + LONGEST_PAUSE)  # a later one: a clock was ahead
    claimed = connection.execute(
        update(audit_witnesses).where(w.witness == witness, due).values(next_at=until)
    )
    return claimed.rowcount == 1
