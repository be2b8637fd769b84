"""Reads and writes of requests."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, func, insert, select

from cdp.clock import Micros
from cdp.rights.model import RightsRequest
from cdp.rights.tables import rights_requests, rights_states

_R = rights_requests.c
_S = rights_states.c
_COLUMNS = ("request_id", "identity_no", "kind", "channel", "opened_at", "due_at", "state", "state_at")


def add_request(connection: Connection, batch: int, request: RightsRequest) -> None:
    """Store a request with its first state."""
    connection.execute(
        insert(rights_requests).values(
            request_id=request.request_id,
            batch=batch,
            identity_no=request.identity_no,
            kind=request.kind,
            channel=request.channel,
            opened_at=request.opened_at,
            due_at=request.due_at,
        )
    )
    add_state(connection, batch, 0, request)


def add_state(connection: Connection, batch: int, step: int, request: RightsRequest) -> None:
    """Append the state that ``request`` is in, as its step number ``step``."""
    connection.execute(
        insert(rights_states).values(
            request_id=request.request_id,
            step=step,
            batch=batch,
            state=request.state,
            at=request.state_at,
        )
    )


def find(connection: Connection, request_id: str) -> RightsRequest | None:
    """Return one request as it stands, None when there is none."""
    found = _requests(connection, _standing().where(_R.request_id == request_id))
    return found[0] if found else None


def of_identity(connection: Connection, identity_no: int) -> list[RightsRequest]:
    """Return the requests of one identity, newest first."""
    return _requests(connection, _newest_first(_standing().where(_R.identity_no == identity_no)))


def page(
    connection: Connection, limit: int, before: tuple[Micros, str] | None, state: str | None
) -> list[RightsRequest]:
    """Return requests, newest first.

    :param before: (opened_at, id) of the last one of the page before.
    :param state: only those that stand there now; None for all.
    """
    query = _standing()
    if state is not None:
        query = query.where(_S.state == state)
    if before is not None:
        at, request_id = before
        query = query.where((_R.opened_at < at) | ((_R.opened_at == at) & (_R.request_id < request_id)))
    return _requests(connection, _newest_first(query).limit(limit))


def _standing() -> Select[Any]:
    newest = select(_S.request_id, func.max(_S.step).label("step")).group_by(_S.request_id).subquery("newest")
    columns = [_R[name] for name in _COLUMNS if name in _R]
    return (
        select(*columns, _S.state, _S.at.label("state_at"))
        .join(rights_states, _S.request_id == _R.request_id)
        .join(newest, (newest.c.request_id == _S.request_id) & (newest.c.step == _S.step))
    )


def _newest_first(query: Select[Any]) -> Select[Any]:
    return query.order_by(_R.opened_at.desc(), _R.request_id.desc())


def _requests(connection: Connection, query: Select[Any]) -> list[RightsRequest]:
    return [RightsRequest(**dict(zip(_COLUMNS, row, strict=True))) for row in connection.execute(query)]
