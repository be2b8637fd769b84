"""The levels of ``generalise``: what of a value may stay when the value itself may not. Pure.

Invariant: what cannot be generalised is absent (None), never clear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from itertools import pairwise
from urllib.parse import urlsplit

from cdp.clock import Micros, day

_BANDS = (18, 25, 35, 45, 55, 65)


def generaliser(level: str, name: str, now: Micros) -> Callable[[object], str | None] | None:
    """Return the function that generalises values of one field; None for a level that does not exist.

    :param name: the field's name: ``address.state`` is itself the part of an address that ``state`` keeps.
    :param now: the instant at which ages are reckoned.
    """
    if level in _PART_OF_ADDRESS:
        key = name.rsplit(".", 1)[-1]
        return lambda value: _part(value, key, _PART_OF_ADDRESS[level])
    if level == "age_band":
        today = day(now)
        return lambda value: _age_band(value, today)
    generalise = _GENERALISE.get(level)
    return None if generalise is None else lambda value: _or_none(generalise, value)


def _or_none(apply: Callable[[str], str | None], value: object) -> str | None:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        return apply(str(value))
    except ValueError:
        return None


def _part(value: object, key: str, names: tuple[str, ...]) -> str | None:
    """Return a part of an address, or the value of a field that is itself that part."""
    if isinstance(value, Mapping):
        value = next((part for name in names if isinstance(part := value.get(name), str)), None)
    elif key not in names:
        return None
    return value.strip() or None if isinstance(value, str) else None


def _date(text: str) -> date:
    return datetime.fromisoformat(text.strip()).date()


def _age_band(value: object, today: date) -> str | None:
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
