"""terms: what a failed message is found again by, without opening it. Pure.

A text of a message may be an identifier of any type, in any spelling that a version of the normaliser, the
rules of a day and a source's region make the same value. So a term is coarser than a value: two texts that
are one value always share a term; two that share one may be two values, which whoever opens the message tells
apart. Nothing here depends on policies, so what was indexed under earlier ones is found under later ones.

By kind of term: letters and digits alone, without case (ids, devices); those before the ``@`` and any ``+``
(addresses: providers fold what is behind it, and domains have several spellings); the last six digits, or
four of a short number (telephone numbers, whatever prefix is before them; an extension is cut off).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

MOST_TERMS = 400
"""Of one message; one with more is opened whenever somebody is looked for."""
_LONGEST = 1_000  # characters: no identifier has more
_SHORT, _LONG = 4, 8  # digits from which on a text may be a number, and a number with its prefix
_PREFIXES = re.compile(r"^(?:mailto|tel|urn:uuid):")
_FILLERS = re.compile("[\u115f\u1160\u3164\uffa0]")  # letters that nobody sees
_EXTENSION = re.compile(r"[^\W\d_]+|[#;,]")
_KEYPAD = str.maketrans("abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999")
_VANITY = re.compile(r"[+(]?\d[\d\s().+/-]*(?:[a-z][\s().-]*){3,}[\d\s().a-z-]*")
_OWN = frozenset(
    {
        "type", "messageId", "anonymousId", "userId", "previousId", "groupId", "context", "properties",
        "traits", "timestamp", "originalTimestamp", "sentAt", "receivedAt", "event", "name", "writeKey",
        "channel", "version", "integrations", "library", "page", "url", "path", "title", "referrer", "search",
        "email", "phone", "locale", "timezone", "userAgent", "ip", "device", "os", "app", "screen",
    }
)  # fmt: skip
"""Names of the format's own fields, which are nobody's."""


def message_terms(*said: Any) -> frozenset[str] | None:
    """Return the terms of every text in what was said, of the names of fields, too; None where too many."""
    found: set[str] = set()
    for text in texts(said):
        if text not in _OWN:
            found |= terms(text)
            if len(found) > MOST_TERMS:
                return None
    return frozenset(found)


def sought(value: str) -> set[str]:
    """Return the terms of which every spelling of an identifier's ``value`` has one."""
    digits = _digits(value)
    short = {f"#{digits[-_SHORT:]}"} if len(digits) >= _SHORT else set()
    return terms(value) | short


def terms(text: str) -> set[str]:
    """Return the terms of one text."""
    text = text.strip()
    if not text or len(text) > _LONGEST:
        return set()
    plain = _PREFIXES.sub("", _folded(text).strip())
    found = {_bare(plain) or text}
    local, at, _ = plain.rpartition("@")
    if at:
        found.add("@" + (_bare(local.partition("+")[0]) or local))
    if any(map(str.isdigit, plain)):
        found |= _numbers(plain)
    return found


def texts(said: Any) -> Iterator[str]:
    """Yield every text in a value, keys included; a number as the text that an identifier may be."""
    waiting = [said]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            waiting += one.keys()
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, int | float):
            yield str(one)


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    for _ in range(2):  # folding may make what the normal form changes again
        text = unicodedata.normalize("NFKC", text).casefold()
    return _FILLERS.sub("", unicodedata.normalize("NFKC", text))


def _bare(text: str) -> str:
    return text if text.isalnum() else "".join(filter(str.isalnum, text))


def _digits(text: str) -> str:
    return "".join(str(unicodedata.digit(one)) for one in text if one.isdigit())


def _numbers(text: str) -> set[str]:
    """Return the ends of the numbers that a text may be: as a whole, and without an extension."""
    number = next((part for part in _EXTENSION.split(text) if len(_digits(part)) >= _SHORT), "")
    spelt = text.translate(_KEYPAD) if _VANITY.fullmatch(text) else ""
    written = {_digits(text), _digits(number), _digits(spelt)}
    return {f"#{one[-6:] if len(one) >= _LONG else one[-_SHORT:]}" for one in written if len(one) >= _SHORT}
