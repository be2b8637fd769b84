"""Reads and writes of OpenDSR: requests taken in, callbacks, requests to recipients."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, select, update
from sqlalchemy.orm import aliased

from cdp.clock import DAY, Micros
from cdp.rights.opendsr.model import FINAL, SETTLED, Callback, Child, ChildState, Status, Taken
from cdp.rights.opendsr.tables import opendsr_callbacks, opendsr_children, opendsr_requests
from cdp.rights.tables import rights_requests
from cdp.store import insert_many, insert_new, lock_rows

_R = opendsr_requests.c
_B = opendsr_callbacks.c
_C = opendsr_children.c
_LONGEST = 2 * DAY
_OPEN_CHILD: tuple[ChildState, ...] = ("queued", "pending", "in_progress")

# -- requests taken in ------------------------------------------------------------------------------


def add_taken(connection: Connection, batch: int, taken: Taken) -> bool:
    """Store a request; False where the controller has one of this id already."""
    columns = ("batch", *Taken.__struct_fields__)
    rows = [(batch, *msgspec.structs.astuple(taken))]
    return bool(insert_new(connection, opendsr_requests, columns, rows, ("request_id",)))


def taken_as(connection: Connection, key_id: int, subject_request_id: str) -> Taken | None:
    """Return what a controller calls so; None when it has no such request."""
    return _taken(connection, and_(_R.key_id == key_id, _R.subject_request_id == subject_request_id))


def taken(connection: Connection, request_id: str, *, lock: bool = False) -> Taken | None:
    """Return what was taken in of a request, locked or not; None when no controller made it."""
    return _taken(connection, _R.request_id == request_id, lock=lock)


def report(connection: Connection, request_id: str, status: Status, step: int) -> None:
    """Record which status was told last."""
    changed = update(opendsr_requests).where(_R.request_id == request_id)
    connection.execute(changed.values(reported=status, step=step))


def told_all(connection: Connection, limit: int) -> list[str]:
    """Return requests that are over and have nobody to call any more, and still know their addresses."""
    waiting = select(_B.request_id).where(_B.request_id == _R.request_id, _B.state == "queued").exists()
    query = select(_R.request_id).where(_R.reported.in_(sorted(FINAL)), _R.callbacks.is_not(None), ~waiting)
    return list(connection.execute(query.limit(limit)).scalars())


def forget_urls(connection: Connection, request_ids: Collection[str]) -> None:
    """Delete the addresses of requests."""
    changed = update(opendsr_requests).where(_R.request_id.in_(sorted(request_ids)))
    connection.execute(changed.values(callbacks=None))


def _taken(connection: Connection, where: ColumnElement[bool], *, lock: bool = False) -> Taken | None:
    query = select(*(_R[name] for name in Taken.__struct_fields__)).where(where)
    row = connection.execute(lock_rows(query) if lock else query).first()
    return None if row is None else _as(Taken, row)


# -- callbacks --------------------------------------------------------------------------------------


def add_callbacks(connection: Connection, batch: int, callbacks: Sequence[Callback]) -> None:
    """Queue callbacks."""
    columns = ("batch", *Callback.__struct_fields__)
    rows = [(batch, *msgspec.structs.astuple(one)) for one in callbacks]
    insert_many(connection, opendsr_callbacks, columns, rows)


def supersede(connection: Connection, request_id: str) -> None:
    """Let callbacks go that were tried in vain, as there is newer to tell."""
    waiting = _B.request_id == request_id, _B.state == "queued", _B.attempts > 0
    connection.execute(update(opendsr_callbacks).where(*waiting).values(state="superseded"))


def due_callbacks(connection: Connection, now: Micros, limit: int) -> list[Callback]:
    """Return callbacks to make now; of one URL of a request the oldest that waits, and no other."""
    earlier = aliased(opendsr_callbacks)
    before = (
        select(earlier.c.step)
        .where(
            earlier.c.request_id == _B.request_id,
            earlier.c.url_no == _B.url_no,
            earlier.c.step < _B.step,
            earlier.c.state == "queued",
        )
        .exists()
    )
    query = _callbacks().where(_B.state == "queued", _is_due(_B.next_attempt_at, now), ~before)
    return [_as(Callback, row) for row in connection.execute(query.order_by(_B.next_attempt_at).limit(limit))]


def claim_callback(connection: Connection, callback: Callback, now: Micros, until: Micros) -> bool:
    """Count an attempt; False when somebody else makes it."""
    statement = update(opendsr_callbacks).where(*_is(callback), _is_due(_B.next_attempt_at, now))
    claimed = statement.values(attempts=_B.attempts + 1, next_attempt_at=until)
    return bool(connection.execute(claimed).rowcount)


def settle_callback(connection: Connection, callback: Callback, error: str, again: Micros | None) -> None:
    """Record what came of an attempt: taken, or to be made again; without a next time it has failed.

    One that was tried in vain and is not the newest any more is let go.
    """
    newer = select(_B.step).where(
        _B.request_id == callback.request_id, _B.url_no == callback.url_no, _B.step > callback.step
    )
    values: dict[str, Any] = {"last_error": error}
    if not error:
        values["state"] = "sent"
    elif connection.execute(newer.limit(1)).first() is not None:
        values["state"] = "superseded"
    else:
        values |= {"state": "failed"} if again is None else {"next_attempt_at": again}
    connection.execute(update(opendsr_callbacks).where(*_is(callback)).values(values))


def callbacks_of(connection: Connection, request_id: str) -> list[Callback]:
    """Return every callback of a request, by change and URL."""
    query = _callbacks().where(_B.request_id == request_id).order_by(_B.step, _B.url_no)
    return [_as(Callback, row) for row in connection.execute(query)]


def count_callbacks(connection: Connection) -> dict[str, int]:
    """Return how many callbacks there are, by state."""
    query = select(_B.state, func.count()).group_by(_B.state)
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def _callbacks() -> Any:
    return select(*(_B[name] for name in Callback.__struct_fields__))


def _is(callback: Callback) -> tuple[ColumnElement[bool], ...]:
    return (
        _B.request_id == callback.request_id,
        _B.step == callback.step,
        _B.url_no == callback.url_no,
        _B.state == "queued",
    )


# -- requests to recipients -------------------------------------------------------------------------


def add_children(connection: Connection, batch: int, children: Sequence[Child]) -> None:
    """Store requests to recipients."""
    columns = ("batch", *Child.__struct_fields__)
    rows = [(batch, *msgspec.structs.astuple(one)) for one in children]
    insert_many(connection, opendsr_children, columns, rows)


def child(connection: Connection, child_id: str, *, lock: bool = False) -> Child | None:
    """Return one, locked or not; None when there is none."""
    query = _children().where(_C.child_id == child_id)
    row = connection.execute(lock_rows(query) if lock else query).first()
    return None if row is None else _as(Child, row)


def children_of(connection: Connection, request_id: str) -> list[Child]:
    """Return every one of a request, oldest first."""
    query = _children().where(_C.request_id == request_id)
    return [_as(Child, row) for row in connection.execute(query.order_by(_C.created_at, _C.child_id))]


def release_children(connection: Connection, request_id: str, now: Micros) -> None:
    """Let those of a request be sent."""
    held = _C.request_id == request_id, _C.state == "queued", _C.next_attempt_at.is_(None)
    connection.execute(update(opendsr_children).where(*held).values(next_attempt_at=now))


def drop_children(connection: Connection, request_id: str, now: Micros) -> None:
    """Let those of a request that were never sent be over: nothing is erased."""
    held = _C.request_id == request_id, _C.state == "queued", _C.next_attempt_at.is_(None)
    connection.execute(update(opendsr_children).where(*held).values(state="cancelled", state_at=now))


def due_children(connection: Connection, now: Micros, limit: int) -> list[Child]:
    """Return those to be sent or asked about now."""
    query = _children().where(_C.state.in_(_OPEN_CHILD), _is_due(_C.next_attempt_at, now))
    return [_as(Child, row) for row in connection.execute(query.order_by(_C.next_attempt_at).limit(limit))]


def claim_child(connection: Connection, child: Child, now: Micros, until: Micros) -> bool:
    """Count an attempt; False when somebody else makes it, or it moved on."""
    same = _C.child_id == child.child_id, _C.state == child.state, _is_due(_C.next_attempt_at, now)
    claimed = update(opendsr_children).where(*same).values(attempts=_C.attempts + 1, next_attempt_at=until)
    return bool(connection.execute(claimed).rowcount)


def save_child(connection: Connection, child: Child) -> None:
    """Store one that this transaction has locked."""
    values = {name: getattr(child, name) for name in Child.__struct_fields__ if name != "child_id"}
    connection.execute(update(opendsr_children).where(_C.child_id == child.child_id).values(**values))


def said_all(connection: Connection, limit: int) -> list[str]:
    """Return those that need their bodies no more and still have one."""
    over = (_C.state != "queued") & _C.payload.is_not(None)
    return list(connection.execute(select(_C.child_id).where(over).limit(limit)).scalars())


def forget_bodies(connection: Connection, child_ids: Collection[str]) -> None:
    """Delete the bodies of requests to recipients."""
    changed = update(opendsr_children).where(_C.child_id.in_(sorted(child_ids)))
    connection.execute(changed.values(payload=None))


def count_children(connection: Connection, now: Micros) -> dict[tuple[str, str, bool], int]:
    """Return how many there are by (destination, state, late)."""
    late = (_C.due_at <= now) & _C.state.not_in(sorted(SETTLED))
    query = select(_C.destination, _C.state, late, func.count()).group_by(_C.destination, _C.state, late)
    return {(row[0], row[1], bool(row[2])): int(row[3]) for row in connection.execute(query)}


def late_parents(connection: Connection, now: Micros, limit: int) -> list[str]:
    """Return requests of controllers that are fulfilled here and wait for nobody any more."""
    waits = (
        select(_C.child_id)
        .where(_C.request_id == _R.request_id, _C.state.in_(_OPEN_CHILD), _C.due_at > now)
        .exists()
    )
    query = (
        select(_R.request_id)
        .join(rights_requests, rights_requests.c.request_id == _R.request_id)
        .where(_R.reported.not_in(sorted(FINAL)), rights_requests.c.state == "fulfilled", ~waits)
    )
    return list(connection.execute(query.limit(limit)).scalars())


def begun(connection: Connection, limit: int) -> list[str]:
    """Return requests of controllers that are worked on and still told as pending."""
    query = (
        select(_R.request_id)
        .join(rights_requests, rights_requests.c.request_id == _R.request_id)
        .where(_R.reported == "pending", rights_requests.c.begun)
    )
    return list(connection.execute(query.limit(limit)).scalars())


def forget(connection: Connection, request_ids: Sequence[str]) -> None:
    """Delete what is kept of some requests: as they were taken in, callbacks, what recipients were asked."""
    for table in (opendsr_callbacks, opendsr_children, opendsr_requests):
        connection.execute(delete(table).where(table.c.request_id.in_(request_ids)))


def _children() -> Any:
    return select(*(_C[name] for name in Child.__struct_fields__))


def _as(kind: Any, row: Row[Any]) -> Any:
    return kind(**dict(zip(kind.__struct_fields__, row, strict=True)))


def _is_due(at: ColumnElement[Any], now: Micros) -> ColumnElement[bool]:
    """Due, or put off for longer than anything is: when that was, a clock was ahead."""
    return (at <= now) | (at > now + _LONGEST)
