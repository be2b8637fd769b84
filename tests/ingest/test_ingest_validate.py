"""validate and classify: what becomes an event, what is rejected for which cause, what stays clear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp import policy
from cdp.access import Source
from cdp.clock import DAY, parse_rfc3339
from cdp.identity import Normaliser
from cdp.ingest import Classified, Classifier, Delivery, Event, Reject, Validator

BUNDLE = policy.load(Path(__file__).parents[2] / "policies")
VALIDATE = Validator(BUNDLE, Normaliser(BUNDLE.identity), b"k" * 32, 32 * 1024)
CLASSIFY = Classifier(BUNDLE.fields)
SHOP = Source(source_id=7, name="shop", kind="server", enabled=True)
NOW = parse_rfc3339("2026-03-01T12:00:00Z")


def send(message: object, **delivery: Any) -> Event | Reject:
    raw = message if isinstance(message, bytes) else msgspec.json.encode(message)
    (received,) = Delivery(source=SHOP, messages=(raw,), received_at=NOW, **delivery).each()
    return VALIDATE(received)


def event(message: object, **delivery: Any) -> Event:
    found = send(message, **delivery)
    assert isinstance(found, Event), getattr(found, "cause", "")
    return found


def cut(message: object) -> Classified:
    return CLASSIFY(event(message))


def track(**fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Order Completed", "userId": "u1", "messageId": "m1", **fields}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"[]", "malformed"),
        (b'{"type": ', "malformed"),
        (b'{"type":"track","userId":"\\ud800","event":"x"}', "malformed"),
        (track(properties=[1]), "malformed"),
        (track(context="x"), "malformed"),
        (track(type="tracks"), "unknown_type"),
        (track(type=None), "unknown_type"),
        (track(type=[]), "unknown_type"),
        (track(userId=None), "no_identifier"),
        (track(userId=""), "no_identifier"),
        (track(userId="null"), "no_identifier"),
        (track(userId={"a": 1}), "bad_identifier"),
        (track(userId=True), "bad_identifier"),
        (track(userId="x" * 10_000), "bad_identifier"),
        (track(userId="a\x00b"), "bad_identifier"),
        (track(userId="a\x85b"), "bad_identifier"),
        (track(event=None), "bad_name"),
        (track(event="x" * 300), "bad_name"),
        (track(event="mail to ann@example.com"), "bad_name"),
        (track(event="a\x00b"), "bad_name"),
        (track(timestamp="9999-12-31T23:59:59Z"), "timestamp_out_of_range"),
        (track(timestamp="0001-01-01T00:00:00Z"), "timestamp_out_of_range"),
        (track(properties={"x": "y" * 10_000_000}), "size_violation"),
        (track(properties={str(n): n for n in range(600)}), "size_violation"),
    ],
)
def test_a_bad_event_is_rejected_for_its_cause(message: object, reason: str) -> None:
    rejected = send(message)
    assert isinstance(rejected, Reject)
    assert rejected.reason == reason


def test_no_cause_repeats_what_was_sent() -> None:
    rejected = send(track(event="mail to ann@example.com"))
    assert isinstance(rejected, Reject)
    assert "ann" not in rejected.cause


def test_numbers_are_ids_and_null_is_none() -> None:
    assert event(track(userId=42, anonymousId=None)).identifiers == (("user_id", "42"),)


def test_the_highest_priority_identifier_comes_first() -> None:
    message = {
        "type": "identify",
        "userId": "u1",
        "anonymousId": "a1",
        "traits": {"email": " Ann@Example.COM "},
    }
    kinds = [kind for kind, _ in event(message).identifiers]
    assert kinds[0] == "user_id"
    assert kinds[-1] == "anonymous_id"
    assert ("email", "ann@example.com") in event(message).identifiers


def test_clock_skew_is_corrected_by_the_difference() -> None:
    found = event(track(timestamp="2026-03-01T11:00:00Z"), sent_at="2026-03-01T11:30:00+00:00")
    assert found.occurred_at == NOW - 30 * 60 * 1_000_000
    assert found.stamped_at == parse_rfc3339("2026-03-01T11:00:00Z")


def test_a_clock_beyond_a_week_is_not_corrected_by() -> None:
    found = event(track(timestamp="2020-01-01T00:00:00Z"), sent_at="2020-01-01T00:00:01Z")
    assert found.occurred_at == parse_rfc3339("2020-01-01T00:00:00Z")


def test_an_unreadable_timestamp_means_when_it_was_received() -> None:
    assert event(track(timestamp="yesterday")).occurred_at == NOW


def test_a_historical_import_keeps_its_date() -> None:
    found = event(track(timestamp="1997-01-01T12:00:00Z"))
    assert found.day == parse_rfc3339("1997-01-01T12:00:00Z") // DAY


def test_without_a_message_id_what_is_received_again_is_another_event_of_the_same_order() -> None:
    first = event({**track(messageId=None), "sentAt": "2026-03-01T11:00:00Z"})
    again = event({**track(messageId=None), "sentAt": "2026-03-01T11:59:00Z"})
    assert first.event_id != again.event_id
    assert first.event_id[:8] == again.event_id[:8]
    assert VALIDATE(first.message) == first  # what is judged again keeps its id


@pytest.mark.parametrize("message_id", ["m2", "m" * 2000, 5, 0.5, 10**30])
def test_a_message_id_of_any_length_or_a_number_is_one(message_id: object) -> None:
    first, again = (event(track(messageId=message_id, properties={"revenue": n})) for n in (1, 2))
    assert first.event_id == again.event_id


@pytest.mark.parametrize("message_id", [None, "", [], {}, True])
def test_what_is_no_message_id_tells_no_message_from_another(message_id: object) -> None:
    message = track(messageId=message_id)
    assert event(message).event_id != event(message).event_id


def test_declared_fields_stay_clear_and_the_rest_is_sealed() -> None:
    found = cut(track(properties={"revenue": 9.5, "currency": "EUR", "gift_note": "for Ann"}))
    assert msgspec.json.decode(found.clear or b"") == {"revenue": 9.5, "currency": "EUR"}
    assert msgspec.json.decode(found.sealed or b"") == {"properties": {"gift_note": "for Ann"}}


@pytest.mark.parametrize("value", ["9.50", True, [1], {"a": 1}])
def test_a_declared_field_of_the_wrong_type_is_sealed(value: object) -> None:
    found = cut(track(properties={"revenue": value}))
    assert found.clear is None


def test_a_declared_text_that_holds_an_address_is_sealed() -> None:
    found = cut(
        track(properties={"coupon": "ANN@EXAMPLE.COM"}, context={"campaign": {"name": "+44 20 7946 0958"}})
    )
    assert found.clear is None
    assert b"ANN@EXAMPLE.COM" in (found.sealed or b"")


def test_query_strings_are_cut_off_urls() -> None:
    page = {
        "type": "page",
        "userId": "u1",
        "properties": {"url": "https://shop.example/a?email=x%40y.example#top"},
    }
    found = cut(page)
    assert b"email" not in (found.clear or b"") + (found.sealed or b"")


def test_products_are_cut_item_by_item() -> None:
    given = [{"product_id": "p1", "price": 3}, {"product_id": "p2", "engraving": "Ann"}, "Ann"]
    found = cut(track(properties={"products": given}))
    assert msgspec.json.decode(found.clear or b"")["products"] == [
        {"product_id": "p1", "price": 3},
        {"product_id": "p2"},
        {},
    ]
    assert msgspec.json.decode(found.sealed or b"")["properties"]["products"] == [
        {},
        {"engraving": "Ann"},
        "Ann",
    ]


def test_text_stays_clear_on_declared_events_only() -> None:
    properties = {"name": "Ann Other", "revenue": 3}
    found = cut(track(event="Form Submitted", properties=properties))
    assert msgspec.json.decode(found.clear or b"") == {"revenue": 3}
    assert b"Ann Other" in (found.sealed or b"")


def test_trait_names_fold_and_personal_ones_are_sealed() -> None:
    message = {
        "type": "identify",
        "userId": "u1",
        "traits": {"firstName": "Ann", "country": "DE", "address": {"city": "Ulm"}, "ann@example.com": 1},
    }
    found = cut(message)
    assert {trait.name: trait.clear for trait in found.traits} == {
        "first_name": False,
        "country": True,
        "address.city": False,
    }
    assert b"ann@example.com" in (found.sealed or b"")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "type",
                "userId",
                "anonymousId",
                "event",
                "traits",
                "properties",
                "context",
                "timestamp",
                "messageId",
            ]
        ),
        json_values | st.sampled_from(["track", "identify", "page", "u1"]),
    )
)
def test_any_json_becomes_an_event_or_a_reject(message: dict[str, Any]) -> None:
    found = send(message)
    if isinstance(found, Event):
        CLASSIFY(found)
