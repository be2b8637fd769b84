"""validate: a message → an event, or a reject with its cause.

Order of checks: size → JSON object → type → identifiers → name → times → fields. The first that
fails names the cause; a cause names fields and limits, never a value. What a message that fails says to
restrain somebody is read all the same, from whatever of it can be read (``restraints``).

Times are told in ``clocks.py``. Before 1900, or more than a day ahead of the receipt, is out of range: ahead
of the replay for what lay in quarantine, as the server's own clock may have been behind.

Identity: by its ``messageId`` alone is a message known when it comes again. One without is a message of its
own each time it is received, whatever it says: a second no in the words of the first is a second no.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import msgspec
from prometheus_client import Counter

from cdp.clock import DAY, Micros, parse_rfc3339
from cdp.consent import RESTRAINING, Listener, Statement
from cdp.crypto import UserIdSignatures
from cdp.ingest.clocks import times
from cdp.ingest.model import Delivery, Event, EventType, Message, Reject
from cdp.ingest.name import (
    InvalidEventError,
    fail,
    given_identifiers,
    held,
    id_of,
    names_itself,
    readable,
    text_of,
)
from cdp.ingest.recognise import Recogniser
from cdp.ingest.sources.segment import EVENT_TYPES
from cdp.policy import Bundle

MAX_NAME = 200
MAX_FIELDS = 500
UNDATED = -1
_NAMES = 10_000
_AHEAD = DAY
_EARLIEST = parse_rfc3339("1900-01-01T00:00:00Z")
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+|\+\d[\d\s().-]{6,}\d")  # e-mail; number with its country
_NATIONAL = re.compile(r"(?<!\d)0\d{1,4}[\s/-]\d[\d\s/-]{4,}\d")  # number without, written as one
_LONG_NUMBER = re.compile(r"\d[\d\s().-]{5,}\d")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
ODD_SIGNALS = Counter(
    "cdp_consent_signals_odd",
    "Consent signals that were malformed, ignored, not mapped, or contradicted another of their event",
    ["signal", "outcome"],
)
SELF_ALIASES = Counter("cdp_ingest_self_aliases", "alias calls that name one id twice, and so say nothing")
_decoder = msgspec.json.Decoder()
_encode = msgspec.json.encode
_ordered = msgspec.json.Encoder(order="sorted")

# Fields with a home of their own; what is left of a message is sealed with the event.
_KNOWN = frozenset(
    {
        "type", "messageId", "anonymousId", "userId", "previousId", "context", "properties", "traits",
        "timestamp", "originalTimestamp", "sentAt", "receivedAt", "event", "name", "writeKey", "channel",
        "version", "_metadata",
    }
)  # fmt: skip


class Validator:
    """Validates messages of Segment-compatible sources.

    :param bundle: identifier priorities and consent mappings.
    :param normalise: of identifiers.
    :param event_key: 32-byte key of the event-id hash.
    :param max_event_bytes: limit of one message, in bytes of JSON.
    :param signatures: verify browsers' user ids; None where nobody signs.
    :param regions: returns the regions that any source has.
    :ivar policies: the SHA-256 of the bundle.
    """

    def __init__(
        self,
        bundle: Bundle,
        normalise: Any,
        event_key: bytes,
        max_event_bytes: int,
        signatures: UserIdSignatures | None = None,
        regions: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.policies = bundle.sha256
        self._listen = Listener(bundle.signals)
        self._recognise = Recogniser(bundle.identity, normalise, regions)
        self._event_key = event_key
        self._max_event_bytes = max_event_bytes
        self._signatures = signatures

    def __call__(self, message: Message) -> Event | Reject:
        """Return the event, or the reject that says why there is none."""
        try:
            return self._event(message)
        except InvalidEventError as invalid:
            return Reject(message, invalid.reason, invalid.message)

    def _event(self, message: Message) -> Event:
        delivery = message.delivery
        most = delivery.source.limits.max_event_bytes(self._max_event_bytes)
        if len(message.raw) > most:
            fail("size_violation", f"the event is over the limit of {most} bytes")
        body = _object(message.raw)
        kind = _type(body, delivery)
        context = _context(body, delivery)
        if delivery.context and len(_encode(context)) > most:
            fail("size_violation", "the event with its batch's context is over the limit")
        signature = context.pop("userIdSignature", None)  # proves who speaks, so it is not kept
        properties = _mapping(body, "properties")
        traits = self._traits(body, kind, context)
        trusted = delivery.source.kind != "browser"
        given = delivery.identifiers or given_identifiers(body, kind, traits, context, trusted=trusted)
        if kind == "alias" and names_itself(body):
            SELF_ALIASES.inc()
        told = delivery.statements
        only_restrains = bool(told) and all(said.state in RESTRAINING for said in told)
        region = delivery.source.default_region
        named = self._recognise(given, region, restraining=only_restrains)
        name = _name(body, kind)
        stamped, occurred, dated, unused = times(body, delivery)
        in_range = _EARLIEST <= occurred <= delivery.landed_at + _AHEAD
        if not in_range:
            stamped, occurred, dated = delivery.received_at, delivery.received_at, False
        said_at = stamped if dated else delivery.received_at
        statements = told + self._heard(kind, name, {} if told else context, said_at, delivery)
        restrains = bool(statements) and any(said.state in RESTRAINING for said in statements)
        if not (in_range or restrains):  # a refusal counts from when it was received, whatever the clock
            fail("timestamp_out_of_range", "timestamp lies before 1900 or more than a day ahead")
        rest = unused
        if not body.keys() <= _KNOWN:
            rest |= {key: value for key, value in body.items() if key not in _KNOWN and value}
        if kind == "group" and (group := _mapping(body, "traits")):
            rest["traits"] = group
        return Event(
            message=message,
            event_id=self._event_id(body, message),
            day=stamped // DAY if dated else UNDATED,
            type=kind,
            name=name,
            identifiers=named.identifiers,
            occurred_at=occurred,
            stamped_at=stamped,
            properties=properties,
            traits=traits,
            context=context,
            rest=rest,
            statements=statements,
            signed=self._signed(body, delivery, signature) if statements and signature is not None else None,
            earlier=named.earlier,
            unnamed=named.unnamed,
            also=self._recognise.others(given, region, named.identifiers) if restrains else (),
        )

    def restraints(self, message: Message) -> Event | None:
        """Return of a message that is no event what it says to restrain those whom it names; None if nothing.

        It counts from when it was received. Its id is that of its very bytes, and without a ``messageId`` of
        this receipt: it is heard once, and is never taken for the event that a replay may make of it.
        """
        delivery, at = message.delivery, message.delivery.received_at
        try:
            body = _object(message.raw)
            kind: EventType = "track"
            with suppress(InvalidEventError):
                kind = _type(body, delivery)
            context = {**held(delivery.context), **held(body.get("context"))}
            name = text_of(body.get("event" if kind == "track" else "name"))
            told = delivery.statements
            heard = told + self._heard(kind, name, {} if told else context, at, delivery)
            said = tuple(statement for statement in heard if statement.state in RESTRAINING)
            if not said:
                return None
            trusted = delivery.source.kind != "browser"
            given = delivery.identifiers or readable(body, kind, context, trusted=trusted)
            region = delivery.source.default_region
            named = self._recognise(given, region, restraining=True)
        except InvalidEventError:
            return None
        return Event(
            message=message,
            event_id=self._hashed(
                delivery.source.source_id,
                message.raw if _message_id(body) else message.nonce.to_bytes(8) + message.raw,
            ),
            day=UNDATED,
            type=kind,
            name=kind,
            identifiers=named.identifiers,
            occurred_at=at,
            stamped_at=at,
            properties={},
            traits={},
            context={},
            rest={},
            statements=said,
            earlier=named.earlier,
            also=self._recognise.others(given, region, named.identifiers),
        )

    def words(self, event: Event) -> list[Event]:
        """Return what an event restrains of each of ``Event.also``; what binds devices binds none of them."""
        said = tuple(one for one in event.statements if one.state in RESTRAINING and not one.device_only)
        return [
            msgspec.structs.replace(
                event,
                event_id=self._hashed(event.source.source_id, event.event_id + ":".join(pair).encode()),
                day=UNDATED,
                identifiers=(pair,),
                properties={},
                traits={},
                context={},
                rest={},
                statements=said,
                earlier=(),
                also=(),
            )
            for pair in (event.also if said else ())
        ]

    def _heard(
        self, kind: EventType, name: str, context: dict[str, Any], at: Micros, delivery: Delivery
    ) -> tuple[Statement, ...]:
        """Return what a message says about consent, and count what was odd about it."""
        heard = self._listen(
            kind,
            name,
            context,
            at,
            received_at=delivery.received_at,
            sec_gpc=delivery.sec_gpc and delivery.source.kind == "browser",
        )
        for signal, outcome in heard.notes:
            ODD_SIGNALS.labels(signal, outcome).inc()
        return heard.statements

    def _signed(self, body: dict[str, Any], delivery: Delivery, signature: object) -> bool | None:
        """Return whether a browser's user id is signed; None for the other sources, believed without."""
        source = delivery.source
        if source.kind != "browser":
            return None
        named = [value for kind, value in delivery.identifiers if kind == "user_id"]
        user_ids = named if delivery.identifiers else [id_of(body, "userId")]
        if self._signatures is None or source.secret_version is None or not isinstance(signature, str):
            return False
        if len(user_ids) != 1 or not user_ids[0]:
            return False  # a signature says of one user who it is
        return self._signatures.verify(source.source_id, source.secret_version, user_ids[0], signature)

    def event_id(self, source_id: int, message_id: str) -> bytes:
        """Return the id of the event that a source sends under ``message_id``."""
        return self._hashed(source_id, message_id.encode())

    def _hashed(self, source_id: int, named: bytes) -> bytes:
        hashed = hashlib.blake2b(source_id.to_bytes(8), key=self._event_key, digest_size=16)
        hashed.update(named)
        return hashed.digest()

    def _event_id(self, body: dict[str, Any], message: Message) -> bytes:
        """Return the keyed hash of source and message id.

        Without one the first half is that of what was said (``sentAt`` left out), so that the order of
        links of one instant does not hang on chance, and the second half is what was drawn at receipt.
        """
        delivery = message.delivery
        if given := _message_id(body):
            return self.event_id(delivery.source.source_id, given)
        said = _ordered.encode([{**body, "sentAt": None}, delivery.context])
        return self._hashed(delivery.source.source_id, said)[:8] + message.nonce.to_bytes(8)

    def _traits(self, body: dict[str, Any], kind: EventType, context: dict[str, Any]) -> dict[str, Any]:
        """Return the person's traits: those of an identify, top level winning over context."""
        if kind != "identify":
            return {}
        nested = context.pop("traits", None)
        given = _mapping(body, "traits")
        return {**nested, **given} if isinstance(nested, dict) else given


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = None
    if not isinstance(body, dict):
        fail("malformed", "the message is not a JSON object")
    return body


