"""The events by which ingest is measured: a made-up shop's, in known shares.

A hundred events bring five identities that nobody knew (a browser; a user and the e-mail address given with
it); thirty carry what is personal (an IP address and a user agent, or traits) and is sealed, two change a
consent, and five are sent again under the message id of an earlier one. The others name a browser, and
whose it is once its user is known. The same seed gives the same events.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

_CONTEXT = {"library": {"name": "analytics-python", "version": "2.4.0"}}
_NAMES = ("Product Viewed", "Product Added", "Product List Viewed", "Order Completed", "Product Clicked")
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_GUEST, _USER, _CONSENT, _AGAIN = 0.02, 0.015, 0.02, 0.05
_RECENT = 2_000
_PERSONAL = (0.30 - _USER) / (1 - _GUEST - _USER - _CONSENT - _AGAIN)


def messages(count: int, seed: int = 7, prefix: str = "") -> Iterator[dict[str, Any]]:
    """Yield ``count`` messages.

    :param prefix: of every id, so that several loads bring people of their own.
    """
    chance = random.Random(seed)
    guests: list[str] = [f"{prefix}g0"]
    users: list[tuple[str, str]] = []
    recent: deque[dict[str, Any]] = deque(maxlen=_RECENT)
    for number in range(count):
        draw = chance.random()
        if draw < _AGAIN and recent:
            yield chance.choice(recent)
            continue
        draw -= _AGAIN
        message: dict[str, Any] = {"messageId": f"{prefix}m{number}"}
        if draw < _GUEST:
            guests.append(f"{prefix}g{number}")
            message |= _seen(chance, guests[-1], None)
        elif draw < _GUEST + _USER or not users:
            guest = guests.pop() if len(guests) > 1 else guests[0]
            users.append((f"{prefix}u{number}", guest))
            message |= _identified(chance, number, *users[-1])
        elif draw < _GUEST + _USER + _CONSENT:
            message |= _asked(chance, *chance.choice(users))
        else:
            user, browser = chance.choice(users)
            if chance.random() < 0.3:
                user, browser = "", chance.choice(guests)
            message |= _seen(chance, browser, user)
        recent.append(message)
        yield message


def _seen(chance: random.Random, browser: str, user: str | None) -> dict[str, Any]:
    name = chance.choice(_NAMES)
    price, quantity = round(chance.uniform(1, 200), 2), chance.randint(1, 4)
    event: dict[str, Any] = {
        "type": "track",
        "event": name,
        "anonymousId": browser,
        "properties": {
            "product_id": f"p{chance.randint(1, 5000)}",
            "category": f"c{chance.randint(1, 40)}",
            "price": price,
            "quantity": quantity,
            "value": round(price * quantity, 2),
            "currency": "EUR",
        },
        "context": _CONTEXT,
    }
    if user:
        event["userId"] = user
    if chance.random() < _PERSONAL:
        event["context"] = {**_CONTEXT, "ip": f"192.0.2.{chance.randint(1, 250)}", "userAgent": _AGENT}
    return event


def _identified(chance: random.Random, number: int, user: str, browser: str) -> dict[str, Any]:
    return {
        "type": "identify",
        "anonymousId": browser,
        "userId": user,
        "traits": {
            "email": f"{user}@mail.example",
            "first_name": f"Heron {number}",
            "country": chance.choice(("France", "Germany", "United Kingdom")),
        },
        "context": _CONTEXT,
    }


def _asked(chance: random.Random, user: str, browser: str) -> dict[str, Any]:
    said = {"consent": {"categoryPreferences": {"Email": chance.random() < 0.6}}}
    return {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "anonymousId": browser,
        "userId": user,
        "context": {**_CONTEXT, **said},
    }


def bodies(count: int, size: int, *, seed: int = 7, prefix: str = "") -> Iterator[tuple[int, bytes]]:
    """Yield (number of events, JSON body) of batches of ``size``."""
    batch: list[dict[str, Any]] = []
    for message in messages(count, seed, prefix):
        batch.append(message)
        if len(batch) == size:
            yield size, msgspec.json.encode({"batch": batch})
            batch = []
    if batch:
        yield len(batch), msgspec.json.encode({"batch": batch})
