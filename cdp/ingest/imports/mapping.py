"""A mapping file → how each row is read (``RowMapping``).

Everything that can be wrong with a mapping is found before the first row: shapes, names, formats, zones, and
columns that the file does not have, each with its line.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any

import msgspec

from cdp.errors import InvalidInputError, PolicyError
from cdp.ingest.imports.check import check, places
from cdp.ingest.imports.shapes import ConsentShape, EventShape, FormatShape, MappingFile, ValueShape
from cdp.ingest.imports.values import Reader, Test, columns, reader, test
from cdp.policy import Document, document_schema

_FILE = "mapping"


class MappedEvent(msgspec.Struct, frozen=True):
    """An event that a row becomes when ``holds``."""

    shape: EventShape
    holds: Test
    name: Reader
    time: Reader | None
    properties: tuple[tuple[str, Reader], ...]


class MappedConsent(msgspec.Struct, frozen=True):
    """What a row says about a purpose when ``holds``."""

    shape: ConsentShape
    holds: Test
    state: Reader
    time: Reader | None
    expires_at: Reader | None


class RowMapping(msgspec.Struct, frozen=True, kw_only=True):
    """How the rows of one file are read.

    :param file: SHA-256 of the file, hex: what its rows are known by.
    :param plain: without a mapping each row is a message itself, and the rest is empty.
    """

    file: str
    plain: bool = False
    leave_out: Test | None = None
    message_id: Reader | None = None
    identifiers: tuple[tuple[str, Reader], ...] = ()
    time: Reader | None = None
    traits: tuple[tuple[str, Reader], ...] = ()
    events: tuple[MappedEvent, ...] = ()
    consents: tuple[MappedConsent, ...] = ()


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a mapping file, for editors."""
    return document_schema(MappingFile)


class MappingText:
    """A mapping file that was found to be right.

    :param text: YAML; empty for no mapping.
    :raises InvalidInputError: it is wrong; names line and fix.
    """

    def __init__(self, text: str) -> None:
        try:
            self._document = Document(_FILE, text.encode()) if text else None
            self.shape = None if self._document is None else self._document.read(MappingFile)
            if self._document is not None and self.shape is not None:
                check(self._document, self.shape)
        except PolicyError as error:
            raise InvalidInputError(error.message) from None

    @property
    def format(self) -> FormatShape:
        """How the file is read."""
        return FormatShape() if self.shape is None else self.shape.format

    @property
    def needs_file(self) -> bool:
        """True where a row is known by its place in the file."""
        return self.shape is None or self.shape.message_id is None

    def check_names(self, purposes: Collection[str], recipients: Collection[str]) -> None:
        """Refuse purposes and recipients that the policies do not declare.

        :raises InvalidInputError: there is one.
        """
        if self.shape is None or self._document is None:
            return
        try:
            for number, consent in enumerate(self.shape.consents):
                at = ("consents", number)
                self._document.check(consent.purpose, purposes, "the purpose", *at, "purpose")
                for name in consent.recipients:
                    self._document.check(name, recipients, "the recipient", *at, "recipients")
        except PolicyError as error:
            raise InvalidInputError(error.message) from None

    def check_columns(self, held: Collection[str]) -> None:
        """Refuse columns that the file does not have.

        :raises InvalidInputError: there is one.
        """
        if self._document is None or self.shape is None:
            return
        try:
            for place, shape in places(self.shape):
                for name in sorted(columns(shape)):
                    self._document.check(name, held, "the file's column", *place)
        except PolicyError as error:
            raise InvalidInputError(error.message) from None

    @staticmethod
    def compiled(text: str, file: str) -> RowMapping:
        """Return how a mapping that was found to be right reads the rows of a file."""
        return _compiled(text, file)


@lru_cache(64)
def _compiled(text: str, file: str) -> RowMapping:
    shape = MappingText(text).shape
    if shape is None:
        return RowMapping(file=file, plain=True)
    missing, zone = shape.missing, shape.time_zone

    def value(given: str | ValueShape, place: str) -> Reader:
        return reader(given, missing, zone, place)

    def named(given: str | ValueShape, place: str) -> Reader:
        return value(ValueShape(value=given) if isinstance(given, str) else given, place)

    def time(given: str | ValueShape | None, place: str) -> Reader | None:
        if given is None:
            return None
        if isinstance(given, str):
            given = ValueShape(column=(given,))
        return value(msgspec.structs.replace(given, type="time"), place)

    def holds(one: EventShape | ConsentShape) -> Test:
        needed = [test(held, missing) for held in one.when]
        barred = [test(held, missing) for held in one.unless]
        return lambda row: all(held(row) for held in needed) and not any(held(row) for held in barred)

    left_out = [test(one, missing) for one in shape.leave_out]
    return RowMapping(
        file=file,
        leave_out=lambda row: any(held(row) for held in left_out),
        message_id=None if shape.message_id is None else value(shape.message_id, "message_id"),
        identifiers=tuple((name, value(one, name)) for name, one in shape.identifiers.items()),
        time=time(shape.time, "time"),
        traits=tuple((name, value(one, f"traits.{name}")) for name, one in shape.traits.items()),
        events=tuple(
            MappedEvent(
                one,
                holds(one),
                named(one.name, f"events[{number}].name"),
                time(one.time, f"events[{number}].time"),
                tuple(
                    (name, value(held, f"events[{number}].properties.{name}"))
                    for name, held in one.properties.items()
                ),
            )
            for number, one in enumerate(shape.events)
        ),
        consents=tuple(
            MappedConsent(
                one,
                holds(one),
                named(one.state, f"consents[{number}].state"),
                time(one.time, f"consents[{number}].time"),
                time(one.expires_at, f"consents[{number}].expires_at"),
            )
            for number, one in enumerate(shape.consents)
        ),
    )
