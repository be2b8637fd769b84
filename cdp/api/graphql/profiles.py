"""One person: the same reads as REST, each audited; merge and split."""

from __future__ import annotations

from typing import Any

import msgspec
import strawberry
from strawberry.scalars import JSON

from cdp.api.auth import roles
from cdp.api.graphql.guard import Context, declared, guarded, only
from cdp.api.graphql.paging import Connection, connection, page_size
from cdp.api.paging import decode_cursor, page_of
from cdp.api.rest.profiles import bytes_of, plan, receipt_path, relinking
from cdp.clock import rfc3339
from cdp.consent import Standing
from cdp.errors import InvalidInputError, NotFoundError
from cdp.identity import Plan
from cdp.portrait import Portrait
from cdp.profiles import TimelineEvent

Info = strawberry.Info[Context, None]
_READ = roles("officer", "steward", purpose=True)
_STEWARD = roles("steward")


@declared(roles("officer", "steward", "source"))
@strawberry.type
class Consent:
    """The state of one purpose for one person, with its reason; a source learns its own record only."""

    purpose: str
    state: str | None = strawberry.field(default=None, metadata=only(roles("officer", "steward")))
    reason: str | None = strawberry.field(default=None, metadata=only(roles("officer", "steward")))
    since: str | None = strawberry.field(default=None, metadata=only(roles("officer", "steward")))
    granted_at: str | None = strawberry.field(default=None, metadata=only(roles("officer", "steward")))
    expires_at: str | None = strawberry.field(default=None, metadata=only(roles("officer", "steward")))
    notice_given: str | None = strawberry.field(default=None, metadata=only(roles("officer", "steward")))
    recipients: list[str] | None = strawberry.field(default=None, metadata=only(roles("officer", "steward")))
    record: strawberry.ID | None = None
    receipt: str | None = None
    confirmation: str | None = strawberry.field(
        default=None, description="After recordConsent: the link by which the person confirms it, to be sent."
    )
    recorded: bool | None = strawberry.field(
        default=None, description="After recordConsent: whether it is on record; null where that is not told."
    )


@declared(_READ)
@strawberry.type
class Identifier:
    """An identifier of a profile; its value is sealed."""

    id: strawberry.ID
    type: str
    class_: str = strawberry.field(name="class")
    value: str | None
    masked_fields: list[str]
    created_at: str


@declared(_READ)
@strawberry.type
class Event:
    """Something that happened; ``maskedFields`` is ``*`` when the event holds more, sealed."""

    id: strawberry.ID
    type: str
    name: str | None = strawberry.field(description="Null where the policies do not let it be seen.")
    occurred_at: str
    received_at: str
    properties: JSON
    masked_fields: list[str]


@declared(_READ)
@strawberry.type
class Profile:
    """One person across the stages; sealed traits are null and named in ``maskedFields``."""

    id: strawberry.ID
    traits: JSON
    masked_fields: list[str]
    segments: list[str]

    @strawberry.field
    def identifiers(self, info: Info) -> list[Identifier]:
        """Return its identifiers, their values sealed."""
        services, caller = info.context.services, info.context.caller
        found = services.portrait.identifiers(caller.actor, caller.purpose, str(self.id))
        return [
            Identifier(
                id=strawberry.ID(services.profile_ids.encode(item.identity_no)),
                type=item.type,
                class_="device" if item.device else "person",
                value=None,
                masked_fields=["value"],
                created_at=rfc3339(item.created_at),
            )
            for item in found
        ]

    @strawberry.field
    def events(self, info: Info, first: int | None = None, after: str | None = None) -> Connection[Event]:
        """List its events, newest first."""
        caller, size = info.context.caller, page_size(first)
        at = decode_cursor("events", after, int, str)
        before = None if at is None else (at[0], bytes_of(at[1]))
        found = info.context.services.portrait.events(
            caller.actor, caller.purpose, str(self.id), size + 1, before
        )
        page = page_of(found, size, "events", _event_position)
        return connection(page, after, "events", _event_position, _event)

    @strawberry.field
    def consents(self, info: Info) -> list[Consent]:
        """Return its state of consent for each purpose."""
        caller = info.context.caller
        found = info.context.services.portrait.consents(caller.actor, caller.purpose, str(self.id))
        return [consent_of(state) for state in found]


