"""CloudEvents 1.0: an HTTP call → events in the JSON format; one of those → a Segment message.

A call is read by its Content-Type (HTTP protocol binding 1.0, §3): ``application/cloudevents-batch+json``
is a batch, ``application/cloudevents+json`` structured, anything else binary: attributes in ``ce-…``
headers, the body is the data. The whole call is refused only when it is no CloudEvent at all; an event that
breaks a rule of the specification, or of which no message can be made, is a reject of its own.

What becomes of an event (docs/cloudevents.md): ``source`` and ``id`` together are its message id, ``time``
its timestamp, ``subject`` its user. Data that is a Segment message is taken as that, and the attributes
fill what it leaves open; other data is the properties of a track call whose event is the ``type``.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from cdp.clock import parse_rfc3339
from cdp.errors import MalformedBodyError, TooLargeError, UnsupportedMediaError
from cdp.ingest.model import Message, Reject
from cdp.ingest.sources.segment import EVENT_TYPES

BATCH, STRUCTURED = "application/cloudevents-batch", "application/cloudevents"
_PREFIX = "ce-"
_SPECVERSION = "ce-specversion"
_BODY = frozenset({"data", "data_base64", "datacontenttype"})  # of the JSON format; no header tells them
_TYPED = "com.segment."
_ANONYMOUS = "anon:"
_TEXTS = frozenset({"id", "source", "type", "subject", "time", "datacontenttype", "dataschema"})
_NAME = re.compile(r"[a-z0-9]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ESCAPED = re.compile(r"\\(.)")
_INTEGERS = range(-(1 << 31), 1 << 31)
_CALLS = tuple(EVENT_TYPES)  # what is looked for among them may be of any type
_batch_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_decoder = msgspec.json.Decoder()


class _NoMessageError(Exception):
    """Ends the reading of one event; holds the cause, which names attributes and never a value."""


# -- a call -----------------------------------------------------------------------------------------


def read_events(
    raw: bytes,
    content_type: str,
    headers: Iterable[tuple[str, str]],
    *,
    max_event_bytes: int,
    max_events: int,
) -> tuple[bytes, ...]:
    """Return each event of a call in the JSON format, whichever way it was sent.

    :param raw: the inflated body.
    :param headers: (name, value) as received, bytes shown as Latin-1.
    :param max_event_bytes: limit of the body of a call with one event.
    :raises MalformedBodyError: it is no CloudEvent.
    :raises TooLargeError: over one of the limits.
    :raises UnsupportedMediaError: an event format that is not JSON.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media.startswith(BATCH):
        _require_json(media, BATCH)
        events = _each(raw)
        if len(events) > max_events:
            raise TooLargeError(f"the batch is over the limit of {max_events} events")
        return events
    if len(raw) > max_event_bytes:
        raise TooLargeError(f"the body is over the limit of {max_event_bytes} bytes")
    if media.startswith(STRUCTURED):
        _require_json(media, STRUCTURED)
        if not isinstance(_decoded(raw), dict):
            raise MalformedBodyError("the body is not a CloudEvent, a JSON object")
        return (raw,)
    return (_from_binary(raw, media, dict(headers)),)


def _require_json(media: str, mode: str) -> None:
    if media.removeprefix(mode) not in {"", "+json"}:
        raise UnsupportedMediaError(f"send {mode}+json: no other event format is read here")


