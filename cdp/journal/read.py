"""Lines and their checks, pure.

A line is JSON whose last member is ``check``: HMAC-SHA-256 under the journal's chain key over (check of the
line before ‖ the line without it), 16 bytes as hex. The first line's predecessor is 16 zero bytes.

Invariants:

1. A line that was altered, moved, left out or put in fails, and so does everything behind it.
2. What follows the last newline is a line that was being written when its writer died. It was never
   acknowledged: it is dropped. A whole line that does not check is damage or forgery and is refused.
3. Cutting whole lines off the end of a segment shows only against a position noted elsewhere (a backup's
   manifest) or a later segment.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator

import msgspec

from cdp.errors import IntegrityError
from cdp.journal.model import Line, Position

START = bytes(16)
_SUFFIX = len(',"check":"') + 32 + len('"}')
_decode = msgspec.json.Decoder(Line).decode


def check_of(key: bytes, previous: bytes, body: bytes) -> bytes:
    """Return the 16 bytes that bind ``body`` to the line before it."""
    return hmac.digest(key, previous + body, "sha256")[:16]


def write_line(key: bytes, previous: bytes, line: Line) -> tuple[bytes, bytes]:
    """Return (the line as written, its check)."""
    body = msgspec.json.encode(line)
    check = check_of(key, previous, body)
    return body[:-1] + b',"check":"' + check.hex().encode() + b'"}\n', check


def read_segment(name: str, raw: Iterable[bytes], key: bytes) -> Iterator[tuple[Line, Position]]:
    """Yield each line with the position behind it; a torn last line is dropped.

    :param raw: the segment's lines with their newlines, as a binary file yields them.
    :raises IntegrityError: a whole line does not check.
    """
    previous = START
    for number, text in enumerate(raw, 1):
        if not text.endswith(b"\n"):
            return
        body, suffix = text[: -_SUFFIX - 1] + b"}", text[-_SUFFIX - 1 : -1]
        check = check_of(key, previous, body)
        if suffix != b',"check":"' + check.hex().encode() + b'"}':
            raise IntegrityError(
                f"journal segment {name}, line {number}: it was altered, or a line before it is missing; "
                "put back the journal as it was"
            )
        previous = check
        try:
            line = _decode(body)
        except msgspec.DecodeError:
            raise IntegrityError(
                f"journal segment {name}, line {number}: another version of the platform wrote it"
            ) from None
        yield line, Position(number, check.hex())
