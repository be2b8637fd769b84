"""Events and consents pushed by GraphQL: the same pipeline, the same rules as the REST routes."""

from __future__ import annotations

import msgspec
import strawberry
from strawberry.scalars import JSON

from cdp.api.auth import roles
from cdp.api.graphql.guard import Context, declared, guarded
from cdp.api.graphql.person import Consent, consent_of
from cdp.api.graphql.profiles import IdentifierInput
from cdp.api.rest.consents import ConsentBody, record_consent
from cdp.api.rest.profiles import receipt_path
from cdp.errors import InvalidInputError, NotPermittedError, TooLargeError, UnavailableError
from cdp.ingest import Delivery
from cdp.intake import Direct

Info = strawberry.Info[Context, None]
_SOURCE = roles("source")
_CONSENT = roles("source", "officer")
_WAIT_SECONDS = 60.0


@strawberry.input
class EventInput:
    """One event, with the fields of the Segment specification."""

    type: str
    user_id: str | None = None
    anonymous_id: str | None = None
    previous_id: str | None = None
    group_id: str | None = None
    event: str | None = None
    name: str | None = None
    message_id: str | None = None
    timestamp: str | None = None
    original_timestamp: str | None = None
    sent_at: str | None = None
    category: str | None = None
    channel: str | None = None
    version: str | None = None
    properties: JSON | None = None
    traits: JSON | None = None
    context: JSON | None = None
    integrations: JSON | None = None


@declared(_SOURCE)
@strawberry.type
class IngestResult:
    """What became of these events: received = stored + duplicates + quarantined + refused + suppressed.

    All but the first two are null where a stream took the events: what becomes of them is known later.
    """

    success: bool
    received: int
    stored: int | None = None
    duplicates: int | None = None
    quarantined: int | None = None
    refused: int | None = None
    suppressed: int | None = None


@strawberry.input
class ConsentInput:
    """What somebody said about one purpose."""

    identifiers: list[IdentifierInput]
    purpose: str
    state: str
    event_time: str | None = None
    event_type: str | None = None
    expires_at: str | None = None
    notice_id: str | None = None
    notice_version: int | None = None
    language: str | None = None
    method: str | None = None
    jurisdiction: str | None = None
    recipients: list[str] | None = None
    user_id_signature: str | None = None
    confirm: str | None = None


@strawberry.type
class IngestMutation:
    """Mutations that push."""

    @guarded(_SOURCE)
    def ingest(self, info: Info, events: list[EventInput]) -> IngestResult:
        """Store events; it answers after they are committed. An invalid one goes to quarantine."""
        services, source = info.context.services, info.context.caller.source
        if source is None:
            raise NotPermittedError("ingest needs a source's write key")
        if not 0 < len(events) <= services.settings.max_batch_events:
            raise TooLargeError(f"a batch has 1 to {services.settings.max_batch_events} events")
        delivery = Delivery(
            source=source,
            messages=tuple(_message(event) for event in events),
            received_at=services.clock.now(),
            sec_gpc=info.context.sec_gpc,
        )
        try:
            if not isinstance(services.intake, Direct):
                services.intake.submit(delivery).result(_WAIT_SECONDS)
                return IngestResult(success=True, received=len(events))
            outcome = services.intake.submit(delivery, alone=True).result(_WAIT_SECONDS)
        except TimeoutError:
            raise UnavailableError("the server is behind; send the events again") from None
        return IngestResult(
            success=True,
            received=outcome.received,
            stored=outcome.stored,
            duplicates=outcome.duplicates,
            quarantined=outcome.quarantined,
            refused=outcome.refused,
            suppressed=outcome.suppressed,
        )

    @guarded(_CONSENT)
    def record_consent(self, info: Info, input: ConsentInput) -> Consent:  # noqa: A002  # the contract's name
        """Record what a person said about a purpose; it is an act."""
        given = {name: value for name, value in vars(input).items() if value is not None}
        given["identifiers"] = [vars(item) for item in input.identifiers]
        try:
            body = msgspec.convert(given, ConsentBody)
        except msgspec.ValidationError:
            raise InvalidInputError("a field of this consent has a value that it cannot have") from None
        context = info.context
        done = record_consent(context.services, context.caller, context.denials, body, context.sec_gpc)
        shown = Consent(purpose=done.purpose) if done.standing is None else consent_of(done.standing)
        shown.recorded = done.recorded
        if done.record_id is not None:
            shown.record = strawberry.ID(str(done.record_id))
            shown.receipt = receipt_path(done.record_id)
        if done.confirmation is not None:
            shown.confirmation = done.confirmation.url
        return shown


def _message(event: EventInput) -> bytes:
    fields = {
        "type": event.type,
        "userId": event.user_id,
        "anonymousId": event.anonymous_id,
        "previousId": event.previous_id,
        "groupId": event.group_id,
        "event": event.event,
        "name": event.name,
        "messageId": event.message_id,
        "timestamp": event.timestamp,
        "originalTimestamp": event.original_timestamp,
        "sentAt": event.sent_at,
        "category": event.category,
        "channel": event.channel,
        "version": event.version,
        "properties": event.properties,
        "traits": event.traits,
        "context": event.context,
        "integrations": event.integrations,
    }
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
