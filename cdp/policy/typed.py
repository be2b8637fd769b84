"""A value of JSON as a value of its declared type: what two readers have to agree on to compare it.

A value of another type than declared reads as nothing (None), as do numbers that are not finite. Numbers
become floats (−0 is 0), times ``Micros``; a list is its JSON, with the keys of objects in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from cdp.clock import parse_rfc3339
from cdp.policy.declared import ValueType

Typed = str | float | int | bool


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number + 0.0 if math.isfinite(number) else None


def _boolean(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _time(value: object) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        return parse_rfc3339(value)
    except ValueError:
        return None


def _list(value: object) -> str | None:
    return msgspec.json.encode(value, order="sorted").decode() if isinstance(value, list) else None


TYPED: dict[ValueType, Callable[[object], Typed | None]] = {
    "string": _string,
    "number": _number,
    "boolean": _boolean,
    "time": _time,
    "list": _list,
}
"""Declared type → the function that reads decoded JSON as it."""
