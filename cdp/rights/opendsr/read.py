"""Reading what others say in OpenDSR 2.0: pure.

Invariants: a message never repeats a value that was sent; of a body that does not fit nothing is taken. What
the standard leaves open is strict where a mistake would lose an identity, and lenient where it would not:
a key of our own extension that we do not know is refused, any other key of the body is passed over.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from cdp.clock import DAY, Micros, parse_rfc3339
from cdp.errors import InvalidInputError, MalformedBodyError
from cdp.rights.opendsr.model import (
    ASKED_KINDS,
    IDENTITY_TYPES,
    REGULATIONS,
    Status,
    Submission,
)

MAX_CALLBACKS = 10
MAX_IDENTITIES = 100
MAX_VALUE = 512
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_FORMATS = ("raw", "sha1", "md5", "sha256")
_T = TypeVar("_T")
_Value = Annotated[str, Meta(min_length=1, max_length=MAX_VALUE)]
_FUTURE = DAY  # a controller's clock may be ahead, by no more


class _Identity(msgspec.Struct, frozen=True):
    identity_type: str
    identity_value: _Value
    identity_format: str


class _Own(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the extension under our own domain may say."""

    user_ids: Annotated[tuple[_Value, ...], Meta(max_length=MAX_IDENTITIES)] = ()
    anonymous_ids: Annotated[tuple[_Value, ...], Meta(max_length=MAX_IDENTITIES)] = ()


class _Request(msgspec.Struct, frozen=True):
    subject_request_id: str
    subject_request_type: str
    submitted_time: str
    regulation: str | None = None
    subject_identities: Annotated[tuple[_Identity, ...], Meta(max_length=MAX_IDENTITIES)] = ()
    api_version: str | None = None
    status_callback_urls: Annotated[tuple[str, ...], Meta(max_length=MAX_CALLBACKS)] = ()
    extensions: dict[str, msgspec.Raw] = {}


class Told(msgspec.Struct, frozen=True):
    """What a processor says of a request of ours: in an answer, or in a callback.

    :param request_status: None in the answer to a new request, which is pending.
    :param status_callback_url: in a callback: which of our addresses it is for.
    """

    subject_request_id: str
    request_status: Status | None = None
    expected_completion_time: str | None = None
    status_callback_url: str | None = None

    def expected_at(self) -> Micros | None:
        """Return by when it wants to be done; None where it does not say that in RFC 3339."""
        return _time(self.expected_completion_time or "")


class Discovered(msgspec.Struct, frozen=True):
    """What a processor says of itself (section 4)."""

    api_version: str
    supported_subject_request_types: tuple[str, ...]
    processor_certificate: str


def _time(text: str) -> Micros | None:
    """Return the instant of an RFC 3339 text (5.6); None for what is none."""
    try:
        return parse_rfc3339(text) if _RFC3339.fullmatch(text) else None
    except ValueError:
        return None


def is_request_id(text: str) -> bool:
    """Return whether a text is a UUID of version 4 in lower case (RFC 9562, 5.4)."""
    return _UUID4.fullmatch(text) is not None


