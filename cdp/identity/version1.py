"""Version 1 of the normalisation, as it was: frozen, since values that it made are indexed and in journals.

What version 2 makes of a value of version 1 is, but for telephone numbers, what it makes of the text that the
value was made of; so identifiers can be indexed anew from what is stored of them.
"""

from __future__ import annotations

import re
import unicodedata

VERSION = 1
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")
_NOT_DIGIT = re.compile(r"\D")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_LENGTH = 512


def normalise(kind: str, value: str) -> str | None:
    """Return the value of version 1 of an identifier, before blocking; None where it has not the form."""
    text = _FORMS.get(kind, str.strip)(value)
    return None if not text or len(text) > _MAX_LENGTH or _CONTROL.search(text) else text


def _email(value: str) -> str:
    text = unicodedata.normalize("NFKC", value).strip().casefold()
    return text if _EMAIL.fullmatch(text) else ""


def _phone(value: str) -> str:
    text = unicodedata.normalize("NFKC", value).strip()
    digits = _NOT_DIGIT.sub("", text)
    if not 7 <= len(digits) <= 15:
        return ""
    return f"+{digits}" if text.startswith("+") else digits


_FORMS = {"email": _email, "phone": _phone}
