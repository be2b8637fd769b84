"""The events by which ingest is measured: a made-up shop's, in known shares.

A hundred events bring five identities that nobody knew (a browser; a user and the e-mail address given with
it); thirty carry what is personal (an IP address and a user agent, or traits) and is sealed, two change a
consent, and five are sent again under the message id of an earlier one. The others name a browser, and
whose it is once its user is known. Browsers and users are numbered as they come: user 7 has browser 7. The
same crowd gives the same events, and one goes on where another ended.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

_CONTEXT = {"library": {"name": "analytics-python", "version": "2.4.0"}}
_NAMES = ("Product Viewed", "Product Added", "Product List Viewed", "Order Completed", "Product Clicked")
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_BROWSER, _USER, _CONSENT, _AGAIN = 0.02, 0.015, 0.02, 0.05
_RECENT = 2_000
_PERSONAL = (0.30 - _USER) / (1 - _BROWSER - _USER - _CONSENT - _AGAIN)
_GUESTS = 0.3  # of the events of those who are known


@dataclass
class Crowd:
    """Who is known by now, and how many messages there were."""

    browsers: int = 1
    users: int = 0
    sent: int = 0

    def messages(self, count: int) -> Iterator[dict[str, Any]]:
        """Yield the next ``count`` messages."""
        chance = random.Random(self.sent)
        recent: deque[dict[str, Any]] = deque(maxlen=_RECENT)
        for _ in range(count):
            draw = chance.random()
            if draw < _AGAIN and recent:
                yield chance.choice(recent)
                continue
            message = self._next(chance, draw - _AGAIN)
            message["messageId"] = f"m{self.sent}"
            self.sent += 1
            recent.append(message)
            yield message

    def _next(self, chance: random.Random, draw: float) -> dict[str, Any]:
        if draw < _BROWSER or self.users + 1 >= self.browsers:
            self.browsers += 1
            return _seen(chance, self.browsers - 1)
        if draw < _BROWSER + _USER or not self.users:
            self.users += 1
            return _identified(chance, self.users - 1)
        if draw < _BROWSER + _USER + _CONSENT:
            return _asked(chance, chance.randrange(self.users))
        if chance.random() < _GUESTS:
            return _seen(chance, chance.randrange(self.users, self.browsers))
        user = chance.randrange(self.users)
        return _seen(chance, user) | {"userId": f"u{user}"}

    def bodies(self, count: int, size: int) -> Iterator[tuple[int, bytes]]:
        """Yield (number of events, JSON body) of the next ``count`` messages in batches of ``size``."""
        batch: list[dict[str, Any]] = []
        for message in self.messages(count):
            batch.append(message)
            if len(batch) == size:
                yield size, msgspec.json.encode({"batch": batch})
                batch = []
        if batch:
            yield len(batch), msgspec.json.encode({"batch": batch})


def _seen(chance: random.Random, browser: int) -> dict[str, Any]:
    price, quantity = round(chance.uniform(1, 200), 2), chance.randint(1, 4)
    event: dict[str, Any] = {
        "type": "track",
        "event": chance.choice(_NAMES),
        "anonymousId": f"b{browser}",
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
    if chance.random() < _PERSONAL:
        event["context"] = {**_CONTEXT, "ip": f"192.0.2.{chance.randint(1, 250)}", "userAgent": _AGENT}
    return event


def _identified(chance: random.Random, user: int) -> dict[str, Any]:
    return {
        "type": "identify",
        "anonymousId": f"b{user}",
        "userId": f"u{user}",
        "traits": {
            "email": f"u{user}@mail.example",
            "first_name": f"Heron {user}",
            "country": chance.choice(("France", "Germany", "United Kingdom")),
        },
        "context": _CONTEXT,
    }


def _asked(chance: random.Random, user: int) -> dict[str, Any]:
    said = {"consent": {"categoryPreferences": {"Email": chance.random() < 0.6}}}
    return {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "anonymousId": f"b{user}",
        "userId": f"u{user}",
        "context": {**_CONTEXT, **said},
    }
