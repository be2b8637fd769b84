"""What the ingest routes take, for the OpenAPI document: they read their bodies themselves, as bytes.

A schema says what becomes an event, not what is let in. A call that holds no such object at all, or is too
large, is refused whole (400); of a call that does, each message that does not fit goes to quarantine, and the
answer is 200 (docs/quarantine.md). The limits of sizes are settings and limits of sources, so they are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)

from cdp.identity import MAX_LENGTH
from cdp.ingest import EVENT_TYPES, MAX_FIELDS, MAX_ID, MAX_NAME

_NULL = OpenAPIType.NULL
_KINDS = sorted(EVENT_TYPES)
_SIZE = "At most CDP_MAX_EVENT_BYTES, or the source's limit; `Content-Encoding: gzip` is read."
_SIZES = (
    "At most CDP_MAX_BODY_BYTES, or the source's limit, and CDP_MAX_BATCH_EVENTS messages; `Content-Encoding:"
    " gzip` is read. A message over its own limit, or that is no event, goes to quarantine by itself."
)


def _id(description: str) -> Schema:
    return Schema(
        type=[OpenAPIType.STRING, OpenAPIType.NUMBER, _NULL],
        max_length=MAX_ID,
        pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
        description=description,
    )


def _object(description: str, most: int | None = None) -> Schema:
    return Schema(type=[OpenAPIType.OBJECT, _NULL], max_properties=most, description=description)


_TIME = Schema(
    type=[OpenAPIType.STRING, _NULL],
    description="RFC 3339. Where it cannot be read, it is kept and the time of receipt counts.",
)
_WRITE_KEY = Schema(type=OpenAPIType.STRING, description="Of the source, unless in the Authorization header.")
_FIELDS = {
    "userId": _id("Who it is, to whoever sends this."),
    "anonymousId": _id("The device's or browser's, before anybody signs in."),
    "messageId": Schema(
        type=[OpenAPIType.STRING, OpenAPIType.NUMBER, _NULL],
        description="By it alone the message counts once, however often it is sent.",
    ),
    "timestamp": _TIME,
    "sentAt": _TIME,
    "context": _object("What holds around it: consent, device, page, ids of other systems."),
}
_TRAITS = _object("What is so about whom it names.", MAX_FIELDS)
_PROPERTIES = _object("What is so about what happened.", MAX_FIELDS)
_UNFIT = "without control characters, addresses and long numbers."
_EVENT = Schema(
    type=OpenAPIType.STRING, min_length=1, max_length=MAX_NAME, description=f"What happened, {_UNFIT}"
)
_NAME = Schema(type=[OpenAPIType.STRING, _NULL], max_length=MAX_NAME, description=f"Its name, {_UNFIT}")
_OWN: dict[str, dict[str, Schema]] = {
    "alias": {"previousId": _id("Whom it was before.")},
    "group": {"groupId": _id("Which group."), "traits": _object("Of the group.", MAX_FIELDS)},
    "identify": {"traits": _TRAITS},
    "page": {"name": _NAME, "properties": _PROPERTIES},
    "screen": {"name": _NAME, "properties": _PROPERTIES},
    "track": {"event": _EVENT, "properties": _PROPERTIES},
}


def _message(kind: str, more: dict[str, Schema]) -> Schema:
    """Return the schema of a call's message: it names somebody, and what is tracked has a name."""
    naming = ["userId", "anonymousId", *(["previousId"] if kind == "alias" else [])]
    required = [name for name in ("type",) if name in more] + (["event"] if kind == "track" else [])
    text = Schema(type=[OpenAPIType.STRING, OpenAPIType.NUMBER], min_length=1, max_length=MAX_LENGTH)
    named = [Schema(required=[name], properties={name: text}) for name in naming]
    return Schema(
        type=OpenAPIType.OBJECT,
        properties={**more, **_FIELDS, **_OWN[kind]},
        required=required or None,
        any_of=named,
    )


_BATCH = Schema(
    type=OpenAPIType.OBJECT,
    required=["batch"],
    properties={
        "batch": Schema(
            type=OpenAPIType.ARRAY,
            items=Schema(any_of=[_message(kind, {"type": Schema(const=kind)}) for kind in _KINDS]),
        ),
        "context": Schema(
            type=[OpenAPIType.OBJECT, _NULL],
            description="Under that of each message; with `integrations` at most 4096 bytes.",
        ),
        "integrations": Schema(type=[OpenAPIType.OBJECT, _NULL], description="Likewise."),
        "sentAt": _TIME,
        "writeKey": _WRITE_KEY,
    },
)

_TEXT = Schema(type=OpenAPIType.STRING, min_length=1)
_ATTRIBUTES = ("specversion", "id", "source", "type")
_DATA = _object("A message of the Segment API, or the properties of an event named by `type`.")
_CLOUDEVENT = Schema(
    type=OpenAPIType.OBJECT,
    required=list(_ATTRIBUTES),
    properties={
        **dict.fromkeys(_ATTRIBUTES, _TEXT),
        "specversion": Schema(const="1.0"),
        "time": Schema(type=[OpenAPIType.STRING, _NULL], format=OpenAPIFormat.DATE_TIME),
        "subject": Schema(type=[OpenAPIType.STRING, _NULL], description="The user; `anon:` before a device."),
        "datacontenttype": Schema(type=[OpenAPIType.STRING, _NULL]),
        "data": _DATA,
        "data_base64": Schema(type=[OpenAPIType.STRING, _NULL], content_encoding="base64"),
    },
)


def _body(description: str, schemas: dict[str, Schema]) -> RequestBody:
    return RequestBody(
        required=True,
        description=description,
        content={media: OpenAPIMediaType(schema=schema) for media, schema in schemas.items()},
    )


def _taking(body: RequestBody, headers: Sequence[Parameter] = ()) -> type[Operation]:
    """Return a class of operations that take a body, and headers beside those that their handler declares."""

    @dataclass
    class Taking(Operation):
        def __post_init__(self) -> None:
            self.request_body = body
            self.parameters = [*(self.parameters or ()), *headers] or None

    return Taking


def single(kind: str) -> type[Operation]:
    """Return the class of operations that take one message of a type."""
    return _taking(_body(_SIZE, {"application/json": _message(kind, {"writeKey": _WRITE_KEY})}))


BATCH = _taking(_body(_SIZES, {"application/json": _BATCH}))
"""Operations that take a batch of messages."""

CLOUDEVENTS = _taking(
    _body(
        _SIZES,
        {
            "application/cloudevents+json": _CLOUDEVENT,
            "application/cloudevents-batch+json": Schema(type=OpenAPIType.ARRAY, items=_CLOUDEVENT),
            "application/json": _DATA,
        },
    ),
    [
        Parameter(
            name=f"ce-{name}",
            param_in="header",
            schema=Schema(type=OpenAPIType.STRING),
            description="Of an event whose body is its data alone, which needs it.",
        )
        for name in _ATTRIBUTES
    ],
)
"""Operations that take CloudEvents 1.0 (HTTP protocol binding §3): structured, batched or binary."""