def read_submission(
    raw: bytes,
    *,
    domain: str,
    now: Micros,
    declared: Callable[[str], bool],
    check_url: Callable[[str], None],
) -> Submission:
    """Read a request of a controller (section 5).

    :param domain: our own, under which an extension is for us.
    :param declared: tells whether an identifier type of ours can be looked up.
    :param check_url: refuses what is never called back.
    :raises MalformedBodyError: it is no JSON.
    :raises InvalidInputError: it does not say what it has to; the message names the field.
    """
    body = _decoded(raw, _Request)
    if not is_request_id(body.subject_request_id):
        raise InvalidInputError("subject_request_id is no UUID of version 4 in lower case")
    kind = next((one for one in ASKED_KINDS if one == body.subject_request_type), None)
    if kind is None:
        raise InvalidInputError("subject_request_type is none of access, portability and erasure")
    stated = "gdpr" if body.regulation is None else body.regulation
    regulation = next((one for one in REGULATIONS if one == stated), None)
    if regulation is None:
        raise InvalidInputError("regulation is neither gdpr nor ccpa")
    if body.api_version is not None and body.api_version.partition(".")[0] not in {"1", "2"}:
        raise InvalidInputError("api_version is none that is spoken here")
    submitted_at = _time(body.submitted_time)
    if submitted_at is None or submitted_at < 0:
        raise InvalidInputError("submitted_time is not an RFC 3339 time since 1970")
    if submitted_at > now + _FUTURE:
        raise InvalidInputError("submitted_time lies in the future")
    for url in body.status_callback_urls:
        check_url(url)
    named = [*_named(body.subject_identities, declared), *_extended(body.extensions.get(domain), declared)]
    identifiers = tuple(dict.fromkeys(one for one in named if one is not None))
    if not identifiers:
        raise InvalidInputError("no identity that is looked up here is named; /v2/discovery says which are")
    return Submission(
        subject_request_id=body.subject_request_id,
        kind=kind,
        regulation=regulation,
        regulation_given=body.regulation is not None,
        identifiers=identifiers,
        ignored=named.count(None),
        submitted_at=min(submitted_at, now),
        callbacks=tuple(dict.fromkeys(body.status_callback_urls)),
    )


def read_told(raw: bytes) -> Told:
    """Read what a processor says of a request of ours.

    :raises MalformedBodyError: it is no JSON.
    :raises InvalidInputError: it does not say what it has to.
    """
    return _decoded(raw, Told)


def read_discovered(raw: bytes) -> Discovered:
    """Read what a processor says of itself.

    :raises MalformedBodyError: it is no JSON.
    :raises InvalidInputError: it does not say what it has to.
    """
    return _decoded(raw, Discovered)


def read_signature(header: str) -> bytes:
    """Return the signature in a header; empty for what is none. Folded lines leave white space in it."""
    try:
        return base64.b64decode("".join(header.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _named(
    identities: tuple[_Identity, ...], declared: Callable[[str], bool]
) -> Iterator[tuple[str, str] | None]:
    """Yield each identity under every type of ours that it may be; None for one that is not looked up."""
    for identity in identities:
        if identity.identity_type not in IDENTITY_TYPES:
            raise InvalidInputError("an identity_type in subject_identities is none of OpenDSR 2.0")
        if identity.identity_format not in _FORMATS:
            raise InvalidInputError("an identity_format in subject_identities is none of OpenDSR 2.0")
        ours = [kind for kind in IDENTITY_TYPES[identity.identity_type] if declared(kind)]
        if identity.identity_format == "raw" and ours:
            yield from ((kind, identity.identity_value) for kind in ours)
        else:
            yield None


def _extended(raw: msgspec.Raw | None, declared: Callable[[str], bool]) -> Iterator[tuple[str, str] | None]:
    if raw is None:
        return
    own = _decoded(bytes(raw), _Own, "extensions: what is under this domain")
    for kind, values in (("user_id", own.user_ids), ("anonymous_id", own.anonymous_ids)):
        for value in values:
            yield (kind, value) if declared(kind) else None


def _decoded(raw: bytes, kind: type[_T], what: str = "the body") -> _T:
    try:
        decoded: _T = msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        place = str(error).rpartition(" - at `$")[2].rstrip("`") if " - at `$" in str(error) else ""
        missing = re.search(r"missing required field `(\w+)`", str(error))
        lacks = f" lacks {missing[1]}" if missing else f" does not fit{_sayable(place)}"
        raise InvalidInputError(f"{what}{lacks}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise MalformedBodyError(f"{what} is no JSON that can be read") from None
    return decoded


def _sayable(place: str) -> str:
    """Return where a body does not fit, in the names of our own fields: a key may be somebody's."""
    known = {*_Request.__struct_fields__, *_Identity.__struct_fields__, *Told.__struct_fields__}
    names = [name for name in re.findall(r"\.(\w+)", place) if name in known]
    return f" at {'.'.join(names)}" if names else ""
