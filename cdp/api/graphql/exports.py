"""Exports: the same verbs as REST; the data itself is fetched by REST alone."""

from __future__ import annotations

import msgspec
import strawberry
from strawberry.scalars import JSON

from cdp.api.auth import roles
from cdp.api.graphql.guard import Context, declared, guarded
from cdp.api.graphql.paging import Connection, connection, page_size
from cdp.api.rest.exports import ExportBody, export_page, export_position, requested
from cdp.clock import rfc3339
from cdp.errors import InvalidInputError
from cdp.export import Export

Info = strawberry.Info[Context, None]
_SEE = roles("marketer", "destination", "officer")


@declared(_SEE)
@strawberry.type(name="Export")
class ExportType:
    """What was asked, released and withheld; counts are exact for officers."""

    id: strawberry.ID | None
    status: str
    segment: str
    destination: str
    purpose: str
    format: str
    created_at: str
    as_of: int
    members: int
    released: int
    withheld: JSON
    fields: JSON
    bundle: str
    audit_index: int
    reason: str | None


@strawberry.input
class ExportFilter:
    """Which exports; every condition given must hold."""

    segment: str | None = None
    destination: str | None = None
    purpose: str | None = None


@strawberry.input
class ExportInput:
    """An export to ask for."""

    segment: str
    destination: str
    purpose: str | None = None
    fields: list[str] | None = None
    format: str | None = None
    mode: str | None = None
    dry_run: bool | None = None


@strawberry.type
class ExportQuery:
    """Queries on exports."""

    @guarded(roles("marketer", "destination", "officer", query="export.list"))
    def exports(
        self,
        info: Info,
        filter: ExportFilter | None = None,  # noqa: A002  # the contract's name
        first: int | None = None,
        after: str | None = None,
    ) -> Connection[ExportType]:
        """List the exports that this key may know of, newest first."""
        wanted = {name: value for name, value in vars(filter or ExportFilter()).items() if value is not None}
        page = export_page(info.context.services, info.context.caller, page_size(first), after, wanted)
        return connection(page, after, "exports", export_position, _export)


@strawberry.type
class ExportMutation:
    """Mutations on exports."""

    @guarded(_SEE)
    def request_export(self, info: Info, input: ExportInput) -> ExportType:  # noqa: A002  # the contract's name
        """Have the gate decide an export."""
        given = {name: value for name, value in vars(input).items() if value is not None}
        try:
            body = msgspec.convert(given, ExportBody)
        except msgspec.ValidationError:
            raise InvalidInputError("mode is full") from None
        return _export(requested(info.context.services, info.context.caller, body))


def _export(found: Export) -> ExportType:
    return ExportType(
        id=None if found.id is None else strawberry.ID(found.id),
        status=found.status,
        segment=found.segment,
        destination=found.destination,
        purpose=found.purpose,
        format=found.format,
        created_at=rfc3339(found.created_at),
        as_of=found.as_of,
        members=found.members,
        released=found.released,
        withheld=JSON(found.withheld),
        fields=JSON(found.fields),
        bundle=found.bundle,
        audit_index=found.audit_index,
        reason=found.reason or None,
    )
