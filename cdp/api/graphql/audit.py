"""Audit entries, and the uses of one person's data."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry.scalars import JSON

from cdp.api.auth import roles
from cdp.api.graphql.guard import Context, declared, guarded
from cdp.api.graphql.paging import Connection, connection, page_size
from cdp.api.paging import decode_cursor, page_of
from cdp.api.rest.audit import audit_filter, search_page
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


@strawberry.input
class AuditFilter:
    """Which entries; every condition given must hold."""

    actor: str | None = None
    action: str | None = None
    purpose: str | None = None
    destination: str | None = None
    outcome: str | None = None
    profile: strawberry.ID | None = None
    from_: str | None = strawberry.field(name="from", default=None)
    to: str | None = None


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
        """List entries that match, newest first."""
        given = filter or AuditFilter()
        wanted = audit_filter(
            actor=given.actor,
            action=given.action,
            purpose=given.purpose,
            destination=given.destination,
            outcome=given.outcome,
            from_=given.from_,
            to=given.to,
        )
        services, size = info.context.services, page_size(first)
        profile = None if given.profile is None else str(given.profile)
        found, total = search_page(services, info.context.caller.actor, wanted, profile, size, after)
        page = page_of(found, size, "audit", _position)
        return connection(page, after, "audit", _position, _entry, total)

    @guarded(_PERSONAL)
    def data_uses(
        self, info: Info, profile_id: strawberry.ID, first: int | None = None, after: str | None = None
    ) -> Connection[DataUse]:
        """List who used this person's data, newest first."""
        return uses_of(info.context, str(profile_id), first, after)


def uses_of(context: Context, profile_id: str, first: int | None, after: str | None) -> Connection[DataUse]:
    """Return a page of the uses of one person's data, newest first."""
    caller, size = context.caller, page_size(first)
    at = decode_cursor("uses", after, int)
    found = context.services.portrait.uses(
        caller.actor, caller.purpose, profile_id, size + 1, None if at is None else at[0]
    )
    return connection(page_of(found, size, "uses", _position), after, "uses", _position, _use)


def _position(entry: AuditEntry) -> tuple[int]:
    return (entry.index,)


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
