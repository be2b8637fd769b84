"""Sec-GPC comes with every request: what it opts out, what an act lifts, and what a repeat may not undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from caller import Caller

from cdp.clock import SECOND, FixedClock

SHARING = "marketing.advertising.third_party"
CONTROL = {"Sec-GPC": "1"}
ANN, BOB = ("user_id", "ann"), ("user_id", "bob")
LAPTOP = ("anonymous_id", "laptop")
Who = tuple[str, str]


class World:
    """Ann, whose browser sends the control with every request, and whoever else uses it."""

    def __init__(self, caller: Caller, clock: FixedClock, name: str) -> None:
        self.caller = caller
        self.clock = clock
        self._name = name
        self._messages = 0

    def _own(self, value: str) -> str:
        """Return a value that is in no other world."""
        return f"{self._name}/{value}".replace(" ", "-") if value else ""

    def visit(self, device: str = "laptop", user: str = "", email: str = "", hardware: str = "") -> None:
        """Send a browser's event."""
        self._messages += 1
        message: dict[str, Any] = {
            "type": "page",
            "name": "Home",
            "messageId": self._own(str(self._messages)),
        }
        if email:
            message |= {"type": "identify", "traits": {"email": self._own(email)}}
        given = {"anonymousId": device, "userId": user}
        message |= {field: self._own(value) for field, value in given.items() if value}
        message["context"] = {"device": {"id": self._own(hardware)}} if hardware else {}
        self.clock.advance(SECOND)
        answer = self.caller.http.post(
            "/v1/batch",
            content=msgspec.json.encode({"batch": [message]}),
            auth=(self.caller.write_key("browser"), ""),
            headers=CONTROL,
        )
        assert answer.status_code == 200

    def say(self, state: str = "granted", who: tuple[Who, ...] = (ANN,), **more: Any) -> None:
        """Record an act that Ann's shop tells."""
        self.clock.advance(SECOND)
        terms = {"event_type": "explicit", "jurisdiction": "US-CA"} if state == "granted" else {}
        named = [{"type": kind, "value": self._own(value)} for kind, value in who]
        body = {"identifiers": named, "purpose": SHARING, "state": state, **terms, **more}
        assert self.caller.api("POST", "/consents", body, key=self.caller.write_key())["recorded"]

    def state(self, who: Who) -> str:
        profile = self.caller.lookup(who[0], self._own(who[1]))["id"]
        found = self.caller.api("GET", f"/consents?profile={profile}", purpose="compliance_review")["items"]
        return next(str(item["state"]) for item in found if item["purpose"] == SHARING)


Steps = Callable[[World], object]


def visits(*args: str, **more: str) -> Steps:
    return lambda world: world.visit(*args, **more)


def says(state: str = "granted", **more: Any) -> Steps:
    return lambda world: world.say(state, **more)


HERS = visits(user="ann")
NO_ABOVE = says("refused", purpose="marketing")
REGULAR = says(event_type="regular")
TABLE: list[tuple[str, list[Steps], Who, str]] = [
    ("the first request", [visits()], LAPTOP, "opted_out"),
    ("the known person", [HERS], ANN, "opted_out"),
    ("her explicit act", [HERS, says()], ANN, "granted"),
    ("an act that is not explicit", [HERS, says(event_type="regular")], ANN, "opted_out"),
    ("an act where the law does not let it", [HERS, says(jurisdiction="CN")], ANN, "opted_out"),
    ("the next request", [HERS, says(), HERS], ANN, "granted"),
    ("the next one before she logs in", [HERS, says(), visits()], ANN, "granted"),
    ("without the device", [HERS, says(), visits("", "ann")], ANN, "granted"),
    ("an address of hers", [HERS, says(), visits(user="ann", email="ann@x.example")], ANN, "missing"),
    ("another name of the device", [HERS, says(), visits(user="ann", hardware="h1")], ANN, "granted"),
    ("an act that links her device", [visits(), says(who=(ANN, LAPTOP)), HERS], ANN, "granted"),
    ("a new device", [HERS, says(), visits("phone", "ann")], ANN, "opted_out"),
    ("a new device, an address", [HERS, says(), visits("phone", "ann", "ann@x.example")], ANN, "opted_out"),
    ("of which she is asked", [HERS, says(), visits("phone", "ann"), says(), HERS], ANN, "granted"),
    ("a new person", [HERS, says(), visits(user="bob")], BOB, "opted_out"),
    ("it is turned on after she agreed", [says(), HERS], ANN, "opted_out"),
    ("she refuses again", [HERS, says(), says("withdrawn"), HERS], ANN, "withdrawn"),
    ("and agrees again", [HERS, says(), says("withdrawn"), HERS, says(), HERS], ANN, "granted"),
    ("she refuses all above it", [HERS, says(), NO_ABOVE, HERS, REGULAR], ANN, "opted_out"),
    ("and agrees to this again", [HERS, says(), NO_ABOVE, HERS, says(), HERS], ANN, "granted"),
]


def test_what_the_control_does(caller: Caller, clock: FixedClock) -> None:
    found = []
    for name, steps, who, _ in TABLE:
        world = World(caller, clock, name)
        for step in steps:
            step(world)
        found.append((name, world.state(who)))
    assert found == [(name, expected) for name, _, _, expected in TABLE]
