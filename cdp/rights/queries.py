"""Reads and writes of requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, delete, insert, select, update

from cdp.clock import Micros
from cdp.export.tables import outbox as messages
from cdp.identity.tables import profile_members
from cdp.rights.model import OPEN, RequestState, RightsRequest, Step, Wanted
from cdp.rights.restrain import AT_ONCE
from cdp.rights.tables import rights_corrections, rights_proofs, rights_requests, rights_states, rights_told
from cdp.store import among, chunks, insert_ignoring, lock_rows

_R = rights_requests.c
_S = rights_states.c
_COLUMNS = RightsRequest.__struct_fields__
_JSON = ("identity_nos", "result")
_STANDING = ("due_at", "state", "state_at", "step", "reason", "result", "extended", "waiting")
CHECKED: tuple[RequestState, ...] = ("received", "identity_check")
"""While a request stands there, it is not known who asks."""


def add_request(
    connection: Connection, batch: int, request: RightsRequest, asked: bytes | None = None
) -> None:
    """Store a request with its first step.

    :param asked: keyed digest of what an unverified asker named.
    """
    connection.execute(insert(rights_requests).values(batch=batch, asked=asked, **_row(request)))
    _add_step(connection, batch, request, request.state_at)


def move(connection: Connection, batch: int, request: RightsRequest, at: Micros) -> bool:
    """Append the step that ``request`` now is; False when somebody was faster. Whoever held it lets go.

    :param at: when the step is taken.
    """
    row = _row(request)
    standing = {name: row[name] for name in _STANDING}
    if request.state not in CHECKED:
        standing["asked"] = None
    known = _R.request_id == request.request_id, _R.step == request.step - 1
    moved = connection.execute(update(rights_requests).where(*known).values(**standing, held_until=0))
    if moved.rowcount:
        _add_step(connection, batch, request, at)
    return bool(moved.rowcount)


def _add_step(connection: Connection, batch: int, request: RightsRequest, at: Micros) -> None:
    connection.execute(
        insert(rights_states).values(
            request_id=request.request_id,
            step=request.step,
            batch=batch,
            state=request.state,
            at=at,
            due_at=request.due_at,
            reason=request.reason,
        )
    )


def find(connection: Connection, request_id: str, *, lock: bool = False) -> RightsRequest | None:
    """Return one request as it stands, None when there is none.

    :param lock: let nobody move it on until the transaction ends.
    """
    query = _standing().where(_R.request_id == request_id)
    found = _requests(connection, lock_rows(query) if lock else query)
    return found[0] if found else None


def asked_before(connection: Connection, asked: bytes) -> RightsRequest | None:
    """Return the newest request of an unverified asker who named the same and still waits."""
    query = _standing().where(_R.asked == asked, _R.state == "identity_check")
    found = _requests(connection, _newest_first(query).limit(1))
    return found[0] if found else None


def steps(connection: Connection, request_id: str) -> list[Step]:
    """Return the steps of a request, in order."""
    query = select(_S.state, _S.at, _S.due_at, _S.reason).where(_S.request_id == request_id)
    rows = connection.execute(query.order_by(_S.step))
    return [Step(state=row.state, at=row.at, due_at=row.due_at, reason=row.reason) for row in rows]


def of_identity(connection: Connection, identity_no: int) -> list[RightsRequest]:
    """Return the requests of one identity, newest first."""
    return _requests(connection, _newest_first(_standing().where(_R.identity_no == identity_no)))


def by_external_id(connection: Connection, external_id: str) -> list[RightsRequest]:
    """Return the requests that whoever passed them on calls ``external_id``, newest first."""
    return _requests(connection, _newest_first(_standing().where(_R.external_id == external_id)))


def page(
    connection: Connection, limit: int, before: tuple[Micros, str] | None, wanted: Wanted, now: Micros
) -> list[RightsRequest]:
    """Return requests, newest first.

    :param before: (opened_at, id) of the last one of the page before.
    """
    query = _standing()
    if wanted.state is not None:
        query = query.where(_R.state == wanted.state)
    if wanted.kind is not None:
        query = query.where(_R.kind == wanted.kind)
    if wanted.due is not None:
        # as ``deadline.due_state`` says: half of the time has passed
        half = (_R.due_at - now) * 2 <= _R.due_at - _R.submitted_at
        late = _R.due_at < now
        conditions = {"late": late, "soon": half & ~late, "ok": ~half & ~late}
        query = query.where(_R.state.in_(sorted(OPEN)), conditions[wanted.due])
    if before is not None:
        at, request_id = before
        query = query.where((_R.opened_at < at) | ((_R.opened_at == at) & (_R.request_id < request_id)))
    return _requests(connection, _newest_first(query).limit(limit))


# -- work ---------------------------------------------------------------------------------------------


def free(
    connection: Connection, kinds: Sequence[str], now: Micros, lease: Micros, limit: int
) -> list[RightsRequest]:
    """Return requests whose work nobody holds, the most urgent first."""
    query = _standing().where(
        _R.state == "in_progress", _R.kind.in_(kinds), ~_R.waiting, _is_free(now, lease)
    )
    return _requests(connection, query.order_by(_R.due_at, _R.request_id).limit(limit))


def take(connection: Connection, request: RightsRequest, now: Micros, lease: Micros) -> bool:
    """Hold a request's work for ``lease`` microseconds; False when another does, or it moved on."""
    known = _R.request_id == request.request_id, _R.step == request.step, _is_free(now, lease)
    taken = update(rights_requests).where(*known).values(held_until=now + lease, begun=True)
    return bool(connection.execute(taken).rowcount)


