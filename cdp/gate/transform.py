"""What happens to one value on its way out: pure.

- ``clear``: as it is; a list or object as its JSON text.
- ``mask``: enough for a person to recognise their own value, never its length: ``a***@e***``,
  ``***42`` for a telephone number, ``A***`` for other text of four characters or more, else ``***``.
- ``hash``: the platform's match hash: SHA-256, lower-case hex, of the normalised value (NFC, trimmed,
  lower case; a telephone number as ``+`` and digits). Anybody who knows a candidate value can
  compute it: it is still **personal data**, and is for matching with a recipient that has the value.
- ``pseudonymise``: HMAC-SHA-256 under the destination's key over (category, the subject's random
  secret), 128 bits. Two destinations cannot join theirs, and it says nothing of the value.
- ``generalise``: a level of ``cdp.policy.GENERALISATIONS``, each rendered by ``cdp.policy.generaliser``.
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

import msgspec

from cdp.clock import Micros
from cdp.crypto import pae
from cdp.gate.model import Value
from cdp.policy import Transform, generaliser

Json = str | int | float | bool | None | list[object] | dict[str, object]
Apply = Callable[[Json], Value]

REF = "profile_ref"
"""What stands for the category in the pseudonym of a person as a whole."""
_NOT_DIGIT = re.compile(r"[^0-9]")


def applier(transform: Transform, name: str, category: str, now: Micros) -> Apply | None:
    """Return the function that applies ``transform`` to values of one field.

    None for ``drop`` and for ``pseudonymise``, neither of which looks at the value.

    :param name: the field's name, ``category`` its data category.
    :param now: the instant at which ages are reckoned.
    """
    match transform.kind:
        case "clear":
            return as_it_is
        case "mask":
            return lambda value: _text(value, lambda text: _mask(text, category))
        case "hash":
            return lambda value: _text(value, lambda text: match_hash(text, category))
        case "generalise":
            return generaliser(transform.argument, name, now)
        case _:
            return None


def pseudonymiser(destination_key: bytes, category: str) -> Callable[[bytes], str]:
    """Return the function from a subject's 32-byte secret to its pseudonym at a destination: 32 hex digits.

    HMAC-SHA-256 (RFC 2104) of the category and the secret.
    """
    front = pae(category.encode(), bytes(32))[:-32]  # the same for every subject
    return lambda secret: hmac.digest(destination_key, front + secret, "sha256").hex()[:32]


def match_hash(text: str, category: str) -> str | None:
    """Return the match hash of a value; None when nothing is left after normalisation."""
    normal = unicodedata.normalize("NFC", text).strip().lower()
    if _is_phone(category):
        digits = _NOT_DIGIT.sub("", normal)
        normal = f"+{digits}" if digits else ""
    return hashlib.sha256(normal.encode()).hexdigest() if normal else None


def as_it_is(value: Json) -> Value:
    """Return a value in clear: a list or object as its JSON text, the empty text as nothing."""
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
