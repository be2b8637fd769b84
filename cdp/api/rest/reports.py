"""Reports of what was done, as JSON and as a page, and the officer's queue. Each call is on record."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from litestar import Request, Response, get
from litestar.params import FromQuery, QueryParameter

from cdp.api.auth import allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, checked_limit, decode_cursor, encode_cursor
from cdp.api.services import Services
from cdp.clock import Micros, parse_rfc3339, rfc3339
from cdp.errors import InvalidInputError
from cdp.reports import CONTENT_SECURITY_POLICY, Item, Only, Period, Piece, Place, page, period

_OFFICER = allow("officer")
_YEAR, _MONTH, _EVER = 365, 30, 3650
_HTML = "text/html"
_PAGE = {
    "Content-Security-Policy": f"{CONTENT_SECURITY_POLICY}; frame-ancestors 'none'; sandbox",
    "Content-Disposition": 'inline; filename="report.html"',
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
AnyRequest: TypeAlias = Request[Any, Any, Any]
From: TypeAlias = Annotated[str | None, QueryParameter(name="from")]
Text: TypeAlias = FromQuery[str]
Until: TypeAlias = FromQuery[str | None]
Form: TypeAlias = FromQuery[Literal["json", "html"] | None]


@get("/reports/processing", opt=_OFFICER, sync_to_thread=True)
def processing(
    request: AnyRequest,
    services: InjectedServices,
    caller: InjectedCaller,
    from_: From = None,
    to: Until = None,
    format: Form = None,  # noqa: A002  # the parameter's name
) -> Response[bytes]:
    """Make the records of processing activities (GDPR Art. 30) from what was done; of the last year."""
    asked = _period(services, from_, to, _YEAR)
    return _shown(request, format, services.reporting.reports.processing(caller.actor, asked))


@get("/reports/blast-radius", opt=_OFFICER, sync_to_thread=True)
def blast_radius(
    request: AnyRequest,
    services: InjectedServices,
    caller: InjectedCaller,
    destination: Text = "",
    key: Text = "",
    source: Text = "",
    from_: From = None,
    to: Until = None,
    noticed_at: Until = None,
    format: Form = None,  # noqa: A002  # the parameter's name
) -> Response[bytes]:
    """Say whom and what a breach reaches: of a destination, a key (by name), a source, a period."""
    asked = _breach(services, destination, key, source, from_, to)
    scope = services.reporting.reports.scope(destination, key, source)
    noticed = None if not noticed_at else _instant("noticed_at", noticed_at)
    return _shown(
        request, format, services.reporting.reports.blast_radius(caller.actor, scope, asked, noticed)
    )


@get("/reports/blast-radius/people", opt=allow("officer", purpose=True), sync_to_thread=True)
def concerned(
    services: InjectedServices,
    caller: InjectedCaller,
    destination: Text = "",
    key: Text = "",
    source: Text = "",
    from_: From = None,
    to: Until = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """List the profiles that a breach reaches, by id; it is on record about each of them."""
    asked = _breach(services, destination, key, source, from_, to)
    scope = services.reporting.reports.scope(destination, key, source)
    at = decode_cursor("concerned", cursor, int)
    after = 0 if at is None else at[0]
    found = services.reporting.reports.concerned(
        caller.actor, caller.purpose, scope, asked, checked_limit(limit), after
    )
    full = len(found) == limit
    return {
        "items": [{"profile": profile_id} for _, profile_id in found],
        "next": encode_cursor("concerned", found[-1][0]) if full else None,
    }


@get("/reports/audience-loss", opt=allow("officer", "marketer"), sync_to_thread=True)
def audience_loss(
    request: AnyRequest,
    services: InjectedServices,
    caller: InjectedCaller,
    by: FromQuery[Piece] = "day",
    segment: Text = "",
    destination: Text = "",
    purpose: Text = "",
    from_: From = None,
    to: Until = None,
    format: Form = None,  # noqa: A002  # the parameter's name
) -> Response[bytes]:
    """Say why people were withheld, over time: exactly to officers, to marketers of their own exports."""
    asked = _period(services, from_, to, _MONTH)
    made = services.reporting.reports.audience_loss(
        caller.actor,
        asked,
        by,
        mine=None if caller.has("officer") else caller.principal.key_id,
        only=Only(segment, destination, purpose),
    )
    return _shown(request, format, made)


@get("/reports/notices", opt=_OFFICER, sync_to_thread=True)
def notices(
    request: AnyRequest,
    services: InjectedServices,
    caller: InjectedCaller,
    from_: From = None,
    to: Until = None,
    format: Form = None,  # noqa: A002  # the parameter's name
) -> Response[bytes]:
    """Say how many people came by import and were given no notice within a month (GDPR Art. 14)."""
    asked = _period(services, from_, to, _YEAR)
    return _shown(request, format, services.reporting.reports.imported(caller.actor, asked))


@get("/officer/queue", opt=_OFFICER, sync_to_thread=True)
def queue(
    services: InjectedServices, caller: InjectedCaller, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> dict[str, Any]:
    """List what waits for an officer, the most urgent first; all pages are as of the first one's instant."""
    at = decode_cursor("queue", cursor, int, int, int, str, str)
    after = None if at is None else Place(*at[1:])
    first = None if at is None else min(max(at[0], 0), services.clock.now())
    found = services.reporting.queue.page(caller.actor, checked_limit(limit), after, first)
    last = encode_cursor("queue", found.at, *found.items[-1].place) if found.more else None
    return {
        "at": rfc3339(found.at),
        "severities": found.severities,
        "kinds": found.kinds,
        "items": [queue_item(item) for item in found.items],
        "next": last,
    }


def queue_item(item: Item) -> dict[str, Any]:
    """Return something that waits, as it is shown."""
    return {
        "kind": item.kind,
        "name": item.name,
        "severity": item.severity,
        "what": item.what,
        "since": rfc3339(item.since),
        "due": None if item.due is None else rfc3339(item.due),
        "do": item.command,
        "route": item.route,
    }


def _shown(request: AnyRequest, form: str | None, report: dict[str, Any]) -> Response[bytes]:
    """Return a report in the form that is asked for: ``format``, else what ``Accept`` names first."""
    first = request.headers.get("accept", "").partition(",")[0].partition(";")[0].strip().lower()
    if form == "html" or (form is None and first == _HTML):
        return Response(page(report), headers=_PAGE, media_type=_HTML)
    return Response(msgspec.json.encode(report), media_type="application/json")


def _period(services: Services, from_: str | None, to: str | None, days: int) -> Period:
    return period(from_, to, services.clock.now(), days)


def _breach(
    services: Services, destination: str, key: str, source: str, from_: str | None, to: str | None
) -> Period:
    """Return the period of a breach.

    :raises InvalidInputError: nothing at all is named: everything is no breach.
    """
    if not (destination or key or source or from_):
        raise InvalidInputError("name a destination, a key, a source or the beginning of a period")
    return _period(services, from_, to, _EVER)


def _instant(name: str, text: str) -> Micros:
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise InvalidInputError(f"{name} is not an RFC 3339 time") from None


HANDLERS = [processing, blast_radius, concerned, audience_loss, notices, queue]
