"""What became of what each source sent, day by day."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter

from cdp.api.auth import allow
from cdp.api.injected import InjectedServices
from cdp.clock import DAY, day, parse_rfc3339
from cdp.errors import InvalidInputError, NotFoundError
from cdp.ingest import OUTCOMES
from cdp.told import API_SOURCE

From: TypeAlias = Annotated[str | None, QueryParameter(name="from")]
_FIELDS = ("received", *OUTCOMES, "waiting", "replayed", "discarded", "expired", "erased")


@get("/sources/{name:str}/counts", opt=allow("admin", "steward", "officer"), sync_to_thread=True)
def source_counts(
    services: InjectedServices,
    name: FromPath[str],
    from_: From = None,
    to: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """Count what became of what a source sent, by day of receipt (UTC), ``from`` one ``to`` another."""
    sources = {one.name: one.source_id for one in (API_SOURCE, *services.access.list_sources())}
    if name not in sources:
        raise NotFoundError("there is no source of this name")
    first, last = _day(from_), _day(to)
    found = services.counts.of(sources[name], first or 0, last)
    return {
        "source": name,
        "balanced": all(one.balanced for one in found),
        "total": {field: sum(getattr(one, field) for one in found) for field in _FIELDS},
        "days": [
            {
                "day": day(one.day * DAY).isoformat(),
                **{field: getattr(one, field) for field in _FIELDS},
                "balanced": one.balanced,
            }
            for one in found
        ],
    }


@get("/counts", opt=allow("admin", "steward", "officer"), sync_to_thread=True)
def all_counts(services: InjectedServices) -> dict[str, Any]:
    """Say whether all that every source ever sent is accounted for; sources and days where it is not."""
    names = {one.source_id: one.name for one in (API_SOURCE, *services.access.list_sources())}
    found = services.counts.of()
    return {
        "balanced": all(one.balanced for one in found),
        "received": sum(one.received for one in found),
        "unbalanced": [
            {
                "source": names.get(one.source_id),
                "day": day(one.day * DAY).isoformat(),
                **{field: getattr(one, field) for field in _FIELDS},
            }
            for one in found
            if not one.balanced
        ],
    }


def _day(text: str | None) -> int | None:
    if not text:
        return None
    try:
        return parse_rfc3339(f"{text}T00:00:00Z") // DAY
    except ValueError:
        raise InvalidInputError("a day is YYYY-MM-DD") from None


HANDLERS = [source_counts, all_counts]
