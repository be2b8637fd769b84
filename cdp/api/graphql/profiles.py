"""People: one by id or identifier, many by segment. Each read is audited, as in REST."""

from __future__ import annotations

import strawberry

from cdp.api.auth import roles
from cdp.api.graphql.guard import Context, guarded
from cdp.api.graphql.paging import Connection, connection, page_size
from cdp.api.graphql.person import Profile, profile_of
from cdp.api.paging import decode_cursor, page_of
from cdp.errors import InvalidInputError, NotFoundError
from cdp.portrait import Portrait

Info = strawberry.Info[Context, None]
_READ = roles("officer", "steward", purpose=True)


@strawberry.input
class IdentifierInput:
    """An identifier of the person."""

    type: str
    value: str


@strawberry.input
class ProfileFilter:
    """Which profiles: the members of a segment."""

    segment: str | None = None


@strawberry.type
class ProfileQuery:
    """Queries on profiles."""

    @guarded(_READ)
    def profile(
        self,
        info: Info,
        id: strawberry.ID | None = None,  # noqa: A002  # the contract's name
        identifier: IdentifierInput | None = None,
    ) -> Profile | None:
        """Find a profile by its id or by an identifier; null when there is none."""
        services, caller = info.context.services, info.context.caller
        if (id is None) == (identifier is None):
            raise InvalidInputError("profile takes either id or identifier")
        try:
            if identifier is not None:
                kind, value = identifier.type, identifier.value
                return profile_of(services.portrait.lookup(caller.actor, caller.purpose, kind, value))
            return profile_of(services.portrait.portrait(caller.actor, caller.purpose, str(id)))
        except NotFoundError:
            return None

    @guarded(_READ)
    def profiles(
        self,
        info: Info,
        filter: ProfileFilter | None = None,  # noqa: A002  # the contract's name
        first: int | None = None,
        after: str | None = None,
    ) -> Connection[Profile]:
        """List profiles in a fixed order."""
        services, caller, size = info.context.services, info.context.caller, page_size(first)
        at = decode_cursor("profiles", after, str)
        segment = None if filter is None else filter.segment
        found, total = services.portrait.page(
            caller.actor, caller.purpose, size + 1, None if at is None else at[0], segment
        )
        page = page_of(found, size, "profiles", _profile_position)
        shown = total if caller.has("officer") else None
        return connection(page, after, "profiles", _profile_position, profile_of, shown)


def _profile_position(found: Portrait) -> tuple[str]:
    return (found.id,)
