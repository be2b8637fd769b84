"""A browser's key is public: what it says unsigned is for the device alone (privacy.md, Consent, 3-5)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from caller import Caller
from test_flow_consent import preference, state, stored_state

from cdp.clock import SECOND, FixedClock

ANN = "ann@people.example"


def identify(message_id: str, **named: Any) -> dict[str, Any]:
    email = named.pop("email", None)
    return {"type": "identify", "messageId": message_id, "traits": {"email": email} if email else {}, **named}


def test_a_browser_agrees_for_nobody_known(caller: Caller, clock: FixedClock) -> None:
    caller.send(identify("m1", userId="ann", email=ANN))
    clock.advance(SECOND)
    caller.send(preference("m2", agreed=True, userId="ann", anonymousId="evil"), kind="browser")
    assert (state(caller, "email", ANN), stored_state(caller, "email", ANN)) == ("missing", "missing")


def test_a_browser_agrees_for_no_address_that_is_typed_into_it(caller: Caller, clock: FixedClock) -> None:
    caller.send(preference("m1", agreed=True, anonymousId="evil"), kind="browser")
    clock.advance(SECOND)
    caller.send(identify("m2", anonymousId="evil", email=ANN), kind="browser")
    assert state(caller, "email", ANN) == "missing"
    clock.advance(SECOND)
    caller.send(identify("m3", userId="ann", email=ANN))
    assert state(caller, "email", ANN) == "missing"


def test_a_device_agreed_before_a_server_says_whose_it_is(caller: Caller, clock: FixedClock) -> None:
    caller.send(preference("m1", agreed=True, anonymousId="phone"), kind="browser")
    clock.advance(SECOND)
    caller.send(identify("m2", userId="ann", anonymousId="phone", email=ANN))
    assert state(caller, "email", ANN) == "granted"


def test_a_merge_carries_nobody(caller: Caller, clock: FixedClock) -> None:
    for name in ("a", "b"):
        caller.send(identify(name, anonymousId=f"phone-{name}", email=f"{name}@people.example"))
    clock.advance(SECOND)
    caller.send(preference("c", agreed=True, anonymousId="phone-a"))
    clock.advance(SECOND)
    caller.send(identify("d", anonymousId="phone-a", email="b@people.example"))
    assert state(caller, "email", "b@people.example") == "missing"


@pytest.mark.parametrize("seed", range(4))
def test_no_sequence_makes_a_browser_agree_for_somebody_known(
    caller: Caller, clock: FixedClock, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  # a seeded history
    people = {f"u{one}": f"u{one}@people.example" for one in range(3)}
    for user, email in people.items():
        caller.send(identify(user, userId=user, email=email))
    for step in range(12):
        clock.advance(SECOND)
        user, device = chance.choice(list(people)), f"d{chance.randrange(3)}"
        named = chance.choice(
            [{"anonymousId": device}, {"anonymousId": device, "userId": user}, {"anonymousId": device}]
        )
        kind = chance.choice(["browser", "browser", "server"])
        if kind == "browser" and chance.random() < 0.6:
            caller.send(preference(f"s{step}", agreed=True, **named), kind="browser")
        else:
            caller.send(identify(f"s{step}", **named, email=chance.choice(list(people.values()))), kind=kind)
    assert {state(caller, "email", email) for email in people.values()} == {"missing"}
    assert "granted" not in {stored_state(caller, "email", email) for email in people.values()}
