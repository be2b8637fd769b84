"""Half characters in JSON: what a client sends that cut a text in the midst of an emoji. Pure.

``JSON.stringify`` writes a lone half of a surrogate pair as its escape (ECMA-262, 25.5.2.3), and the decoder
takes none (RFC 8259, section 8.2): without more, one such text would cost all events of its call. So the
escapes are hidden while the call is cut into its messages, each of which then has its own bytes again and is
judged alone. Called for what could not be decoded, and for nothing else.
"""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # a half
    rb"|\\.",
    re.DOTALL,
)
_UNUSED = [rb"\u%04x" % code for code in range(0xFDD0, 0xFDF0)]
"""Escapes of characters that Unicode keeps for such purposes (chapter 23.7) and no text needs."""


def hidden(data: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return JSON with another escape for each half, and what ``shown`` needs to undo that; {} for none."""
    halves = sorted({found[1] for found in _ESCAPES.finditer(data) if found[1]})
    free = [escape for escape in _UNUSED if escape not in data]
    signs = dict(zip(halves, free, strict=False))
    if not halves or len(signs) < len(halves):
        return data, {}
    made = _ESCAPES.sub(lambda found: signs[found[1]] if found[1] else found[0], data)
    return made, {sign: half for half, sign in signs.items()}


def shown(data: bytes, signs: dict[bytes, bytes]) -> bytes:
    """Return bytes as they were before ``hidden``."""
    for sign, half in signs.items():
        data = data.replace(sign, half)
    return data
