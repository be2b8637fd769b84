"""The derived states, kept up to date change by change, are those that a derivation from scratch gives."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
from caller import Caller

from cdp.clock import SECOND, FixedClock
from cdp.consent import Standing
from cdp.errors import CdpError

EMAIL = "marketing.communications.email"
CATEGORIES = ("Email", "marketing", "Analytics")
USERS, DEVICES = ("ann", "bob", "eve"), ("phone", "laptop", "kiosk")
STEPS = 50


class People:
    """A handful of people and devices who meet, part and change their minds."""

    def __init__(self, caller: Caller, clock: FixedClock, seed: int) -> None:
        self.caller, self.clock = caller, clock
        self.chance = random.Random(seed)  # noqa: S311  # repeatable
        self.sent = 0

    def step(self) -> None:
        """Do one random thing; seldom the clock stands still, so that ranks tie."""
        if self.chance.random() < 0.8:
            self.clock.advance(self.chance.randrange(1, 5) * SECOND)
        self.chance.choice([self.meet, self.speak, self.speak, self.stamp, self.part, self.join])()

    def meet(self) -> None:
        self.send({"type": "identify", "userId": self.chance.choice(USERS), **self.device()})

    def speak(self) -> None:
        body = {"type": "track", "event": "Segment Consent Preference Updated", "context": self.choices()}
        self.send({**body, **self.somebody()})

    def stamp(self) -> None:
        self.send({"type": "page", "name": "Home", "context": self.choices(), **self.somebody()})

    def send(self, message: dict[str, Any]) -> None:
        self.sent += 1
        kind = self.chance.choice(("server", "server", "browser", "import"))
        self.caller.send({"messageId": f"m{self.sent}", **message}, kind=kind)

    def choices(self) -> dict[str, Any]:
        said = {name: self.chance.random() < 0.6 for name in CATEGORIES if self.chance.random() < 0.6}
        return {"consent": {"categoryPreferences": said}}

    def device(self) -> dict[str, str]:
        return {"anonymousId": self.chance.choice(DEVICES)}

    def somebody(self) -> dict[str, str]:
        user = {"userId": self.chance.choice(USERS)}
        return self.chance.choice([user, self.device(), {**user, **self.device()}])

    def part(self) -> None:
        """Carve somebody out; of one who is alone nothing happens."""
        number = self.number()
        if number is not None:
            named, steward = self.caller.services.profile_ids.encode(number), self.caller.services.steward
            self.quietly(lambda: steward.split("test", "rights", named, dry_run=False))

    def join(self) -> None:
        """Link two; the rules may refuse it."""
        both = [number for number in (self.number(), self.number()) if number is not None]
        named, steward = (
            [self.caller.services.profile_ids.encode(n) for n in both],
            self.caller.services.steward,
        )
        self.quietly(lambda: steward.merge("test", "rights", named, dry_run=False))

    def number(self) -> int | None:
        kind, value = self.chance.choice(
            [("user_id", user) for user in USERS] + [("anonymous_id", device) for device in DEVICES]
        )
        with self.caller.services.store.reading() as connection:
            return self.caller.services.identity.find(connection, kind, value)

    @staticmethod
    def quietly(work: Any) -> None:
        with contextlib.suppress(CdpError):
            work()

    def states(self) -> dict[tuple[int, str], Standing]:
        """Return every stored state."""
        services = self.caller.services
        with services.store.reading() as connection:
            return {
                (profile_no, purpose): state
                for purpose in services.bundle.purposes
                for profile_no, state in services.ledger.states(connection, purpose).items()
            }


@pytest.mark.parametrize("seed", [1, 2])
def test_states_are_those_of_a_derivation_from_scratch(caller: Caller, clock: FixedClock, seed: int) -> None:
    people = People(caller, clock, seed)
    seen: set[str] = set()
    for number in range(STEPS):
        people.step()
        if number % 10 == 9:
            kept = people.states()
            caller.services.deriving.rebuild("test")
            assert people.states() == kept
            seen |= {state.state for state in kept.values()}
    assert {"granted", "withdrawn", "refused"} <= seen, "the walk goes where it matters"
