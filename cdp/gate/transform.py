"""What happens to one value on its way out: pure.

- ``clear``: as it is; a list or object as its JSON text.
- ``mask``: enough for a person to recognise their own value, never its length: ``a***@e***``,
  ``***42`` for a telephone number, ``A***`` for other text of four characters or more, else ``***``.
- ``hash``: the platform's match hash: SHA-256, lower-case hex, of the normalised value (NFC, trimmed,
  lower case; a telephone number as ``+`` and digits). Anybody who knows a candidate value can
  compute it: it is still **personal data**, and is for matching with a recipient that has the value.
- ``pseudonymise``: HMAC-SHA-256 under the destination's key over (category, the subject's random
  secret), 128 bits. Two destinations cannot join theirs, and it says nothing of the value.
- ``generalise``: a level of ``cdp.policy.GENERALISATIONS``, each rendered by ``_GENERALISE``.
- ``drop``: nothing.

Invariants: what cannot be transformed is absent (None), never clear; the empty text is absent, so it is
never hashed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime
from itertools import pairwise
from urllib.parse import urlsplit

import msgspec

from cdp.clock import Micros
from cdp.crypto import pae
from cdp.gate.model import Value
from cdp.policy import Transform

Json = str | int | float | bool | None | list[object] | dict[str, object]
Apply = Callable[[Json], Value]

_NOT_DIGIT = re.compile(r"[^0-9]")
_BANDS = (18, 25, 35, 45, 55, 65)


def applier(transform: Transform, name: str, category: str, now: Micros) -> Apply | None:
    """Return the function that applies ``transform`` to values of one field.

    None for ``drop`` and for ``pseudonymise``, neither of which looks at the value.

    :param name: the field's name, ``category`` its data category.
    :param now: the instant at which ages are reckoned.
    """
    match transform.kind:
        case "clear":
            return _clear
        case "mask":
            return lambda value: _text(value, lambda text: _mask(text, category))
        case "hash":
            return lambda value: _text(value, lambda text: match_hash(text, category))
        case "generalise":
            return _generaliser(transform.argument, name, now)
        case _:
            return None


def pseudonym(destination_key: bytes, category: str, subject_secret: bytes) -> str:
    """Return the subject's pseudonym at a destination: 32 hex digits."""
    return hmac.digest(destination_key, pae(category.encode(), subject_secret), "sha256")[:16].hex()


def match_hash(text: str, category: str) -> str | None:
    """Return the match hash of a value; None when nothing is left after normalisation."""
    normal = unicodedata.normalize("NFC", text).strip().lower()
    if _is_phone(category):
        digits = _NOT_DIGIT.sub("", normal)
        normal = f"+{digits}" if digits else ""
    return hashlib.sha256(normal.encode()).hexdigest() if normal else None


def _clear(value: Json) -> Value:
    if isinstance(value, list | dict):
        return msgspec.json.encode(value).decode()
    return None if value == "" else value


def _text(value: Json, apply: Callable[[str], str | None]) -> str | None:
    """Apply to the text of a scalar; a list or object has no text to mask or match."""
    if value is None or isinstance(value, list | dict):
        return None
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return apply(text) if text else None


def _mask(text: str, category: str) -> str:
    if _is_phone(category):
        digits = _NOT_DIGIT.sub("", text)
        return f"***{digits[-2:]}" if len(digits) > 6 else "***"
    local, at, domain = text.strip().partition("@")
    if at and local and domain:
        return f"{local[0]}***@{domain[0]}***"
    return f"{local[0]}***" if len(local) > 3 else "***"


def _is_phone(category: str) -> bool:
    return "phone" in category.rsplit(".", 1)[-1]


# -- generalise ------------------------------------------------------------------------------------


def _generaliser(level: str, name: str, now: Micros) -> Apply | None:
    if level in _PART_OF_ADDRESS:
        key = name.rsplit(".", 1)[-1]
        return lambda value: _part(value, key, _PART_OF_ADDRESS[level])
    if level == "age_band":
        today = datetime.fromtimestamp(now / 1e6, UTC).date()
        return lambda value: _age_band(value, today)
    generalise = _GENERALISE.get(level)
    return None if generalise is None else lambda value: _text(value, lambda text: _or_none(generalise, text))


def _or_none(apply: Callable[[str], str | None], text: str) -> str | None:
    try:
        return apply(text)
    except ValueError:
        return None


def _part(value: Json, key: str, names: tuple[str, ...]) -> str | None:
    """Return a part of an address, or the value of a field that is itself that part."""
    if isinstance(value, dict):
        value = next((part for name in names if isinstance(part := value.get(name), str)), None)
    elif key not in names:
        return None
    return value.strip() or None if isinstance(value, str) else None


def _date(text: str) -> date:
    return datetime.fromisoformat(text.strip()).date()


def _age_band(value: Json, today: date) -> str | None:
    """Return the band of an age given as a number, or of a date of birth."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        age = int(value)
    else:
        try:
            born = _date(value) if isinstance(value, str) else today.max
        except ValueError:
            return None
        age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    if age < 0:
        return None
    if age < _BANDS[0]:
        return f"under {_BANDS[0]}"
    for low, high in pairwise(_BANDS):
        if age < high:
            return f"{low}-{high - 1}"
    return f"{_BANDS[-1]}+"


def _domain(text: str) -> str | None:
    """Return the domain of an e-mail address or URL."""
    if "@" in text:
        return text.strip().rpartition("@")[2].lower() or None
    return urlsplit(text.strip()).hostname


_PART_OF_ADDRESS = {
    "country": ("country", "country_code", "countryCode"),
    "state": ("state", "region", "province"),
}
_GENERALISE: dict[str, Callable[[str], str | None]] = {
    "year": lambda text: str(_date(text).year),
    "month": lambda text: f"{_date(text):%Y-%m}",
    "domain": _domain,
}
LEVELS = frozenset({"age_band", *_PART_OF_ADDRESS, *_GENERALISE})
"""Every level that is rendered; any other makes the field absent."""