@strawberry.input
class IdentifierInput:
    """An identifier of the person."""

    type: str
    value: str


@strawberry.input
class ProfileFilter:
    """Which profiles: the members of a segment."""

    segment: str | None = None


@declared(_STEWARD)
@strawberry.type
class ProfileGroup:
    """A profile and the identities in it, by the ids under which they answer on their own."""

    id: strawberry.ID
    identities: list[strawberry.ID]


@declared(_STEWARD)
@strawberry.type
class MergePlan:
    """What linking profiles would do, or did."""

    dry_run: bool
    before: list[ProfileGroup]
    after: list[ProfileGroup]
    refused: JSON


@declared(_STEWARD)
@strawberry.type
class SplitPlan:
    """What taking an identifier out of its profile would do, or did."""

    dry_run: bool
    before: list[ProfileGroup]
    after: list[ProfileGroup]


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


@strawberry.type
class ProfileMutation:
    """A steward's merge and split; ``dryRun`` only says what it would do."""

    @guarded(_STEWARD)
    def merge_profiles(
        self,
        info: Info,
        ids: list[strawberry.ID],
        dry_run: bool | None = True,  # noqa: FBT001, FBT002  # a GraphQL argument
    ) -> MergePlan:
        """Link profiles by a steward's word; the identity rules still bind."""
        services = info.context.services
        caller, named = info.context.caller, [str(profile_id) for profile_id in ids]
        done = services.steward.merge(caller.actor, relinking(caller), named, dry_run=dry_run is not False)
        return MergePlan(**_plan(done, services.profile_ids.encode), refused=JSON(done.refused))

    @guarded(_STEWARD)
    def split_profile(
        self,
        info: Info,
        id: strawberry.ID,  # noqa: A002  # the contract's name
        dry_run: bool | None = True,  # noqa: FBT001, FBT002  # a GraphQL argument
    ) -> SplitPlan:
        """Take the identifier that answers to this id out of its profile."""
        services = info.context.services
        caller = info.context.caller
        done = services.steward.split(caller.actor, relinking(caller), str(id), dry_run=dry_run is not False)
        return SplitPlan(**_plan(done, services.profile_ids.encode))


def _event_position(event: TimelineEvent) -> tuple[int, str]:
    return event.occurred_at, event.event_id.hex()


def _profile_position(found: Portrait) -> tuple[str]:
    return (found.id,)


def profile_of(found: Portrait) -> Profile:
    """Return a portrait as GraphQL shows it."""
    return Profile(
        id=strawberry.ID(found.id),
        traits=JSON(found.traits),
        masked_fields=list(found.masked_fields),
        segments=list(found.segments),
    )


def consent_of(state: Standing) -> Consent:
    """Return a consent state as GraphQL shows it."""
    return Consent(
        purpose=state.purpose,
        state=state.state,
        reason=state.reason,
        since=rfc3339(state.since) if state.since else None,
        granted_at=rfc3339(state.granted_at) if state.granted_at else None,
        expires_at=rfc3339(state.expires_at) if state.expires_at else None,
        notice_given=rfc3339(state.notice_given) if state.notice_given else None,
        recipients=list(state.recipients),
        record=strawberry.ID(str(state.record_id)) if state.record_id is not None else None,
        receipt=receipt_path(state.record_id) if state.record_id is not None else None,
    )


def _event(event: TimelineEvent) -> Event:
    return Event(
        id=strawberry.ID(event.event_id.hex()),
        type=event.type,
        name=event.name or None,
        occurred_at=rfc3339(event.occurred_at),
        received_at=rfc3339(event.received_at),
        properties=JSON(msgspec.json.decode(event.properties) if event.properties else {}),
        masked_fields=["*"] if event.more else [],
    )


def _plan(done: Plan, encode: Any) -> dict[str, Any]:
    shown = plan(done, encode)
    return {
        "dry_run": shown["dry_run"],
        "before": [ProfileGroup(**group) for group in shown["before"]],
        "after": [ProfileGroup(**group) for group in shown["after"]],
    }
