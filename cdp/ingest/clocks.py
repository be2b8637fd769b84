"""clocks: what a message says of its times → when it occurred. Pure.

The skew of a client's clock is corrected as the Segment tracking API does it: ``occurred = received − (sent −
stamped)``, by the message's own ``sentAt``, else the batch's; a date of years ago is corrected by as little
as one of today. Without ``sentAt`` an event occurred when it was stamped, and so it did where ``sentAt`` lies
more than seven days from the receipt, or before the stamp by more than that: such a clock is not worth
correcting by. Without a stamp that can be read it occurred when it was received. Text without a zone is UTC;
a number is no time, for it does not say of what unit.

Invariant: all four times are kept. Stamp, correction and receipt are the event's; ``sent`` follows from them
(``received − (occurred − stamped)``) where it was used. What was not, or could not be read, is sealed with
the event as it was sent: an event that holds ``sentAt`` there was not corrected by it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from prometheus_client import Counter

from cdp.clock import DAY, Micros, parse_rfc3339
from cdp.ingest.model import Delivery

_SKEW = 7 * DAY
UNUSED = Counter(
    "cdp_ingest_unused_times",
    "Times of events that were not used: not readable, without one they correct, or too far off",
    ["field"],
)


class Times(NamedTuple):
    """When an event was stamped and when it occurred.

    :param dated: the client gave a stamp that can be read.
    :param unused: the times that nothing was made of, as they were sent.
    """

    stamped: Micros
    occurred: Micros
    dated: bool
    unused: dict[str, Any]


def times(body: dict[str, Any], delivery: Delivery) -> Times:
    """Return when a message was stamped and when it occurred."""
    unused: dict[str, Any] = {}
    stamp = _read(body, "timestamp", unused)
    original = _read(body, "originalTimestamp", unused)  # Rudder's clients have this one alone
    if stamp is None:
        stamp = original
    elif original is not None and original != stamp:
        unused["originalTimestamp"] = body["originalTimestamp"]
    sent, said = _read(body, "sentAt", unused), body.get("sentAt")
    if sent is None and delivery.sent_at is not None:
        sent, said = _of_batch(delivery.sent_at), delivery.sent_at
        if sent is None:
            unused.setdefault("sentAt", said)
    received = delivery.received_at
    stamped = occurred = received if stamp is None else stamp
    if sent is not None:
        if stamp is None or abs(received - sent) > _SKEW or stamp - sent > _SKEW:
            unused["sentAt"] = said
        else:
            occurred = received - (sent - stamp)
    for field in unused:
        UNUSED.labels(field).inc()
    return Times(stamped, occurred, stamp is not None, unused)


def _read(body: dict[str, Any], field: str, unused: dict[str, Any]) -> Micros | None:
    """Return an instant of a message; what is given and is none goes to ``unused``."""
    given = body.get(field)
    if given is None:
        return None
    at = _instant(given)
    if at is None and given != "":
        unused[field] = given
    return at


def _instant(value: object) -> Micros | None:
    if not isinstance(value, str):
        return None
    try:
        return parse_rfc3339(value)
    except ValueError:
        return None


_text_of_batch = lru_cache(64)(_instant)


def _of_batch(value: object) -> Micros | None:
    """Return the instant of a batch, which each of its events asks for."""
    return _text_of_batch(value) if isinstance(value, str) else None
