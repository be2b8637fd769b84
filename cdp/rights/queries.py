"""Reads and writes of requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, insert, select, update

from cdp.clock import Micros
from cdp.rights.model import RightsRequest
from cdp.rights.tables import rights_requests, rights_states

_R = rights_requests.c
_COLUMNS = RightsRequest.__struct_fields__
_JSON = ("identity_nos", "result")


def add_request(connection: Connection, batch: int, request: RightsRequest) -> None:
    """Store a request with its first step."""
    connection.execute(insert(rights_requests).values(batch=batch, **_row(request)))
    _add_step(connection, batch, request)


def move(connection: Connection, batch: int, request: RightsRequest) -> bool:
    """Append the step that ``request`` now is; False when somebody was faster. Whoever held it lets go."""
    row = _row(request)
    standing = {name: row[name] for name in ("due_at", "state", "state_at", "step", "reason", "result")}
    known = _R.request_id == request.request_id, _R.step == request.step - 1
    moved = connection.execute(update(rights_requests).where(*known).values(**standing, held_until=0))
    if moved.rowcount:
        _add_step(connection, batch, request)
    return bool(moved.rowcount)


def _add_step(connection: Connection, batch: int, request: RightsRequest) -> None:
    connection.execute(
        insert(rights_states).values(
            request_id=request.request_id,
            step=request.step,
            batch=batch,
            state=request.state,
            at=request.state_at,
            due_at=request.due_at,
            reason=request.reason,
        )
    )


def find(connection: Connection, request_id: str) -> RightsRequest | None:
    """Return one request as it stands, None when there is none."""
    found = _requests(connection, _standing().where(_R.request_id == request_id))
    return found[0] if found else None


def of_identity(connection: Connection, identity_no: int) -> list[RightsRequest]:
    """Return the requests of one identity, newest first."""
    return _requests(connection, _newest_first(_standing().where(_R.identity_no == identity_no)))


def by_external_id(connection: Connection, external_id: str) -> list[RightsRequest]:
    """Return the requests that whoever passed them on calls ``external_id``, newest first."""
    return _requests(connection, _newest_first(_standing().where(_R.external_id == external_id)))


def page(
    connection: Connection, limit: int, before: tuple[Micros, str] | None, state: str | None
) -> list[RightsRequest]:
    """Return requests, newest first.

    :param before: (opened_at, id) of the last one of the page before.
    :param state: only those that stand there now; None for all.
    """
    query = _standing()
    if state is not None:
        query = query.where(_R.state == state)
    if before is not None:
        at, request_id = before
        query = query.where((_R.opened_at < at) | ((_R.opened_at == at) & (_R.request_id < request_id)))
    return _requests(connection, _newest_first(query).limit(limit))


# -- work ---------------------------------------------------------------------------------------------


def free(
    connection: Connection, kinds: Sequence[str], now: Micros, lease: Micros, limit: int
) -> list[RightsRequest]:
    """Return requests whose work nobody holds, the most urgent first."""
    query = _standing().where(_R.state == "in_progress", _R.kind.in_(kinds), _is_free(now, lease))
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
