"""The clocks of clients: every sentence of the skew correction, and what is kept of all four times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp import policy
from cdp.access import Source
from cdp.clock import DAY, SECOND, parse_rfc3339, rfc3339
from cdp.identity import Normaliser
from cdp.ingest import Classifier, Delivery, Event, Reject, Validator

BUNDLE = policy.load(Path(__file__).parents[2] / "policies")
VALIDATE = Validator(BUNDLE, Normaliser(BUNDLE.identity), b"k" * 32, 32 * 1024)
CLASSIFY = Classifier(BUNDLE.fields)
SHOP = Source(source_id=7, name="shop", kind="server", enabled=True)
NOW = parse_rfc3339("2026-03-01T12:00:00Z")
HOUR = 3600 * SECOND


def sent(batch: object = None, replayed_at: int | None = None, **times: Any) -> Event | Reject:
    """Return what becomes of an event with these times, in a batch with this ``sentAt``."""
    said = {"type": "track", "event": "Order Completed", "userId": "u1", "messageId": "m1", **times}
    delivery = Delivery(
        source=SHOP,
        messages=(msgspec.json.encode(said),),
        received_at=NOW,
        sent_at=batch,
        replayed_at=replayed_at,
    )
    return VALIDATE(delivery.each()[0])


def event(batch: object = None, **times: Any) -> Event:
    found = sent(batch, **times)
    assert isinstance(found, Event), getattr(found, "cause", "")
    return found


def kept(found: Event) -> dict[str, Any]:
    """Return what is sealed with an event."""
    sealed = CLASSIFY(found).sealed
    return {} if sealed is None else dict(msgspec.json.decode(sealed))


@pytest.mark.parametrize(
    ("batch", "own", "hours"),
    [
        ("2026-03-01T11:30:00.000000+00:00", None, 0.5),  # Segment's clients: of the batch
        (None, "2026-03-01T11:30:00Z", 0.5),  # of the event
        ("2026-03-01T11:00:00Z", "2026-03-01T11:30:00Z", 0.5),  # both: the event's own first
        ("2026-03-01T11:30:00Z", "just now", 0.5),  # ... if it can be read
        ("2026-03-01T11:30:00", None, 0.5),  # without a zone it is UTC
        ("2026-03-01t11:30:00z", None, 0.5),  # RFC 3339 section 5.6
        ("2026-03-01T12:30:00+01:00", None, 0.5),
        (None, None, 1.0),  # missing: as it was stamped
        ("", "", 1.0),
        (1772364600, None, 1.0),  # a number is no time
    ],
)
def test_the_correction_is_by_the_difference_of_the_clients_own_clock(
    batch: object, own: object, hours: float
) -> None:
    for name in ("timestamp", "originalTimestamp"):  # Rudder's clients send the second, and not the first
        found = event(batch, **{name: "2026-03-01T11:00:00Z"}, sentAt=own)
        assert found.occurred_at == NOW - int(hours * HOUR)
        assert found.stamped_at == NOW - HOUR
        assert found.received_at == NOW


def test_a_date_of_years_ago_is_corrected_as_one_of_today() -> None:
    found = event("2026-03-01T11:59:00Z", timestamp="1997-01-01T12:00:00Z")
    assert found.occurred_at == parse_rfc3339("1997-01-01T12:01:00Z")
    assert found.day == parse_rfc3339("1997-01-01T12:00:00Z") // DAY


@pytest.mark.parametrize(
    "stamp", ["yesterday", "2026-02-30T00:00:00Z", 1772362800, 1772362800000.5, [], True]
)
def test_a_stamp_that_cannot_be_read_is_kept_and_means_the_receipt(stamp: object) -> None:
    found = event(timestamp=stamp, sentAt="2026-03-01T11:30:00Z")
    assert (found.occurred_at, found.stamped_at) == (NOW, NOW)
    assert kept(found) == {"timestamp": stamp, "sentAt": "2026-03-01T11:30:00Z"}
    second = event(timestamp=stamp, originalTimestamp="2026-03-01T11:00:00Z")
    assert second.occurred_at == NOW - HOUR
    assert kept(second) == {"timestamp": stamp}


@pytest.mark.parametrize("own", ["just now", 5, {"at": 5}])
def test_a_sent_at_that_cannot_be_read_is_kept_and_corrects_nothing(own: object) -> None:
    for found in (
        event(own, timestamp="2026-03-01T11:00:00Z"),
        event(timestamp="2026-03-01T11:00:00Z", sentAt=own),
    ):
        assert found.occurred_at == NOW - HOUR
        assert kept(found) == {"sentAt": own}


@pytest.mark.parametrize(
    ("stamp", "batch"),
    [
        ("2020-01-01T00:00:00Z", "2020-01-01T00:00:01Z"),  # a clock that is years behind
        ("2026-03-01T13:00:00Z", "2026-02-22T12:30:00Z"),  # stamped a week after it was sent
    ],
)
def test_a_clock_beyond_a_week_is_not_corrected_by_and_that_is_seen(stamp: str, batch: str) -> None:
    found = event(batch, timestamp=stamp)
    assert found.occurred_at == found.stamped_at == parse_rfc3339(stamp)
    assert kept(found) == {"sentAt": batch}


def test_of_two_stamps_the_other_is_kept_too() -> None:
    found = event(timestamp="2026-03-01T11:00:00Z", originalTimestamp="2026-03-01T10:00:00Z")
    assert found.stamped_at == NOW - HOUR
    assert kept(found) == {"originalTimestamp": "2026-03-01T10:00:00Z"}
    assert kept(event(timestamp="2026-03-01T11:00:00Z", originalTimestamp="2026-03-01T11:00:00Z")) == {}


def test_what_the_servers_own_clock_refused_is_taken_when_it_is_replayed() -> None:
    ahead = rfc3339(NOW + 40 * DAY)  # of a client whose clock is right, while the server's was behind
    assert isinstance(sent(timestamp=ahead), Reject)
    found = sent(timestamp=ahead, replayed_at=NOW + 41 * DAY)
    assert isinstance(found, Event)
    assert (found.occurred_at, found.received_at) == (NOW + 40 * DAY, NOW)


instants = st.integers(NOW - 30 * DAY, NOW + 20 * HOUR)


@given(instants, st.none() | instants, st.none() | instants)
def test_all_four_times_can_be_told_from_what_is_kept(stamp: int, own: int | None, batch: int | None) -> None:
    times: dict[str, Any] = {"timestamp": rfc3339(stamp), "sentAt": None if own is None else rfc3339(own)}
    found = sent(None if batch is None else rfc3339(batch), **times)
    if isinstance(found, Reject):
        assert found.reason == "timestamp_out_of_range"
        return
    assert (found.received_at, found.stamped_at) == (NOW, stamp)
    unused = kept(found).get("sentAt")
    told = NOW - (found.occurred_at - stamp) if unused is None else parse_rfc3339(unused)
    given_at = batch if own is None else own
    assert told == (NOW if given_at is None else given_at)
