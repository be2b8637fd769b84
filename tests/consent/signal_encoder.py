"""Writes consent strings, so that the decoders can be held against what was meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
JANUARY = 17_684_352_000  # 2026-01-15, in tenths of a second


def text_of(bits: str) -> str:
    """Return bits as base64url, filled up with zeros to a whole character."""
    bits += "0" * (-len(bits) % 6)
    return "".join(ALPHABET[int(bits[at : at + 6], 2)] for at in range(0, len(bits), 6))


def number(value: int, width: int) -> str:
    return format(value, f"0{width}b")


def letters(code: str) -> str:
    return "".join(number(ord(letter) - ord("A"), 6) for letter in code)


def flags(numbers: Iterable[int], width: int) -> str:
    held = set(numbers)
    return "".join("1" if place in held else "0" for place in range(1, width + 1))


def ranges(pairs: Sequence[tuple[int, int]]) -> str:
    parts = [
        "0" + number(first, 16) if first == last else "1" + number(first, 16) + number(last, 16)
        for first, last in pairs
    ]
    return number(len(pairs), 12) + "".join(parts)


def vendors(ids: Iterable[int], *, as_ranges: bool = False, top: int | None = None) -> str:
    held = sorted(set(ids))
    highest = (held[-1] if held else 0) if top is None else top
    if as_ranges:
        return number(highest, 16) + "1" + ranges([(one, one) for one in held])
    return number(highest, 16) + "0" + flags(held, highest)


def tcf_core(
    *,
    purposes: Iterable[int] = (),
    interests: Iterable[int] = (),
    consented: str = "",
    interested: str = "",
    restrictions: Sequence[tuple[int, int, Sequence[tuple[int, int]]]] = (),
    updated: int = JANUARY,
    **other: Any,
) -> str:
    """Return a core segment; vendor sections are bits made by ``vendors``."""
    return text_of(
        number(other.get("version", 2), 6)
        + number(other.get("created", updated), 36)
        + number(updated, 36)
        + number(other.get("cmp_id", 31), 12)
        + number(other.get("cmp_version", 2), 12)
        + number(other.get("screen", 1), 6)
        + letters(other.get("language", "EN"))
        + number(other.get("list_version", 120), 12)
        + number(other.get("policy_version", 5), 6)
        + ("1" if other.get("service_specific", True) else "0")
        + "0"
        + flags(other.get("special_features", ()), 12)
        + flags(purposes, 24)
        + flags(interests, 24)
        + "0"
        + letters(other.get("publisher_country", "DE"))
        + (consented or vendors(()))
        + (interested or vendors(()))
        + number(len(restrictions), 12)
        + "".join(number(p, 6) + number(kind, 2) + ranges(pairs) for p, kind, pairs in restrictions)
    )


def disclosed(ids: Iterable[int]) -> str:
    return text_of("001" + vendors(ids))


def fibonacci(value: int) -> str:
    terms = [1, 2]
    while terms[-1] < value:
        terms.append(terms[-1] + terms[-2])
    bits = ""
    for term in reversed([term for term in terms if term <= value]):
        bits = ("1" if term <= value else "0") + bits
        value -= term if term <= value else 0
    return bits + "1"


def gpp_header(ids: Sequence[int]) -> str:
    groups: list[list[int]] = []
    for one in ids:
        if groups and one == groups[-1][-1] + 1:
            groups[-1].append(one)
        else:
            groups.append([one])
    bits, last = "", 0
    for group in groups:
        bits += ("1" if len(group) > 1 else "0") + fibonacci(group[0] - last)
        bits += fibonacci(group[-1] - group[0]) if len(group) > 1 else ""
        last = group[-1]
    return text_of(number(3, 6) + number(1, 6) + number(len(groups), 12) + bits)


def pairs(*values: int) -> str:
    return "".join(number(value, 2) for value in values)
