"""Bit strings in base64url, as the IAB's consent strings are written. Pure.

Invariants: every read costs time in proportion to what it returns, whatever the length of the string; no
input raises anything but ``MalformedSignalError``, whose message holds no value that was sent.
"""

from __future__ import annotations

import base64
import re

from cdp.errors import InvalidInputError

MAX_LENGTH = 16_384
"""The longest consent string that is read, in characters: several times the longest real one."""

_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")
_MAX_TERMS = 16  # of a Fibonacci code: the 16th is 1597, more than anything here is counted to
_MAX_ID = 1023


class MalformedSignalError(InvalidInputError):
    """The consent string cannot be read."""


class Bits:
    """Bits of one base64url segment, read from left to right.

    :raises MalformedSignalError: it is empty, too long or not base64url without padding.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise MalformedSignalError(f"a consent string of more than {MAX_LENGTH} characters")
        if not _ALPHABET.fullmatch(text):
            raise MalformedSignalError("a segment that is not base64url without padding")
        # "A" is six zero bits: whatever the length, the bytes hold all bits that were given
        self._data = base64.urlsafe_b64decode(text + "A" * (-len(text) % 4))
        self._length = 6 * len(text)
        self._at = 0

    @property
    def left(self) -> int:
        """How many bits are left; up to a character's worth may be padding."""
        return self._length - self._at

    def take(self, count: int) -> int:
        """Return the next ``count`` bits as an unsigned number, the first bit highest."""
        end = self._at + count
        if end > self._length:
            raise MalformedSignalError("a segment that ends too early")
        last = (end + 7) >> 3
        value = int.from_bytes(self._data[self._at >> 3 : last])
        self._at = end
        return (value >> (last * 8 - end)) & ((1 << count) - 1)

    def peek(self, count: int) -> int:
        """Return the next ``count`` bits and stay where they begin."""
        at = self._at
        value = self.take(count)
        self._at = at
        return value

    def flag(self) -> bool:
        """Return the next bit."""
        return self.take(1) == 1

    def letters(self) -> str:
        """Return the next two letters, six bits each, A = 0."""
        codes = self.take(6), self.take(6)
        if max(codes) > 25:
            raise MalformedSignalError("a code of two letters that holds something else")
        return "".join(chr(ord("A") + code) for code in codes)

    def numbers(self, width: int) -> frozenset[int]:
        """Return the numbers, from 1, of the set bits among the next ``width``."""
        value = self.take(width)
        return frozenset(number for number in range(1, width + 1) if value >> (width - number) & 1)

    def fibonacci(self) -> int:
        """Return the next number in Fibonacci coding: bits for 1, 2, 3, 5…, ended by the first ``11``."""
        total, term, following, before = 0, 1, 2, False
        for _ in range(_MAX_TERMS):
            bit = self.flag()
            if bit and before:
                return total
            total += term if bit else 0
            term, following, before = following, term + following, bit
        raise MalformedSignalError("a Fibonacci code without an end")

    def ids(self) -> tuple[int, ...]:
        """Return the ids of a Fibonacci range, ascending (GPP: Fibonacci range field)."""
        found: list[int] = []
        last = 0
        for _ in range(self.take(12)):
            is_group = self.flag()
            first = last + self.fibonacci()
            last = first + (self.fibonacci() if is_group else 0)
            if last > _MAX_ID:
                raise MalformedSignalError("an id above every section that could exist")
            found.extend(range(first, last + 1))
        return tuple(found)
