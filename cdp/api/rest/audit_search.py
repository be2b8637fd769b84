"""The audit log asked: search, export of a search, uses by day, sealed detail. Asking is recorded, too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

from litestar import Request, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, QueryParameter, SkipValidation
from litestar.response import Stream

from cdp.api.asking import (
    CONDITIONS,
    Asked,
    CountedItems,
    about,
    asked,
    day_of_uses,
    days_of_uses,
    entry_page,
    searched,
    shown_page,
)
from cdp.api.auth import allow
from cdp.api.entry_files import PIECE, encoded
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT
from cdp.api.services import Services
from cdp.audit import AuditEntry, AuditFilter
from cdp.errors import InvalidInputError, NotFoundError

_OFFICER = allow("officer")
_MOST_DIGITS = 19  # of a number that a database holds
_OTHERS = ("limit", "cursor", "format", "by")
Text: TypeAlias = FromQuery[str | None]


def provide_question(
    request: Request[Any, Any, Any],
    actor: Text = None,
    action: Text = None,
    purpose: Text = None,
    destination: Text = None,
    segment: Text = None,
    outcome: Text = None,
    profile: Text = None,
    from_: Annotated[str | None, QueryParameter(name="from")] = None,
    to: Text = None,
) -> Asked:
    """Return what a request asks of the log.

    :raises InvalidInputError: a condition is wrong, or a parameter is not known: it would be left out.
    """
    if set(request.query_params) - {*CONDITIONS, *_OTHERS}:
        raise InvalidInputError(f"a parameter is not known here; conditions are {', '.join(CONDITIONS)}")
    return asked(
        {
            "actor": actor,
            "action": action,
            "purpose": purpose,
            "destination": destination,
            "segment": segment,
            "outcome": outcome,
            "profile": profile,
            "from": from_,
            "to": to,
        }
    )


_ASKED = {"question": Provide(provide_question, sync_to_thread=False)}
Question: TypeAlias = NamedDependency[SkipValidation[Asked]]


@get("/audit", opt=_OFFICER, dependencies=_ASKED, sync_to_thread=True)
def search(
    services: InjectedServices,
    caller: InjectedCaller,
    question: Question,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> CountedItems:
    """List entries that match all conditions, newest first, each with its index; ``total`` is exact."""
    return shown_page(entry_page(services, caller.actor, question, limit, cursor))


@get("/audit/export", opt=_OFFICER, dependencies=_ASKED, sync_to_thread=True)
def export(
    services: InjectedServices,
    caller: InjectedCaller,
    question: Question,
    format: FromQuery[Literal["jsonl", "csv", "parquet"]] = "jsonl",  # noqa: A002  # the parameter's name
) -> Stream:
    """Stream every entry that matches, newest first; the header ``CDP-Total`` says how many there are."""
    with services.committer.batch() as batch:
        wanted = about(services, batch.connection, question)
        first = services.audit.page(batch.connection, wanted, 0)
        batch.record(searched("audit.export", caller.actor, question, wanted, first.total))
    media_type, pieces = encoded(format, _pieces(services, wanted, first.size))
    headers = {
        "CDP-Total": str(first.total),
        "Content-Disposition": f'attachment; filename="audit.{format}"',
    }
    return Stream(pieces, media_type=media_type, headers=headers)


def _pieces(services: Services, wanted: AuditFilter, size: int) -> Iterator[list[AuditEntry]]:
    """Yield the entries of a search, each piece read for itself, so that no snapshot is held for a reader."""
    after: int | None = None
    while True:
        with services.store.reading() as connection:
            found = services.audit.page(connection, wanted, PIECE, after, size).entries
        if found:
            yield found
        if len(found) < PIECE:
            return
        after = found[-1].index


@get("/audit/uses", opt=_OFFICER, dependencies=_ASKED, sync_to_thread=True)
def uses(
    services: InjectedServices,
    caller: InjectedCaller,
    question: Question,
    by: FromQuery[Literal["purpose", "action"]] = "purpose",
) -> dict[str, Any]:
    """Count uses by day (UTC), purpose and destination, with ``by=action`` by action and outcome as well."""
    by_action = by == "action"
    found = days_of_uses(services, caller.actor, question, by_action=by_action)
    return {"items": [day_of_uses(day, by_action=by_action) for day in found]}


@get("/audit/{index:str}/details", opt=allow("officer", purpose=True), sync_to_thread=True)
def details(services: InjectedServices, caller: InjectedCaller, index: FromPath[str]) -> dict[str, Any]:
    """Open what lies sealed beside an entry, for those of its subjects of whom something may be shown."""
    if not (index.isascii() and index.isdigit() and len(index) < _MOST_DIGITS):
        raise NotFoundError("there is no entry with this index")
    found = services.entry_details(caller.actor, caller.purpose, int(index))
    return {
        "index": int(index),
        "details": [{"profile": one.profile_id, "said": one.said} for one in found.details],
        "withheld": found.withheld,
        "erased": found.erased,
    }


HANDLERS = [search, export, uses, details]