def _message_id(body: dict[str, Any]) -> str:
    """Return the id that a client gives a message, text or a number; empty for none."""
    given = body.get("messageId")
    if isinstance(given, str):
        return given
    return str(given) if type(given) in (int, float) else ""


def _type(body: dict[str, Any], delivery: Delivery) -> EventType:
    kind = delivery.type or body.get("type")
    if not isinstance(kind, str) or kind not in EVENT_TYPES:
        fail("unknown_type", "type is none of identify, track, page, screen, group, alias")
    return kind  # type: ignore[return-value]  # checked against EVENT_TYPES


def _mapping(body: dict[str, Any], field: str) -> dict[str, Any]:
    value = body.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        fail("malformed", f"{field} is not an object")
    if len(value) > MAX_FIELDS:
        fail("size_violation", f"{field} has more than {MAX_FIELDS} fields")
    return value


def _context(body: dict[str, Any], delivery: Delivery) -> dict[str, Any]:
    """Return the message's context over the batch's, with the address of a browser or a direct call."""
    own = _mapping(body, "context")
    context = {**delivery.context, **own} if isinstance(delivery.context, dict) else dict(own)
    told = delivery.address and (delivery.source.kind == "browser" or context.get("direct") is True)
    if told and not context.get("ip"):
        context["ip"] = delivery.address
    return context


def _name(body: dict[str, Any], kind: EventType) -> str:
    """Return the event's name: what was tracked, the page, the screen; else the type."""
    name = body.get("event" if kind == "track" else "name")
    if kind == "track" and not (isinstance(name, str) and name):
        fail("bad_name", "a track call without an event name")
    if kind in ("identify", "group", "alias") or not isinstance(name, str) or not name:
        return kind
    if len(name) > MAX_NAME:
        fail("bad_name", f"the event name has more than {MAX_NAME} characters")
    if not _is_fit(name):
        fail("bad_name", "the event name holds control characters, an e-mail address or a long number")
    return name


def looks_personal(text: str) -> bool:
    """True for text that holds an e-mail address or a telephone number, percent-encoded or not.

    Called for every text of every event: what cannot match is told apart without an expression.
    """
    if "%" in text:
        text = unquote(text)
    if ("@" in text or "+" in text) and _ADDRESS.search(text):
        return True
    return "0" in text and not text.isalnum() and _NATIONAL.search(text) is not None


@lru_cache(_NAMES)
def _is_fit(name: str) -> bool:
    """True for an event name that may be stored in clear; a source uses the same few again and again."""
    return not (_CONTROL.search(name) or looks_personal(name) or _LONG_NUMBER.search(name))
