"""Audit entries, and the uses of one person's data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import strawberry
from strawberry.scalars import JSON

from cdp.api.asking import Asked, Counted, asked, days_of_uses, entry_page, use_page
from cdp.api.auth import roles
from cdp.api.graphql.guard import Context, declared, guarded
from cdp.api.graphql.paging import Connection, Node, connection, page_size
from cdp.audit import AuditEntry
from cdp.clock import rfc3339

Info = strawberry.Info[Context, None]
_OFFICER = roles("officer")
_PERSONAL = roles("officer", "steward", purpose=True)


@declared(_OFFICER)
@strawberry.type(name="AuditEntry")
class AuditEntryType:
    """One entry of the audit log."""

    index: int
    at: str
    actor: str
    action: str
    outcome: str
    purpose: str | None
    destination: str | None
    object: JSON
    counts: JSON
    people: JSON


@declared(_PERSONAL)
@strawberry.type
class DataUse:
    """One use of a person's data: who, what for, towards whom."""

    index: int
    at: str
    actor: str
    action: str
    outcome: str
    purpose: str | None
    destination: str | None
    object: JSON
    counts: JSON
    people: JSON


@declared(_OFFICER)
@strawberry.type(name="DayOfUses")
class DayOfUsesType:
    """What was done on one day (UTC) for one purpose towards one destination."""

    day: str
    purpose: str | None
    destination: str | None
    action: str | None
    outcome: str | None
    entries: int
    people: JSON


@strawberry.input
class AuditFilter:
    """Which entries; every condition given must hold."""

    actor: str | None = None
    action: str | None = None
    purpose: str | None = None
    destination: str | None = None
    segment: str | None = None
    outcome: str | None = None
    profile: strawberry.ID | None = None
    from_: str | None = strawberry.field(name="from", default=None)
    to: str | None = None


def _asked(given: AuditFilter | None) -> Asked:
    given = given or AuditFilter()
    return asked(
        {
            "actor": given.actor,
            "action": given.action,
            "purpose": given.purpose,
            "destination": given.destination,
            "segment": given.segment,
            "outcome": given.outcome,
            "profile": None if given.profile is None else str(given.profile),
            "from": given.from_,
            "to": given.to,
        }
    )


@strawberry.type
class AuditQuery:
    """Queries on the audit log."""

    @guarded(_OFFICER)
    def audit_entries(
        self,
        info: Info,
        filter: AuditFilter | None = None,  # noqa: A002  # the contract's name
        first: int | None = None,
        after: str | None = None,
    ) -> Connection[AuditEntryType]:
        """List entries that match, newest first; ``totalCount`` is exact."""
        services, actor = info.context.services, info.context.caller.actor
        found = entry_page(services, actor, _asked(filter), page_size(first), after)
        return _connection(found, after, _entry)

    @guarded(_PERSONAL)
    def data_uses(
        self, info: Info, profile_id: strawberry.ID, first: int | None = None, after: str | None = None
    ) -> Connection[DataUse]:
        """List who used this person's data, newest first; ``totalCount`` is exact."""
        return uses_of(info.context, str(profile_id), first, after)

    @guarded(_OFFICER)
    def uses_by_day(
        self,
        info: Info,
        filter: AuditFilter | None = None,  # noqa: A002  # as for auditEntries
        by_action: bool = False,  # noqa: FBT001, FBT002  # an argument of the schema
    ) -> list[DayOfUsesType]:
        """Count uses by day (UTC), purpose and destination; of the last 30 days where no time is given."""
        actor = info.context.caller.actor
        found = days_of_uses(info.context.services, actor, _asked(filter), by_action=by_action)
        return [
            DayOfUsesType(
                day=rfc3339(day.day)[:10],
                purpose=day.purpose or None,
                destination=day.destination or None,
                action=day.action or None,
                outcome=day.outcome or None,
                entries=day.entries,
                people=JSON(day.people),
            )
            for day in found
        ]


def uses_of(context: Context, profile_id: str, first: int | None, after: str | None) -> Connection[DataUse]:
    """Return a page of the uses of one person's data, newest first."""
    caller, size = context.caller, page_size(first)
    found = use_page(context.services, caller.actor, caller.purpose, profile_id, size, after)
    return _connection(found, after, _use)


def _connection(found: Counted, after: str | None, node: Callable[[AuditEntry], Node]) -> Connection[Node]:
    return connection(found.items, after, found.name, found.position, node, found.page.total)


def _told(entry: AuditEntry) -> dict[str, Any]:
    return {
        "index": entry.index,
        "at": rfc3339(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "outcome": entry.outcome,
        "purpose": entry.purpose or None,
        "destination": entry.destination or None,
        "object": JSON(entry.object),
        "counts": JSON(entry.counts),
        "people": JSON(entry.people),
    }


def _use(entry: AuditEntry) -> DataUse:
    return DataUse(**_told(entry))


def _entry(entry: AuditEntry) -> AuditEntryType:
    return AuditEntryType(**_told(entry))
