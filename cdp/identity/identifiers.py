"""Normalisation of identifier values, versioned, one pure function per type.

Invariants: normalising twice changes nothing; a value that identifies nobody (empty, blocked, of the
wrong form) becomes None; two spellings that name the same thing become equal; whatever is sent, nothing
raises. ``VERSION`` is part of every blind index: changing a rule here means a new version, and the rules of
before stay as they were in a file of their own (``version1.py``), since values that they made are indexed,
in journals and on lists.

By type: ``emails.py``, ``phones.py``; ids of devices below. What another system made up (``user_id``,
``anonymous_id``, ``external:<type>``) is opaque: two ids that look alike may be two accounts there, so only
the space around them goes. The name of an external type is taken as it is written, as every name is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple, ParamSpec, TypeVar

from cdp.identity import emails, phones, version1
from cdp.policy import IdentityRules

T = TypeVar("T")
_Given = ParamSpec("_Given")
VERSION = 2
EARLIER = version1.VERSION
"""The version before, whose values are still recognised."""
MAX_LENGTH = 512
_CACHED = 50_000

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_EXTERNAL = re.compile(r"[^\x00-\x20\x7f]{1,100}")
_UUID = re.compile(r"(?:urn:uuid:)?\{?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}?", re.IGNORECASE)
_ZEROS = re.compile(r"[0\W_]+")


class _Forms(NamedTuple):
    """What is made of a text: what identifies somebody by it, now and before, blocked or not (``known``)."""

    usable: str | None
    earlier: str | None
    known: str | None


class Normaliser:
    """Normalises identifier values under the rules of ``policies/identity.yaml``."""

    def __init__(self, rules: IdentityRules) -> None:
        self._rules = rules
        self._patterns = {
            kind: [re.compile(text) for text in rule.blocked.pattern] for kind, rule in rules.types.items()
        }
        self._any_patterns = [re.compile(text) for text in rules.blocked.pattern]
        self._forget: list[Callable[[], None]] = []
        self._cached = self.remembering(self._normalise)

    def remembering(self, read: Callable[_Given, T]) -> Callable[_Given, T]:
        """Return ``read`` with a bounded memory of values, as the same people come again and again."""
        cached = lru_cache(_CACHED)(read)
        self._forget.append(cached.cache_clear)
        return cached  # type: ignore[return-value]  # the cache takes whatever can be hashed

    def forget(self) -> None:
        """Drop the values held in memory."""
        for forget in self._forget:
            forget()

    def __call__(self, kind: str, value: str, region: str | None = None) -> str | None:
        """Return the normalised value of an identifier of type ``kind``, or None.

        None means that the type is not declared, the value has not the form of its type, or it is
        blocked.

        :param region: ISO 3166 code of the country of telephone numbers without a country code.
        """
        return self._cached(kind, value, region).usable

    def earlier(self, kind: str, value: str, region: str | None = None) -> str | None:
        """Return what version 1 made of the same text where that is another value, else None."""
        return self._cached(kind, value, region).earlier

    def known(self, kind: str, value: str, region: str | None = None) -> str | None:
        """Return the value under which somebody may be known: that of this version, else of the one before.

        For look-ups and for what restrains: who was known by what is no identifier any more, or is blocked,
        can still say no.
        """
        return self._cached(kind, value, region).known

    def meant(
        self,
        kind: str,
        value: str,
        region: str | None = None,
        regions: Callable[[], Iterable[str]] = tuple,
    ) -> tuple[str, ...]:
        """Return every value that may be meant by what is ``known``, the likeliest first.

        They are several of a telephone number without a country code only: the number as it is kept where
        nobody knows its country, too, and where no region is given that of each region in use.

        :param regions: returns the regions in use; asked only where they matter.
        """
        bare = self.known(kind, value)
        if kind != "phone" or (bare is not None and bare.startswith("+")):
            return () if bare is None else (bare,)
        tried = (region, None) if region else (None, *sorted(regions()))
        found = (self.known(kind, value, one) for one in tried)
        return tuple(dict.fromkeys(one for one in found if one is not None))

    def before(self, kind: str, value: str) -> str | None:
        """Return what version 1 made of a text, blocked or not."""
        old = version1.normalise(kind, value)
        return old if old is None or _is_text(old) else None

    def anew(self, kind: str, value: str) -> str:
        """Return what becomes of a value that version 1 made; itself where this version has none."""
        return _form(kind, value, None) or value

    def _normalise(self, kind: str, value: str, region: str | None) -> _Forms:
        if self._rules.of(kind) is None:
            return _Forms(None, None, None)
        forms = _form(kind, value, region), version1.normalise(kind, value)
        current, old = (None if form is None or not _is_text(form) else form for form in forms)
        usable, earlier = (
            None if form is None or self.blocks(kind, form) else form for form in (current, old)
        )
        return _Forms(usable, None if old == current else earlier, old if current is None else current)

    def blocks(self, kind: str, normal: str) -> bool:
        """Return whether a normalised value identifies nobody: it is blocked, or its type is not declared."""
        rule = self._rules.of(kind)
        if rule is None:
            return True
        folded = normal.casefold()
        for blocked in (rule.blocked, self._rules.blocked):
            if folded in blocked.exact or folded.startswith(blocked.prefix):
                return True
        patterns = self._patterns.get(kind, ())
        return any(pattern.fullmatch(folded) for pattern in (*patterns, *self._any_patterns))


def _form(kind: str, value: str, region: str | None) -> str | None:
    """Return the value of version 2 before blocking; None where it has not the form of its type."""
    if kind == "email":
        text = emails.normalise(value)
    elif kind == "phone":
        text = phones.normalise(value, region)
    elif kind in _DEVICES:
        text = _device(value)
    elif kind.startswith("external:") and not _EXTERNAL.fullmatch(kind, 9):
        return None
    else:
        text = value.strip()
    return None if not text or len(text) > MAX_LENGTH or _CONTROL.search(text) else text


def _device(value: str) -> str:
    """Return the id of a device: a UUID in lower case with dashes (RFC 9562 section 4); none of zeros only.

    Advertising ids are UUIDs: Apple writes them in upper case, Google in lower case. Both give zeros only for
    whoever does not want to be tracked. An id that is no UUID is opaque.
    """
    text = value.strip()
    uuid = _UUID.fullmatch(text)
    if uuid is not None:
        text = uuid[1].lower()
    return "" if _ZEROS.fullmatch(text) else text


_DEVICES = frozenset(("device_id", "advertising_id", "idfa", "idfv", "gaid", "aaid", "oaid"))


def _is_text(value: str) -> bool:
    """True unless there is half of a surrogate pair in it, which nothing can store."""
    return value.isascii() or not any("\ud800" <= one <= "\udfff" for one in value)
