"""One value of a row: where it stands, and what is made of it.

A ``Reader`` takes (row, number of the row) and returns the value, None for what is absent. Invariant: what it
says of a value that cannot be read names columns, types and formats, never the value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache, partial
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import msgspec

from cdp.clock import Micros, micros, parse_rfc3339, rfc3339
from cdp.errors import InvalidInputError
from cdp.ingest.imports.shapes import ConditionShape, ValueShape, ValueType

Row = dict[str, Any]
Reader = Callable[[Row, int], Any]
Test = Callable[[Row], bool]

ROW_NUMBER = "#"
FIELD = re.compile(r"\{([^{}]+)\}")
UNIX = {"unix_s": 1_000_000, "unix_ms": 1_000, "unix_us": 1}
_FLAGS = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_LARGEST = 1 << 63
_TIMES = 10_000


class BadRowError(InvalidInputError):
    """Ends the reading of one row; becomes its ``Reject``."""


def bad(cause: str) -> NoReturn:
    """End the reading of a row."""
    raise BadRowError(cause)


def reader(shape: str | ValueShape, missing: Collection[str], zone: str, place: str) -> Reader:
    """Return what reads a value.

    :param missing: texts that stand for nothing.
    :param zone: of times that name none.
    :param place: where the mapping says so, for causes.
    """
    if isinstance(shape, str):
        shape = ValueShape(column=(shape,))
    if shape.value is not None:
        fixed = _typed(shape.value, shape, shape.zone or zone, place)
        return lambda *_: fixed
    given = _given(shape, frozenset({"", *missing}), place)
    if not (shape.values or shape.type or shape.default is not None):
        return given
    return partial(_made, given, shape, shape.zone or zone, place)


def test(shape: ConditionShape, missing: Collection[str]) -> Test:
    """Return what tells whether a condition holds of a row."""
    nothing = frozenset({"", *missing})

    def holds(row: Row) -> bool:
        found = _at(row, shape.column)
        given = not (found is None or (isinstance(found, str) and found.strip() in nothing))
        text = _as_text(found) if given else None
        return (
            (shape.given is None or shape.given == given)
            and (not shape.one_of or text in shape.one_of)
            and (not shape.starts or (text is not None and text.startswith(shape.starts)))
        )

    return holds


def columns(shape: str | ValueShape | ConditionShape) -> set[str]:
    """Return the columns that a value or a condition is read from."""
    if isinstance(shape, str):
        return {shape}
    found = set(shape.column[:1])
    if isinstance(shape, ValueShape):
        found |= {*shape.multiply, *FIELD.findall(shape.text or "")} - {ROW_NUMBER}
    return found


def instant(value: Any, pattern: str, zone: str) -> Micros:
    """Return the instant that a text or a number names.

    :param pattern: as ``ValueShape.format``.
    :param zone: of one that names none.
    :raises ValueError: it names none.
    """
    if pattern in UNIX:
        return _unix(value, UNIX[pattern])
    return _local(str(value).strip(), pattern, zone)


def text_of(value: Any, place: str) -> str:
    """Return a value as text; a list or an object is none."""
    text = _as_text(value)
    return bad(f"{place} is a list or an object") if text is None else text


# -- inside -----------------------------------------------------------------------------------------


def _given(shape: ValueShape, missing: frozenset[str], place: str) -> Reader:
    if shape.multiply:
        factors = [(name, ValueShape(column=(name,), decimal=shape.decimal)) for name in shape.multiply]

        def product(row: Row, _: int) -> Any:
            made = Decimal(1)
            for name, factor in factors:
                found = _present(row.get(name), missing)
                if found is None:
                    return None
                made *= Decimal(str(_number(found, factor, place)))
            return _finite(float(made), place)

        return product
    if shape.text is not None:
        text = shape.text

        def filled(row: Row, number: int) -> Any:
            def field(match: re.Match[str]) -> str:
                name = match[1]
                if name == ROW_NUMBER:
                    return str(number)
                found = _present(row.get(name), missing)
                return bad(f"{place} has no value") if found is None else text_of(found, place)

            return FIELD.sub(field, text)

        return filled
    if len(shape.column) == 1:
        (name,) = shape.column
        return lambda row, _: _present(row.get(name), missing)
    return lambda row, _: _present(_at(row, shape.column), missing)


def _present(found: Any, missing: frozenset[str]) -> Any:
    return None if isinstance(found, str) and (found in missing or found.strip() in missing) else found


def _at(row: Row, path: tuple[str, ...]) -> Any:
    found: Any = row
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _made(given: Reader, shape: ValueShape, zone: str, place: str, row: Row, number: int) -> Any:
    found = given(row, number)
    if found is None:
        return None if shape.default is None else _typed(shape.default, shape, zone, place)
    if shape.values:
        text = text_of(found, place)
        found = shape.values.get(text, shape.otherwise)
        if found is None:
            bad(f"{place}: its text is none of those that the mapping knows")
    return _typed(found, shape, zone, place)


def _typed(value: Any, shape: ValueShape, zone: str, place: str) -> Any:
    kind = shape.type
    if kind is None:
        return value
    if kind == "time":
        try:
            return rfc3339(instant(value, shape.format, zone))
        except (ValueError, OverflowError, TypeError):
            bad(f"{place} is not the time that the mapping says")
    return _CONVERSIONS[kind](value, shape, place)


def _text(value: Any, _: ValueShape, place: str) -> str:
    return text_of(value, place)


def _number(value: Any, shape: ValueShape, place: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(value, place)
    text = text_of(value, place).strip()
    grouping = "," if shape.decimal == "." else "."
    text = text.replace(grouping, "").replace(shape.decimal, ".")
    if _INTEGER.fullmatch(text):
        return _finite(int(text), place)
    return _finite(float(text), place) if _NUMBER.fullmatch(text) else bad(f"{place} is not a number")


def _finite(value: float, place: str) -> float:
    if isinstance(value, float) and not math.isfinite(value):
        bad(f"{place} is not a finite number")
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        bad(f"{place} has more than 64 bits")
    return value


def _integer(value: Any, shape: ValueShape, place: str) -> int:
    number = _number(value, shape, place)
    if number != int(number):
        bad(f"{place} is not a whole number")
    return int(_finite(int(number), place))


def _flag(value: Any, _: ValueShape, place: str) -> bool:
    if isinstance(value, bool):
        return value
    found = _FLAGS.get(text_of(value, place).strip().lower())
    return bad(f"{place} is neither true nor false") if found is None else found


def _json(value: Any, _: ValueShape, place: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return bad(f"{place} is not JSON")


_CONVERSIONS: dict[ValueType, Callable[[Any, ValueShape, str], Any]] = {
    "text": _text,
    "number": _number,
    "integer": _integer,
    "boolean": _flag,
    "json": _json,
}


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


def _unix(value: Any, unit: int) -> Micros:
    try:
        at = int(Decimal(str(value).strip()) * unit)
    except (InvalidOperation, OverflowError):
        raise ValueError("no number") from None
    return parse_rfc3339(rfc3339(at))  # within the years that can be written


@lru_cache(_TIMES)
def _local(text: str, pattern: str, zone: str) -> Micros:
    moment = datetime.strptime(text, pattern) if pattern else datetime.fromisoformat(text)  # noqa: DTZ007  # next
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    at = micros(moment)
    rfc3339(at)  # within the years that can be written
    return at
