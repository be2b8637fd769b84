"""What a mapping must be beside its shape: names, formats, zones, constants, each refused with its line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from cdp.consent import CONFIRMING
from cdp.ingest.imports.shapes import ConditionShape, ConsentShape, FormatShape, MappingFile, ValueShape
from cdp.ingest.imports.values import FIELD, UNIX, BadRowError, reader
from cdp.policy import Document

STATES = ("granted", "refused", "withdrawn", "objected", "opted_out", "informed")
"""What an import may say of a purpose; restrictions are an officer's, one by one."""
Place = tuple[str | int, ...]
_OURS = CONFIRMING | {"one_click"}
_TYPES = ("user_id", "anonymous_id", "email", "phone", "device_id")
_EXTERNAL = "external:"
_SOURCES = ("column", "value", "text", "multiply")


def check(document: Document, shape: MappingFile) -> None:
    """Refuse a mapping that says what cannot be.

    :raises PolicyError: it does.
    """
    _check_zone(document, shape.time_zone, "time_zone")
    _check_format(document, shape.format)
    _check_identifiers(document, shape)
    if not (shape.traits or shape.events or shape.consents):
        raise document.error("a row becomes nothing: say which traits, events or consents")
    for place, value in places(shape):
        if isinstance(value, ValueShape):
            _check_value(document, value, place)
        elif not (value if isinstance(value, str) else value.column):
            raise document.error("name the column", *place)
        elif isinstance(value, ConditionShape) and not (
            value.one_of or value.starts or value.given is not None
        ):
            raise document.error("say what holds of the column: in, starts or given", *place)
    for number, consent in enumerate(shape.consents):
        _check_consent(document, consent, number)


def places(shape: MappingFile) -> Iterator[tuple[Place, str | ValueShape | ConditionShape]]:
    """Yield every value and condition of a mapping, with its place. Texts that are names are none."""
    yield from _named(shape, ("message_id", "time"), ())
    for part in ("identifiers", "traits"):
        yield from (((part, name), value) for name, value in getattr(shape, part).items())
    yield from ((("leave_out", place), one) for place, one in enumerate(shape.leave_out))
    for part in ("events", "consents"):
        for number, one in enumerate(getattr(shape, part)):
            at = (part, number)
            for name in ("when", "unless"):
                yield from (((*at, name, place), held) for place, held in enumerate(getattr(one, name)))
            yield from (
                found for found in _named(one, ("name", "state"), at) if not isinstance(found[1], str)
            )
            yield from _named(one, ("time", "expires_at"), at)
            yield from (
                ((*at, "properties", name), value) for name, value in getattr(one, "properties", {}).items()
            )


def _named(shape: Any, names: Iterable[str], at: Place) -> Iterator[tuple[Place, str | ValueShape]]:
    held = ((name, getattr(shape, name, None)) for name in names)
    return (((*at, name), value) for name, value in held if value is not None)


def _check_format(document: Document, given: FormatShape) -> None:
    if given.delimiter != "tab" and len(given.delimiter) != 1:
        raise document.error("the delimiter is one character, or the word tab", "format", "delimiter")
    if len(given.quote) != 1 or given.quote == given.delimiter:
        raise document.error("the quote is one character, and not the delimiter", "format", "quote")
    if given.header == bool(given.columns):
        raise document.error("give columns where the file has no header, and only there", "format")
    if len(set(given.columns)) != len(given.columns):
        raise document.error("a column is named twice", "format", "columns")


def _check_zone(document: Document, name: str, *place: str | int) -> None:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise document.error("no time zone of the IANA database, like Europe/Berlin", *place) from None


def _check_identifiers(document: Document, shape: MappingFile) -> None:
    if not shape.identifiers:
        raise document.error("name at least one identifier", "identifiers")
    for name in shape.identifiers:
        if name not in _TYPES and not (name.startswith(_EXTERNAL) and name != _EXTERNAL):
            options = ", ".join((*_TYPES, _EXTERNAL + "…"))
            raise document.error(f"an identifier is one of: {options}", "identifiers", name)


def _check_value(document: Document, value: ValueShape, place: Place) -> None:
    if sum(getattr(value, name) not in {None, ()} for name in _SOURCES) != 1:
        raise document.error("a value has one of: column, value, text, multiply", *place)
    if value.text is not None and not {"{", "}"}.isdisjoint(FIELD.sub("", value.text)):
        raise document.error("a brace in text is not closed", *place, "text")
    if value.zone:
        _check_zone(document, value.zone, *place, "zone")
    if (value.format or value.zone) and not (value.type == "time" or _is_time(place)):
        raise document.error("format and zone are of times: say type: time", *place)
    if value.otherwise is not None and not value.values:
        raise document.error("otherwise needs values", *place, "otherwise")
    if value.values and (value.multiply or value.value is not None):
        raise document.error("values are of a column or a text", *place, "values")
    _check_pattern(document, value.format, (*place, "format"))
    for text in (value.value, value.default, value.otherwise, *value.values.values()):
        if text is not None:
            _check_constant(document, value, text, place)


def _check_pattern(document: Document, pattern: str, place: Place) -> None:
    if not pattern or pattern in UNIX:
        return
    try:
        datetime.strptime(datetime(2001, 2, 3, tzinfo=UTC).strftime(pattern), pattern)  # noqa: DTZ007  # a trial
    except ValueError:
        raise document.error("no format that strptime reads", *place) from None


def _check_constant(document: Document, value: ValueShape, text: str, place: Place) -> None:
    """Refuse a text of the mapping itself that its own type cannot be made of."""
    kind = "time" if _is_time(place) else value.type
    fixed = ValueShape(value=text, type=kind, decimal=value.decimal, format=value.format)
    try:
        reader(fixed, (), "UTC", "a text that stands here")
    except BadRowError as error:
        raise document.error(str(error), *place) from None


def _check_consent(document: Document, consent: ConsentShape, number: int) -> None:
    at: Place = ("consents", number)
    state = consent.state
    said: Iterable[str | None] = [state] if isinstance(state, str) else [
        *state.values.values(), state.otherwise, state.default, state.value
    ]  # fmt: skip
    if any(one is not None and one not in STATES for one in said):
        raise document.error(f"a state is one of: {', '.join(STATES)}", *at, "state")
    if consent.method in _OURS:
        raise document.error("only links of ours record that method", *at, "method")


def _is_time(place: Place) -> bool:
    """True for what a mapping itself calls a time, whatever type it gives it."""
    return place[-1] in {"time", "expires_at"} and not {"properties", "traits"} & set(place[:-1])
