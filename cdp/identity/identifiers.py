"""Normalisation of identifier values, versioned, one pure function per type.

Invariants: normalising twice changes nothing; a value that identifies nobody (empty, blocked, of the
wrong form) becomes None; two spellings that name the same thing become equal. ``VERSION`` is part of
every blind index: changing a rule here means a new version.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from cdp.policy import IdentityRules

VERSION = 1
MAX_LENGTH = 512
_CACHED = 50_000

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")
_NOT_DIGIT = re.compile(r"\D")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Normaliser:
    """Normalises identifier values under the rules of ``policies/identity.yaml``."""

    def __init__(self, rules: IdentityRules) -> None:
        self._rules = rules
        self._patterns = {
            kind: [re.compile(text) for text in rule.blocked.pattern] for kind, rule in rules.types.items()
        }
        self._any_patterns = [re.compile(text) for text in rules.blocked.pattern]
        self._cached = lru_cache(_CACHED)(self._normalise)

    def forget(self) -> None:
        """Drop the values held in memory (a bounded number, as the same people come again and again)."""
        self._cached.cache_clear()

    def __call__(self, kind: str, value: str) -> str | None:
        """Return the normalised value of an identifier of type ``kind``, or None.

        None means that the type is not declared, the value has not the form of its type, or it is
        blocked.
        """
        return self._cached(kind, value)

    def _normalise(self, kind: str, value: str) -> str | None:
        rule = self._rules.of(kind)
        if rule is None:
            return None
        text = _FORMS.get(kind, _plain)(value)
        if not text or len(text) > MAX_LENGTH or _CONTROL.search(text):
            return None
        folded = text.casefold()
        for blocked in (rule.blocked, self._rules.blocked):
            if folded in blocked.exact or folded.startswith(blocked.prefix):
                return None
        patterns = self._patterns.get(kind, ())
        if any(pattern.fullmatch(folded) for pattern in (*patterns, *self._any_patterns)):
            return None
        return text


def _plain(value: str) -> str:
    return value.strip()


def _email(value: str) -> str:
    text = unicodedata.normalize("NFKC", value).strip().casefold()
    return text if _EMAIL.fullmatch(text) else ""


def _phone(value: str) -> str:
    text = unicodedata.normalize("NFKC", value).strip()
    digits = _NOT_DIGIT.sub("", text)
    if not 7 <= len(digits) <= 15:  # ITU-T E.164: at most 15 digits
        return ""
    return f"+{digits}" if text.startswith("+") else digits


_FORMS = {"email": _email, "phone": _phone}