def _each(raw: bytes) -> tuple[bytes, ...]:
    try:
        raw.decode()
        return tuple(map(bytes, _batch_decoder.decode(raw)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedBodyError("the body is not a batch of CloudEvents, a JSON array") from None


def _decoded(raw: bytes) -> Any:
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedBodyError("the body is not JSON") from None


def _from_binary(raw: bytes, media: str, headers: dict[str, str]) -> bytes:
    """Return an event of the binary content mode in the JSON format (HTTP protocol binding §3.1)."""
    if _SPECVERSION not in headers:
        raise MalformedBodyError(
            "this is no CloudEvent: it has neither the header ce-specversion nor the Content-Type "
            "application/cloudevents+json or application/cloudevents-batch+json"
        )
    event: dict[str, Any] = {
        name.removeprefix(_PREFIX): _text(value)
        for name, value in headers.items()
        if name.startswith(_PREFIX)
    }
    if not _BODY.isdisjoint(event):
        raise MalformedBodyError("data and its content type are no attributes of a CloudEvent in headers")
    if media:
        event["datacontenttype"] = media
    if raw and _is_json(media):
        _decoded(raw)
        event["data"] = msgspec.Raw(raw)
    elif raw:
        event["data_base64"] = base64.b64encode(raw).decode()
    return msgspec.json.encode(event)


def _text(value: str) -> str:
    """Return the text of a header (§3.1.3.2): quotes are undone, then percent signs, once.

    :raises MalformedBodyError: its bytes are no UTF-8.
    """
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = _ESCAPED.sub(r"\1", value[1:-1])
    try:
        return unquote_to_bytes(value.encode("latin-1")).decode()
    except UnicodeError:
        raise MalformedBodyError("a ce- header is not percent-encoded UTF-8") from None


def _is_json(media: str) -> bool:
    """True for the media type of JSON, ``+json``, and none, which is JSON's (JSON format §3.1)."""
    return not media or media.endswith("+json") or media in {"application/json", "text/json"}


# -- one event --------------------------------------------------------------------------------------


def from_cloudevent(message: Message) -> list[Message | Reject]:
    """Return a CloudEvent in the JSON format as a Segment message; a reject when none can be made of it."""
    try:
        body = _message(_attributes(message.raw))
    except _NoMessageError as bad:
        return [Reject(message, "adapter_failure", str(bad))]
    delivery = msgspec.structs.replace(message.delivery, form="", messages=())
    return [Message(delivery, msgspec.json.encode(body), message.nonce, message)]


def _attributes(raw: bytes) -> dict[str, Any]:
    """Return what an event says; absent is what is null (JSON format §2).

    :raises _NoMessageError: it is no CloudEvent 1.0.
    """
    try:
        event = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise _NoMessageError("it is not a JSON object")
    given = {name: value for name, value in event.items() if value is not None}
    if given.get("specversion") != "1.0":
        raise _NoMessageError("specversion is not 1.0")
    _check_attributes(given)
    return given


def _check_attributes(given: dict[str, Any]) -> None:
    for name in ("id", "source", "type"):
        if not given.get(name):
            raise _NoMessageError(f"{name} is absent or empty")
    for name, value in given.items():
        if name in {"data", "data_base64"}:
            continue
        if not _NAME.fullmatch(name):
            raise _NoMessageError("the name of an attribute is not of lower-case letters and digits")
        if not _is_simple(value):
            raise _NoMessageError("an attribute is no text without control characters, integer or boolean")
        if name in _TEXTS and not isinstance(value, str):
            raise _NoMessageError(f"{name} is not text")


def _is_simple(value: object) -> bool:
    """True for what an attribute may be (§ Type System)."""
    if isinstance(value, str):
        return not _CONTROL.search(value)
    return isinstance(value, bool) or (isinstance(value, int) and value in _INTEGERS)


def _message(event: dict[str, Any]) -> dict[str, Any]:
    """Return the Segment message of an event.

    :raises _NoMessageError: there is none.
    """
    filled: dict[str, Any] = {"messageId": f"{event['source']}\n{event['id']}"}  # neither has a line's end
    if "time" in event:
        try:
            parse_rfc3339(event["time"])
        except ValueError:
            raise _NoMessageError("time is no RFC 3339 time") from None
        filled["timestamp"] = event["time"]
    subject = event.get("subject", "")
    anonymous = subject.startswith(_ANONYMOUS)
    named = {"anonymousId": subject.removeprefix(_ANONYMOUS)} if anonymous else {"userId": subject}
    data = _data(event)
    kind = event["type"].removeprefix(_TYPED) if event["type"].startswith(_TYPED) else ""
    if kind in _CALLS:
        body = {**data, "type": kind}
    elif data.get("type") in _CALLS and _names(data):
        body = data
    else:
        ids = {name: data.pop(name) for name in ("userId", "anonymousId") if data.get(name)}
        body = {"type": "track", "event": event["type"], "properties": data, **ids}
    if not _names(body):
        body |= named
    if not _names(body):
        raise _NoMessageError("neither its subject nor its data names anybody")
    body |= {name: value for name, value in filled.items() if not body.get(name)}
    context = body.get("context") or {}
    if not isinstance(context, dict):
        raise _NoMessageError("context is not an object")
    told = ("id", "time", "subject", "specversion", "datacontenttype", "data", "data_base64")
    kept = {name: value for name, value in event.items() if name not in told}
    return {**body, "context": {**context, "cloudevent": kept}}


def _names(body: dict[str, Any]) -> bool:
    return bool(body.get("userId") or body.get("anonymousId"))


def _data(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event's data; empty when it has none.

    :raises _NoMessageError: it is no JSON object.
    """
    media = str(event.get("datacontenttype", "")).partition(";")[0].strip().lower()
    data = event.get("data")
    if "data_base64" in event:
        if data is not None:
            raise _NoMessageError("it has both data and data_base64")
        try:
            data = base64.b64decode(event["data_base64"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise _NoMessageError("data_base64 is not Base64") from None
        if not _is_json(media):
            raise _NoMessageError("datacontenttype is not JSON")
        try:
            data = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _NoMessageError("data_base64 holds no JSON") from None
    if data is None:
        return {}
    if not _is_json(media):
        raise _NoMessageError("datacontenttype is not JSON")
    if not isinstance(data, dict):
        raise _NoMessageError("data is not an object")
    return dict(data)
