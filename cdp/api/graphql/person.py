"""One person as GraphQL shows them: types, and the lists of one profile. Each read is audited, as in REST."""

from __future__ import annotations

import msgspec
import strawberry
from strawberry.scalars import JSON

from cdp.api.auth import roles
from cdp.api.graphql.audit import DataUse, uses_of
from cdp.api.graphql.guard import Context, declared, only
from cdp.api.graphql.paging import Connection, connection, page_size
from cdp.api.paging import decode_cursor, page_of
from cdp.api.rest.profiles import (
    Encode,
    event_place,
    event_position,
    link_place,
    link_position,
    membership,
    receipt_path,
)
from cdp.clock import rfc3339
from cdp.consent import Standing
from cdp.portrait import Link, Portrait, ShownEvent, ShownIdentifier

Info = strawberry.Info[Context, None]
_READ = roles("officer", "steward", purpose=True)


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
    """An identifier of a profile; of its value no more than a mask is shown."""

    id: strawberry.ID
    type: str | None = strawberry.field(description="Null where the policies do not let it be seen.")
    class_: str = strawberry.field(name="class")
    value: str | None = strawberry.field(description="Always null: it is sealed.")
    masked: str | None = strawberry.field(description="A mask of it; null where not even that may be shown.")
    masked_fields: list[str]
    source: str | None
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
    source: str | None
    properties: JSON
    masked_fields: list[str]


@declared(_READ)
@strawberry.type(name="Link")
class LinkType:
    """What was decided about two identifiers, on what evidence, and why in words."""

    identities: list[strawberry.ID]
    types: list[str | None]
    accepted: bool
    reason: str
    why: str
    holds: bool = strawberry.field(description="False once the two were decided about again.")
    origin: str | None
    evidence: strawberry.ID
    source: str | None
    occurred_at: str | None
    decided_at: str
    rules_version: int


@declared(_READ)
@strawberry.type
class Provenance:
    """Where the value of a trait comes from; ``conflict`` is null where that cannot be told."""

    trait: str
    source: str | None
    observed_at: str
    rule: str
    sources: int
    conflict: bool | None


@declared(_READ)
@strawberry.type
class Tag:
    """A conclusion about the person, and from what it is drawn; with a version where it is computed here."""

    name: str
    value: JSON | None
    basis: str
    version: int | None


@declared(_READ)
@strawberry.type
class Membership:
    """A segment in which the person is: by which version of its definition, as last evaluated when."""

    segment: str
    version: int
    evaluated_at: str


@declared(_READ)
@strawberry.type
class Profile:
    """One person across the stages; sealed traits are null and named in ``maskedFields``."""

    id: strawberry.ID
    traits: JSON
    masked_fields: list[str]
    provenance: list[Provenance]
    tags: list[Tag]
    segments: list[str]
    memberships: list[Membership]
    identities: int

    @strawberry.field
    def identifiers(
        self, info: Info, first: int | None = None, after: str | None = None
    ) -> Connection[Identifier]:
        """List its identifiers, masked, in the order in which they became known."""
        services, caller, size = info.context.services, info.context.caller, page_size(first)
        encode = services.profile_ids.encode
        at = decode_cursor("identifiers", after, str)
        found = services.portrait.identifiers(
            caller.actor, caller.purpose, str(self.id), size + 1, None if at is None else at[0]
        )

        def position(item: ShownIdentifier) -> tuple[str]:
            return (encode(item.identity_no),)

        page = page_of(found, size, "identifiers", position)
        return connection(page, after, "identifiers", position, lambda item: _identifier(item, encode))

    @strawberry.field
    def events(self, info: Info, first: int | None = None, after: str | None = None) -> Connection[Event]:
        """List its events, newest first."""
        caller, size = info.context.caller, page_size(first)
        found = info.context.services.portrait.events(
            caller.actor, caller.purpose, str(self.id), size + 1, event_place(after)
        )
        page = page_of(found, size, "events", event_position)
        return connection(page, after, "events", event_position, _event)

    @strawberry.field
    def links(self, info: Info, first: int | None = None, after: str | None = None) -> Connection[LinkType]:
        """List what was decided about its links, newest first."""
        services, caller, size = info.context.services, info.context.caller, page_size(first)
        ids = services.profile_ids
        found = services.portrait.links(
            caller.actor, caller.purpose, str(self.id), size + 1, link_place(ids, after)
        )

        def position(item: Link) -> tuple[int | str, ...]:
            return link_position(item, ids.encode)

        page = page_of(found, size, "links", position)
        return connection(page, after, "links", position, lambda item: _link(item, ids.encode))

    @strawberry.field
    def consents(self, info: Info) -> list[Consent]:
        """Return its state of consent for each purpose, by purpose."""
        caller = info.context.caller
        found = info.context.services.portrait.consents(caller.actor, caller.purpose, str(self.id))
        return [consent_of(state) for state in sorted(found, key=lambda state: state.purpose)]

    @strawberry.field
    def uses(self, info: Info, first: int | None = None, after: str | None = None) -> Connection[DataUse]:
        """List who used this person's data, newest first."""
        return uses_of(info.context, str(self.id), first, after)


def profile_of(found: Portrait) -> Profile:
    """Return a portrait as GraphQL shows it."""
    return Profile(
        id=strawberry.ID(found.id),
        traits=JSON(found.traits),
        masked_fields=list(found.masked_fields),
        provenance=[
            Provenance(
                trait=name,
                source=held.source,
                observed_at=rfc3339(held.observed_at),
                rule=held.rule,
                sources=held.sources,
                conflict=held.conflict,
            )
            for name, held in found.provenance.items()
        ],
        tags=[
            Tag(name=tag.name, value=JSON(tag.value), basis=tag.basis, version=tag.version)
            for tag in found.tags
        ],
        segments=found.segments,
        memberships=[Membership(**membership(one)) for one in found.memberships],
        identities=found.identities,
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


def _identifier(item: ShownIdentifier, encode: Encode) -> Identifier:
    return Identifier(
        id=strawberry.ID(encode(item.identity_no)),
        type=item.type,
        class_="device" if item.device else "person",
        value=None,
        masked=item.masked,
        masked_fields=item.masked_fields,
        source=item.source,
        created_at=rfc3339(item.created_at),
    )


def _event(event: ShownEvent) -> Event:
    return Event(
        id=strawberry.ID(event.event_id.hex()),
        type=event.type,
        name=event.name,
        occurred_at=rfc3339(event.occurred_at),
        received_at=rfc3339(event.received_at),
        source=event.source,
        properties=JSON(msgspec.json.decode(event.properties) if event.properties else {}),
        masked_fields=["*"] if event.more else [],
    )


def _link(item: Link, encode: Encode) -> LinkType:
    return LinkType(
        identities=[strawberry.ID(encode(number)) for number in item.identities],
        types=list(item.types),
        accepted=item.accepted,
        reason=item.reason,
        why=item.why,
        holds=item.holds,
        origin=item.origin,
        evidence=strawberry.ID(item.event_id.hex()),
        source=item.source,
        occurred_at=None if item.occurred_at is None else rfc3339(item.occurred_at),
        decided_at=rfc3339(item.decided_at),
        rules_version=item.rules_version,
    )
