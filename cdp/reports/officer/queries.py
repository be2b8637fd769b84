"""Reads of what waits for an officer."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, case, func, select

from cdp.clock import Micros
from cdp.export.tables import outbox
from cdp.reports.officer.model import Place
from cdp.rights import OPEN
from cdp.rights.tables import rights_requests

_R = rights_requests.c
_O = outbox.c
_UNDONE = ("queued", "sent", "failed")


class OpenRequest(msgspec.Struct, frozen=True):
    """A request that has not ended, without whose it is. ``rank``: 0 late, 1 soon, 2 in time."""

    request_id: str
    kind: str
    state: str
    opened_at: Micros
    due_at: Micros
    rank: int


class LateRecalls(msgspec.Struct, frozen=True):
    """Messages that a destination has not acknowledged in time."""

    destination: str
    messages: int
    people: int
    oldest: Micros
    deadline: Micros


def _rank(now: Micros) -> ColumnElement[int]:
    """Return how urgent a request is: ``soon`` from half of its time on, as ``cdp/rights`` has it."""
    return case((_R.due_at < now, 0), ((_R.due_at - now) * 2 <= _R.due_at - _R.submitted_at, 1), else_=2)


def open_requests(
    connection: Connection, kind: str, now: Micros, after: Place | None, limit: int
) -> list[OpenRequest]:
    """Return requests that have not ended, the most urgent first.

    :param kind: what the queue calls a request; it stands before its id in a place.
    :param after: only those behind this place of the queue.
    """
    rank = _rank(now)
    query = select(_R.request_id, _R.kind, _R.state, _R.opened_at, _R.due_at, rank)
    query = query.where(_R.state.in_(sorted(OPEN)))
    if after is not None:
        later: Any = _R.due_at > after.due
        if (kind, "") >= (after.kind, ""):
            behind = _R.request_id > after.name if kind == after.kind else _R.request_id != ""
            later |= (_R.due_at == after.due) & behind
        query = query.where((rank > after.rank) | ((rank == after.rank) & later))
    rows = connection.execute(query.order_by(rank, _R.due_at, _R.request_id).limit(limit))
    return [OpenRequest(*row) for row in rows]


def count_requests(connection: Connection, now: Micros) -> dict[int, int]:
    """Return rank → how many requests have not ended."""
    rank = _rank(now)
    query = select(rank, func.count()).where(_R.state.in_(sorted(OPEN))).group_by(rank)
    return {int(at): int(count) for at, count in connection.execute(query)}


def late_recalls(connection: Connection, now: Micros) -> list[LateRecalls]:
    """Return what destinations have not acknowledged in time, by destination."""
    query = (
        select(
            _O.destination, func.count(), func.sum(_O.people), func.min(_O.created_at), func.min(_O.deadline)
        )
        .where(_O.state.in_(_UNDONE), _O.deadline < now)
        .group_by(_O.destination)
        .order_by(_O.destination)
    )
    return [
        LateRecalls(name, int(messages), int(people), int(oldest), int(deadline))
        for name, messages, people, oldest, deadline in connection.execute(query)
    ]
