"""What a mapping file may say. docs/import.md explains it; docs/schemas/import.schema.json is made from here.

A value is the name of a column, or a mapping that says more. Names (of events, of purposes' states) are
themselves, unless they are written as such a mapping.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cdp.consent import EventType

Encoding = Literal[
    "utf-8", "utf-16", "iso-8859-1", "iso-8859-2", "iso-8859-15", "windows-1250", "windows-1251",
    "windows-1252", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr", "koi8-r",
]  # fmt: skip
ValueType = Literal["text", "number", "integer", "boolean", "time", "json"]


class _Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a mapping file."""


class ValueShape(_Shape, frozen=True):
    """Where a value comes from, and what is made of it: one of column, value, text or multiply.

    :param column: its name, or the way to a nested one: ``[address, city]``.
    :param value: it itself, the same for every row.
    :param text: a text with columns in braces; ``{#}`` is the number of the row.
    :param multiply: columns of numbers whose product it is.
    :param values: what each text of the column stands for.
    :param otherwise: what every other text stands for; without it such a row is refused.
    :param default: what an absent one stands for.
    :param decimal: what separates decimals in numbers; the other of the two may group digits.
    :param format: of a time: as ``strptime`` has it, or unix_s, unix_ms, unix_us; ISO 8601 without it.
    :param zone: of a time that names none; that of the file unless given.
    """

    column: tuple[str, ...] = ()
    value: str | None = None
    text: str | None = None
    multiply: tuple[str, ...] = ()
    type: ValueType | None = None
    values: dict[str, str] = {}
    otherwise: str | None = None
    default: str | None = None
    decimal: Literal[".", ","] = "."
    format: str = ""
    zone: str = ""


class ConditionShape(_Shape, frozen=True, rename={"one_of": "in"}):
    """What holds of a row: all that is said here.

    :param one_of: the column is one of these texts.
    :param starts: it begins with one of these.
    :param given: whether it has a value at all.
    """

    column: tuple[str, ...]
    one_of: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    given: bool | None = None


class FormatShape(_Shape, frozen=True):
    """How the file is read.

    :param delimiter: of CSV: one character, or the word tab.
    :param header: whether the first line of CSV names the columns; else ``columns`` does.
    """

    delimiter: str = ","
    quote: str = '"'
    encoding: Encoding = "utf-8"
    header: bool = True
    columns: tuple[str, ...] = ()


class EventShape(_Shape, frozen=True):
    """An event that a row becomes.

    :param name: of what was tracked, of the page or the screen.
    :param when: the row becomes it when all of these hold.
    :param unless: and none of these.
    :param time: when it happened; the row's time unless given.
    """

    name: str | ValueShape
    type: Literal["track", "page", "screen"] = "track"
    when: tuple[ConditionShape, ...] = ()
    unless: tuple[ConditionShape, ...] = ()
    time: str | ValueShape | None = None
    properties: dict[str, str | ValueShape] = {}


class ConsentShape(_Shape, frozen=True):
    """What a row says about one purpose; a row whose state has no value says nothing.

    :param state: granted, refused, withdrawn, objected, opted_out or informed.
    :param time: when it was said; the row's time unless given. A grant needs one.
    :param provenance: where that is known from; sealed with the record.
    """

    purpose: str
    state: str | ValueShape
    when: tuple[ConditionShape, ...] = ()
    unless: tuple[ConditionShape, ...] = ()
    time: str | ValueShape | None = None
    event_type: EventType = "regular"
    expires_at: str | ValueShape | None = None
    notice_id: str = ""
    notice_version: int | None = None
    language: str = ""
    method: str = "import"
    jurisdiction: str = ""
    recipients: tuple[str, ...] = ()
    provenance: str = ""


class MappingFile(_Shape, frozen=True):
    """How the rows of a file become events.

    :param missing: texts that stand for nothing, beside the empty one.
    :param leave_out: rows of which one of these holds are no events; they are counted.
    :param message_id: by which a row is known when it comes again, in this file or another; without it,
        by the file's content and the row's place in it.
    :param identifiers: by type: user_id, anonymous_id, email, phone, device_id, external:…; at least one.
    :param time: when what the row tells happened.
    :param traits: of the person.
    """

    identifiers: dict[str, str | ValueShape]
    description: str = ""
    format: FormatShape = FormatShape()
    time_zone: str = "UTC"
    missing: tuple[str, ...] = ()
    leave_out: tuple[ConditionShape, ...] = ()
    message_id: str | ValueShape | None = None
    time: str | ValueShape | None = None
    traits: dict[str, str | ValueShape] = {}
    events: tuple[EventShape, ...] = ()
    consents: tuple[ConsentShape, ...] = ()
