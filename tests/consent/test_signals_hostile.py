"""Malformed, hostile and contradictory consent signals through the door: they restrain or say nothing."""

from __future__ import annotations

import gzip
import json
from typing import Any

import msgspec
import signal_encoder as encode
from caller import Caller

AGREED = encode.tcf_core(purposes=range(1, 12), updated=17_721_504_000)
DEEP = encode.number(0xFFFF, 16) + "1" + encode.ranges([(1, 0xFFFF)] * 400)
GROUPS = encode.number(3, 6) + encode.number(1, 6) + encode.number(4095, 12) + "1110000000000001" * 1000
CATEGORIES = {"Advertising": True, "Analytics": True, "Functional": True, "Email": True}
NEVER = {f"truncated after {length}": {"tcfString": AGREED[:length]} for length in range(1, 30)} | {
    "deep ranges that refuse": {"tcfString": encode.tcf_core(consented=DEEP, interested=DEEP)},
    "deep restrictions": {
        "tcfString": encode.tcf_core(
            consented=DEEP, restrictions=[(purpose, 0, [(1, 0xFFFF)] * 50) for purpose in range(1, 12)]
        )
    },
    "more ranges than bits": {"tcfString": AGREED[:-4] + "____"},
    "16 kB": {"tcfString": AGREED + "A" * 16_384},
    "base64 with padding": {"tcfString": AGREED + "=="},
    "another alphabet": {"tcfString": AGREED.replace("A", "+")},
    "a list": {"tcfString": [AGREED]},
    "an object in an object": {"tcfString": {"tcfString": {"tcfString": AGREED}}},
    "4095 groups": {"gpp": encode.text_of(GROUPS)},
    "Fibonacci without an end": {"gpp": "DBAB" + "A" * 10_000},
    "only tildes": {"gpp": "~" * 10_000},
    "the European section, truncated": {"gpp": f"DBABMA~{AGREED[:20]}"},
    "categories as text": {"categoryPreferences": "Advertising"},
    "categories as words": {"categoryPreferences": dict.fromkeys(CATEGORIES, "true")},
    "thousands of categories": {"categoryPreferences": CATEGORIES | {f"c{n}": True for n in range(2_000)}},
    "Google's mode in another case": {"googleConsentMode": {"ad_storage": "GRANTED"}},
    "half of Google's mode": {"gcs": "G1", "gcd": "13r3r3r"},
    "consent that is a list": [CATEGORIES],
    "consent that is text": json.dumps(CATEGORIES),
}
CONTRADICTORY: dict[str, Any] = {
    "categoryPreferences": CATEGORIES,
    "tcfString": encode.tcf_core(updated=17_721_504_000),
    "gcd": "13m3m3m2m5",
    "gpp": "DBABRg~BAUAABA",
    "gppSid": [9],
}
MAPPED = (
    "analytics",
    "personalisation",
    "marketing.advertising.first_party",
    "marketing.advertising.third_party",
)


def states(caller: Caller, device: str) -> dict[str, str]:
    """What the gate goes by, of everything that a signal is mapped to."""
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "anonymous_id", device)
        assert number is not None, device
        profile_no = services.identity.profile_of(connection, number)
        found = {key: services.ledger.states(connection, key).get(profile_no) for key in MAPPED}
    return {key: "missing" if held is None else held.state for key, held in found.items()}


def test_no_hostile_signal_grants_and_every_event_lands(caller: Caller) -> None:
    batch = [
        {"type": "page", "messageId": name, "anonymousId": name, "context": {"consent": consent}}
        for name, consent in NEVER.items()
    ]
    caller.send(*batch, kind="browser")
    assert caller.api("GET", "/quarantine")["items"] == []
    for name in NEVER:
        assert "granted" not in states(caller, name).values(), name
    assert set(states(caller, "deep ranges that refuse").values()) == {"refused"}
    caller.send(
        {**batch[0], "messageId": "m", "anonymousId": "agreed", "context": {"consent": {"tcf": AGREED}}}
    )
    assert set(states(caller, "agreed").values()) == {"granted"}, "the string that the others are broken from"


def test_of_signals_that_contradict_each_other_the_restraint_decides(caller: Caller) -> None:
    for device, act in (("d1", False), ("d2", True)):
        name = {"type": "track", "event": "Segment Consent Preference Updated"} if act else {"type": "page"}
        message = {**name, "messageId": device, "anonymousId": device, "context": {"consent": CONTRADICTORY}}
        caller.send(message)
        assert not {"granted", "missing"} & set(states(caller, device).values())


def test_a_megabyte_is_refused_with_nothing_stored(caller: Caller) -> None:
    message = {
        "type": "page",
        "messageId": "m",
        "anonymousId": "d",
        "context": {"consent": {"tcf": "C" * 1_000_000}},
    }
    body = msgspec.json.encode({"batch": [message]})
    for content, headers in ((body, {}), (gzip.compress(body), {"Content-Encoding": "gzip"})):
        answer = caller.http.post(
            "/v1/batch", content=content, auth=(caller.write_key("browser"), ""), headers=headers
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "too_large")
    with caller.services.store.reading() as connection:
        assert caller.services.identity.find(connection, "anonymous_id", "d") is None