def let_go(connection: Connection, request: RightsRequest, until: Micros) -> None:
    """Leave a request's work alone until an instant."""
    known = _R.request_id == request.request_id, _R.step == request.step
    connection.execute(update(rights_requests).where(*known).values(held_until=until))


def _is_free(now: Micros, lease: Micros) -> ColumnElement[bool]:
    """One that ends later than any lease given now is from before a clock was set back."""
    return (_R.held_until <= now) | (_R.held_until > now + lease)


def let_work(connection: Connection, request_id: str) -> None:
    """Let a fulfiller work on a request that waited for somebody's hand."""
    connection.execute(update(rights_requests).where(_R.request_id == request_id).values(waiting=False))


def unchecked(connection: Connection, before: Micros, limit: int) -> list[str]:
    """Return requests whose identity check began before an instant and was not finished."""
    query = select(_R.request_id).where(_R.state == "identity_check", _R.state_at < before).limit(limit)
    return list(connection.execute(query).scalars())


def ended_before(connection: Connection, before: Micros) -> list[tuple[str, tuple[int, ...]]]:
    """Return (request, its identities) of those that ended before an instant and restrain nobody known."""
    known = select(profile_members.c.identity_no).where(profile_members.c.identity_no == _R.identity_no)
    restrains = _R.kind.in_(sorted(AT_ONCE)) & known.exists()
    query = (
        select(_R.request_id, _R.identity_no, _R.identity_nos)
        .where(_R.opened_at < before, _R.state_at < before, _R.state.not_in(sorted(OPEN)), ~restrains)
        .order_by(_R.opened_at, _R.request_id)
    )
    return [
        (request_id, (identity_no, *msgspec.json.decode(numbers)))
        for request_id, identity_no, numbers in connection.execute(query)
    ]


def forget(connection: Connection, request_ids: Sequence[str]) -> None:
    """Delete the records of some requests; a correction stays for as long as it holds."""
    for table in (rights_told, rights_proofs, rights_states, rights_requests):
        connection.execute(delete(table).where(table.c.request_id.in_(request_ids)))


def _standing() -> Select[Any]:
    return select(*(_R[name] for name in _COLUMNS))


def _newest_first(query: Select[Any]) -> Select[Any]:
    return query.order_by(_R.opened_at.desc(), _R.request_id.desc())


