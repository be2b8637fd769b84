"""The Segment HTTP tracking format: from the bytes of one call to raw messages.

Steps: inflate (bounded) → parse the envelope → cut the batch into each message's own bytes. The
Content-Type is ignored, because real clients lie in it; gzip is recognised by its header and refused
when it does not inflate. ``integrations`` of a batch, which hardly any client sends, go into each message
under its own; its ``context`` goes beside them, as consent may stand there.
"""

from __future__ import annotations

import zlib
from typing import Any, TypeVar

import msgspec

from cdp.errors import MalformedBodyError, TooLargeError
from cdp.ingest.sources.surrogates import hidden, shown

T = TypeVar("T")
EVENT_TYPES = frozenset({"identify", "track", "page", "screen", "group", "alias"})
_MAX_SHARED = 4096


class Body(msgspec.Struct, frozen=True):
    """A parsed call.

    :param messages: each message's own JSON bytes.
    :param write_key: as given in the body, empty when absent.
    """

    messages: tuple[bytes, ...]
    write_key: str
    sent_at: Any
    context: Any

    def __repr__(self) -> str:
        return "<body>"


class _Batch(msgspec.Struct, frozen=True):
    batch: list[msgspec.Raw]
    writeKey: Any = None  # noqa: N815  # the wire's spelling
    sentAt: Any = None  # noqa: N815  # the field's name on the wire
    context: msgspec.Raw = msgspec.Raw(b"null")  # in a union with None it would take nothing but null
    integrations: msgspec.Raw = msgspec.Raw(b"null")


class _Single(msgspec.Struct, frozen=True):
    writeKey: Any = None  # noqa: N815  # the field's name on the wire
    sentAt: Any = None  # noqa: N815  # the field's name on the wire


_batch_decoder = msgspec.json.Decoder(_Batch)
_single_decoder = msgspec.json.Decoder(_Single)


def read_body(
    raw: bytes, *, encoding: str, single: bool, max_bytes: int, max_event_bytes: int, max_events: int
) -> Body:
    """Parse the body of one ingest call.

    :param raw: the bytes as received.
    :param encoding: the ``Content-Encoding`` header, empty when absent.
    :param single: True for the one-event routes, False for batches.
    :param max_bytes: limit of the inflated body, in bytes.
    :param max_event_bytes: limit of a single-event body, in bytes.
    :param max_events: most messages in a batch.
    :raises TooLargeError: over one of the limits.
    :raises MalformedBodyError: not gzip though it says so, or not the JSON object expected.
    """
    data = inflate(raw, max_bytes) if "gzip" in encoding.lower() else raw
    limit = max_event_bytes if single else max_bytes
    if len(data) > limit:
        raise TooLargeError(f"the body is over the limit of {limit} bytes")
    try:
        if single:
            one, _ = _decoded(_single_decoder, data)
            return Body((data,), _text(one.writeKey), None, None)
        many, signs = _decoded(_batch_decoder, data)
        context = msgspec.json.decode(shown(bytes(many.context), signs))
        msgspec.msgpack.encode(context)  # as it is sealed: with a number over 64 bits it could not be
        shared = msgspec.json.decode(shown(bytes(many.integrations), signs))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        expected = "a JSON object" if single else "a JSON object with a list named 'batch'"
        raise MalformedBodyError(f"the body is not {expected}") from None
    if len(bytes(many.context)) + len(bytes(many.integrations)) > _MAX_SHARED:
        # they are merged into every event, so large ones would be stored thousands of times
        raise TooLargeError(f"the batch's context and integrations are over the limit of {_MAX_SHARED} bytes")
    if len(many.batch) > max_events:
        raise TooLargeError(f"the batch is over the limit of {max_events} events")
    messages = list(map(bytes, many.batch))
    if signs:
        messages = [shown(message, signs) for message in messages]
    if shared:
        messages = [_under(shared, message) for message in messages]
    return Body(tuple(messages), _text(many.writeKey), _text(many.sentAt) or None, context)


def _under(shared: object, raw: bytes) -> bytes:
    """Return a message with the batch's integrations under its own; what is no object stays as it is."""
    try:
        message = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw  # one message is refused, with its cause, where each is looked at
    if not (isinstance(shared, dict) and isinstance(message, dict)):
        return raw
    own = message.get("integrations")
    if own is not None and not isinstance(own, dict):
        return raw
    return msgspec.json.encode({**message, "integrations": {**shared, **(own or {})}})


def _decoded(decoder: msgspec.json.Decoder[T], data: bytes) -> tuple[T, dict[bytes, bytes]]:
    """Return an envelope, and what stands in it for halves of characters (``surrogates.py``)."""
    try:
        return decoder.decode(data), {}
    except msgspec.DecodeError:
        made, signs = hidden(data)
        if not signs:
            raise
        return decoder.decode(made), signs


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def inflate(raw: bytes, limit: int) -> bytes:
    """Inflate at most ``limit`` bytes: a bomb is cut off, not unpacked.

    :raises TooLargeError: there is more.
    :raises MalformedBodyError: it is no gzip, or not all of it.
    """
    engine = zlib.decompressobj(wbits=31)
    try:
        data = engine.decompress(raw, limit + 1)
    except zlib.error:
        raise MalformedBodyError("the body says gzip and is not") from None
    if len(data) > limit:
        raise TooLargeError(f"the inflated body is over the limit of {limit} bytes")
    if not engine.eof:
        raise MalformedBodyError("the gzip body is truncated")
    return data
