"""What one process prepares reaches the one that stores it as it was, whatever was sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp import policy
from cdp.access import Source
from cdp.clock import parse_rfc3339
from cdp.crypto import BlindIndex
from cdp.identity import Lookup
from cdp.ingest import Classifier, Delivery, Event, Indexed, Prepared, Preparer, Reject, Validator, apart

NOW = parse_rfc3339("2026-03-01T12:00:00Z")
BUNDLE = policy.load(Path(__file__).parents[2] / "policies")
LOOKUP = Lookup(BlindIndex(b"i" * 32, "test"), BUNDLE.identity, lambda _: ("DE",))
SOURCES = [
    Source(source_id=1, name="shop", kind="server", enabled=True, default_region="GB"),
    Source(source_id=2, name="site", kind="browser", enabled=True),
]


def planned(event: Event) -> Event | Reject:
    """Turn away, as a plan does, in either way."""
    fate = event.properties.get("fate")
    if fate in ("quarantine", "block"):
        return Reject(event.message, "schema_violation", "it does not fit", kept=fate == "quarantine")
    return event


PREPARE = Preparer(
    Validator(BUNDLE, LOOKUP.normalise, b"k" * 32, 2 * 1024, None, lambda: ("DE", "FR")),
    Classifier(BUNDLE.fields),
    LOOKUP.index,
    planned,
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner))
PHONES = st.sampled_from(["+44 20 7946 0958", "020 7946 0958", "030 901820", "01632 960983 ext 5", "0"])
TRAITS = st.fixed_dictionaries(
    {},
    optional={
        "email": st.sampled_from(["Ada@Example.com", "ada@example.com", "null", "x"]),
        "phone": PHONES,
        "plan": st.sampled_from(["gold", 7]),
        "birthday": st.just("1990-02-03"),
        "ä": VALUES,
    },
)
STATES = st.booleans() | st.sampled_from(["granted", "denied"])
CONTEXT = st.fixed_dictionaries(
    {},
    optional={
        "traits": TRAITS,
        "consent": st.fixed_dictionaries({"categoryPreferences": st.dictionaries(
            st.sampled_from(["Advertising", "Analytics", "Other"]), STATES)}),
        "gpc": st.booleans(),
        "ip": st.just("192.0.2.1"),
        "userIdSignature": st.just("x"),
        "page": st.fixed_dictionaries({"url": st.just("https://shop.example/?q=1")}),
        "location": st.fixed_dictionaries({"country": st.just("DE")}),
        "device": st.fixed_dictionaries({"advertisingId": st.just("7c1a3a10-8d7a-4b6f-9b1e-0f5f0c1d2e3f")}),
        "any": VALUES,
    },
)  # fmt: skip
TIMES = st.sampled_from(["2026-03-01T11:00:00Z", "2026-03-09T11:00:00Z", "1799-01-01T00:00:00Z", "soon", 5])
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["track", "identify", "alias", "page", "group", "screen", "other"]),
        "event": st.sampled_from(["Order Completed", "Preference Updated", "ada@example.com", ""]),
        "messageId": st.sampled_from(["m1", "m2", 3]),
        "userId": st.sampled_from(["u1", "u2", "0", 7]),
        "anonymousId": st.sampled_from(["a1", "00000000"]),
        "previousId": st.sampled_from(["u1", "u2"]),
        "timestamp": TIMES,
        "sentAt": TIMES,
        "context": CONTEXT,
        "traits": TRAITS | VALUES,
        "properties": st.fixed_dictionaries(
            {}, optional={"fate": st.sampled_from(["quarantine", "block", "keep"]), "revenue": VALUES,
                          "name": st.just("Ada Example"), "padding": st.just("x" * 3000)}
        ),
        "more": VALUES,
    },
)  # fmt: skip
RAW = st.one_of(MESSAGES.map(msgspec.json.encode), st.binary(max_size=20), VALUES.map(msgspec.json.encode))


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    """Draw a call as a source makes it, whole or a part."""
    whole = Delivery(
        source=draw(st.sampled_from(SOURCES)),
        messages=tuple(draw(st.lists(RAW, min_size=1, max_size=6))),
        received_at=NOW,
        type=draw(st.sampled_from(["", "", "", "track", "identify"])),
        sent_at=draw(TIMES | st.none()),
        context=draw(st.none() | CONTEXT),
        sec_gpc=draw(st.booleans()),
        address="192.0.2.7",
        nonce=draw(st.integers(0, 2**63 - 1)),
    )
    places = range(len(whole.messages))
    chosen = draw(st.none() | st.sets(st.sampled_from(places), min_size=1))
    return whole if chosen is None else whole.part(sorted(chosen))


def told(prepared: Prepared) -> Prepared:
    """Return it without the contents of events, which classification has taken over."""

    def item(one: Indexed) -> Indexed:
        emptied: dict[str, Any] = {key: {} for key in ("properties", "traits", "context", "rest")}
        event = msgspec.structs.replace(one.classified.event, **emptied, also=())
        classified = msgspec.structs.replace(one.classified, event=event)
        return msgspec.structs.replace(one, classified=classified, also=tuple(map(item, one.also)))

    def reject(one: Reject) -> Reject:
        return msgspec.structs.replace(one, heard=None if one.heard is None else item(one.heard))

    return msgspec.structs.replace(
        prepared, events=list(map(item, prepared.events)), rejects=list(map(reject, prepared.rejects))
    )


def goes_there_and_back(delivery: Delivery) -> Prepared:
    asked = apart.read_ask(apart.write(apart.Ask("sha", 1, 2, delivery)))
    assert asked == apart.Ask("sha", 1, 2, delivery)
    assert asked.delivery is not None
    answer = apart.read_answer(apart.write(apart.Answer(apart.pack(PREPARE([asked.delivery])))))
    assert answer.packed is not None
    found, wanted = apart.unpack(answer.packed, delivery, PREPARE.generation), told(PREPARE([delivery]))
    assert found == wanted
    return found


@given(deliveries())
@settings(max_examples=200, deadline=None)
def test_what_goes_there_and_back_is_what_was_prepared(delivery: Delivery) -> None:
    goes_there_and_back(delivery)


def test_so_does_all_that_is_seldom() -> None:
    said = {"context": {"consent": {"categoryPreferences": {"Advertising": False}}, "userIdSignature": "x"}}
    messages: list[dict[str, Any]] = [
        {"type": "identify", "userId": "u1", "traits": {"phone": "020 7946 0958"}},
        {"type": "track", "userId": "u1", "event": "Seen", "properties": {"fate": "block"}},
        {"type": "track", "userId": "u1", "event": "Seen", **said},
    ]
    raw = tuple(map(msgspec.json.encode, messages))
    shop, site = (
        goes_there_and_back(Delivery(source=source, messages=raw, received_at=NOW)) for source in SOURCES
    )
    assert any(item.earlier and item.classified.event.earlier for item in shop.events)
    assert [reject.kept for reject in shop.rejects] == [False]
    assert [item.classified.event.signed for item in site.events] == [None, False]