def _row(request: RightsRequest) -> dict[str, Any]:
    row = msgspec.structs.asdict(request)
    return row | {name: msgspec.json.encode(row[name]).decode() for name in _JSON}


def _requests(connection: Connection, query: Select[Any]) -> list[RightsRequest]:
    found = []
    for row in connection.execute(query):
        values = dict(zip(_COLUMNS, row, strict=True))
        values |= {name: msgspec.json.decode(values[name]) for name in _JSON}
        found.append(RightsRequest(**values | {"identity_nos": tuple(values["identity_nos"])}))
    return found


# -- proofs -------------------------------------------------------------------------------------------


def proof_numbers(connection: Connection, request_id: str) -> list[int]:
    """Return the numbers of the proofs of a request."""
    query = select(rights_proofs.c.proof_no).where(rights_proofs.c.request_id == request_id)
    return list(connection.execute(query).scalars())


def add_proof(
    connection: Connection, batch: int, request_id: str, proof_no: int, method: str, at: Micros, sealed: bytes
) -> None:
    """Store a proof."""
    connection.execute(
        insert(rights_proofs).values(
            request_id=request_id, proof_no=proof_no, batch=batch, method=method, at=at, sealed=sealed
        )
    )


def proofs(connection: Connection, request_id: str) -> list[tuple[int, str, Micros, bytes]]:
    """Return (number, method, when, envelope) of the proofs of a request."""
    p = rights_proofs.c
    query = select(p.proof_no, p.method, p.at, p.sealed).where(p.request_id == request_id)
    return [tuple(row) for row in connection.execute(query.order_by(p.proof_no))]


def delete_proofs(connection: Connection, request_ids: Sequence[str]) -> None:
    """Delete the proofs of some requests."""
    connection.execute(delete(rights_proofs).where(rights_proofs.c.request_id.in_(request_ids)))


def overdue_proofs(connection: Connection, limit: int) -> list[str]:
    """Return requests that have proofs although their identity check has ended."""
    query = (
        select(rights_proofs.c.request_id)
        .join(rights_requests, _R.request_id == rights_proofs.c.request_id)
        .where(_R.state.not_in(CHECKED))
        .distinct()
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


# -- recipients ---------------------------------------------------------------------------------------


def add_told(connection: Connection, batch: int, rows: Sequence[tuple[str, str]]) -> None:
    """Record (request, message) of those by which recipients are told of a request."""
    insert_ignoring(
        connection,
        rights_told,
        ("request_id", "message_id", "batch"),
        [(request_id, message_id, batch) for request_id, message_id in sorted(rows)],
    )


def told(connection: Connection, request_id: str) -> list[tuple[str, str, str, bool]]:
    """Return (destination, purpose, kind, acknowledged) of each message that told of a request."""
    m = messages.c
    query = (
        select(m.destination, m.purpose, m.kind, m.state == "acknowledged")
        .join(rights_told, rights_told.c.message_id == m.message_id)
        .where(rights_told.c.request_id == request_id)
        .order_by(m.destination, m.purpose, m.message_id)
    )
    return [(row[0], row[1], row[2], bool(row[3])) for row in connection.execute(query)]


def in_progress_of(connection: Connection, identity_nos: Iterable[int]) -> list[tuple[str, int]]:
    """Return (request, identity) of what is in progress of some identities."""
    found: list[tuple[str, int]] = []
    for chunk in chunks(identity_nos):
        query = select(_R.request_id, _R.identity_no).where(
            among(_R.identity_no, chunk), _R.state == "in_progress"
        )
        found += [(row.request_id, row.identity_no) for row in connection.execute(query)]
    return found


# -- corrections --------------------------------------------------------------------------------------


def add_corrections(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Record which observations correct what, by whom and for which request."""
    connection.execute(insert(rights_corrections), list(rows))


def corrected(connection: Connection, request_id: str) -> list[str]:
    """Return the traits that were corrected for a request."""
    c = rights_corrections.c
    query = select(c.trait).where(c.request_id == request_id).distinct().order_by(c.trait)
    return list(connection.execute(query).scalars())
