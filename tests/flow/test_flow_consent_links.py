"""Whose word a link is, and when it was made, decides whose acts lift what was said at its other end."""

from __future__ import annotations

import hmac
import itertools
from typing import Any

import pytest
from caller import Caller

from cdp.clock import DAY, SECOND, FixedClock

EMAIL = "marketing.communications.email"
BOB = {"type": "email", "value": "bob@mail.example"}
MALLORY = {"type": "user_id", "value": "mallory"}
TYPED: dict[str, Any] = {"type": "identify", "userId": "mallory", "traits": {"email": BOB["value"]}}
NAMED = ("user_id", "mallory"), ("anonymous_id", "phone")
_ids = itertools.count()


def act(*, agreed: bool = True, **more: Any) -> dict[str, Any]:
    context = {"consent": {"categoryPreferences": {"Email": agreed}}, **more.pop("context", {})}
    return {"type": "track", "event": "Segment Consent Preference Updated", "context": context, **more}


def send(caller: Caller, clock: FixedClock, *messages: dict[str, Any], kind: str = "server") -> None:
    caller.send(*({"messageId": f"m{next(_ids)}", **message} for message in messages), kind=kind)
    clock.advance(SECOND)


def say(caller: Caller, clock: FixedClock, who: dict[str, str], state: str) -> None:
    caller.api("POST", "/consents", {"identifiers": [who], "purpose": EMAIL, "state": state})
    clock.advance(SECOND)


def standing(caller: Caller, who: dict[str, str] = BOB) -> tuple[int, str]:
    """Return (how many identities the profile has, its state)."""
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, who["type"], who["value"])
        assert number is not None
        profile_no = services.identity.profile_of(connection, number)
        state = services.ledger.states(connection, EMAIL)[profile_no].state
        return len(services.identity.members(connection, profile_no)), state


def signature(caller: Caller, user_id: str) -> str:
    caller.write_key("browser")
    source = next(s for s in caller.services.access.list_sources() if s.kind == "browser")
    secret = caller.api("POST", f"/sources/{source.name}/secret")["secret"]
    return hmac.new(secret.encode(), user_id.encode(), "sha256").hexdigest()


@pytest.mark.parametrize("linked_first", [False, True])
def test_who_types_an_address_lifts_nothing_that_was_said_of_it(
    caller: Caller, clock: FixedClock, *, linked_first: bool
) -> None:
    if linked_first:
        send(caller, clock, TYPED, kind="browser")
    say(caller, clock, BOB, "withdrawn")
    if not linked_first:
        send(caller, clock, TYPED, kind="browser")
    signed = {"userIdSignature": signature(caller, "mallory")}
    send(caller, clock, act(userId="mallory", context=signed), kind="browser")
    say(caller, clock, MALLORY, "granted")
    assert standing(caller) == (2, "withdrawn")
    send(caller, clock, TYPED)  # from here on a server says so
    assert standing(caller) == (2, "withdrawn")
    say(caller, clock, MALLORY, "granted")
    assert standing(caller) == (2, "granted")


def test_what_was_said_of_a_user_is_lifted_by_the_user_wherever_it_was_written(
    caller: Caller, clock: FixedClock
) -> None:
    send(caller, clock, {**TYPED, "anonymousId": "phone"}, kind="browser")
    say(caller, clock, MALLORY, "withdrawn")
    assert standing(caller) == (3, "withdrawn")
    say(caller, clock, MALLORY, "granted")
    assert standing(caller) == (3, "granted")


def test_a_no_of_ones_own_is_kept_beside_one_that_was_said_of_another(
    caller: Caller, clock: FixedClock
) -> None:
    send(caller, clock, TYPED, kind="browser")
    send(caller, clock, {"type": "page", "userId": "mallory", "context": act(agreed=False)["context"]})
    stamp = {"type": "identify", "traits": TYPED["traits"], "context": act(agreed=False)["context"]}
    send(caller, clock, stamp)
    say(caller, clock, MALLORY, "granted")
    assert standing(caller) == (2, "refused")


def test_who_logs_in_lifts_what_the_device_refused_before(caller: Caller, clock: FixedClock) -> None:
    send(caller, clock, act(agreed=False, anonymousId="phone"), kind="browser")
    send(caller, clock, {"type": "identify", "userId": "mallory", "anonymousId": "phone"}, kind="browser")
    assert standing(caller, MALLORY) == (2, "withdrawn")
    say(caller, clock, MALLORY, "granted")
    assert standing(caller, MALLORY) == (2, "granted")


@pytest.mark.parametrize(("link_first", "state"), [(False, "withdrawn"), (True, "granted")])
def test_an_act_answers_for_whom_an_earlier_message_of_its_call_linked(
    caller: Caller, clock: FixedClock, *, link_first: bool, state: str
) -> None:
    say(caller, clock, BOB, "withdrawn")
    clock.advance(DAY)
    messages = (TYPED, act(userId="mallory")) if link_first else (act(userId="mallory"), TYPED)
    send(caller, clock, *messages)
    assert standing(caller) == (2, state)


class Hosts:
    """Steward's calls by hosts whose clocks differ."""

    def __init__(self, caller: Caller, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self._caller, self._clock, self._patch = caller, clock, monkeypatch
        self.ids = [caller.lookup(who["type"], who["value"])["id"] for who in (MALLORY, BOB)]

    def merge(self) -> None:
        body = {"ids": self.ids, "dry_run": False}
        self._caller.api("POST", "/profiles/merge", body, purpose="data_quality")
        self._clock.advance(SECOND)

    def split(self, *, behind: int = 0) -> None:
        now = self._clock.now() * 1000
        with self._patch.context() as patch:
            patch.setattr("cdp.clock.time.time_ns", lambda: now - behind * 10**9)
            path = f"/profiles/{self.ids[1]}/split"
            self._caller.api("POST", path, {"dry_run": False}, purpose="data_quality")
        self._clock.advance(SECOND)


@pytest.fixture
def hosts(caller: Caller, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    send(caller, clock, {"type": "track", "event": "Seen", "userId": "mallory"})
    say(caller, clock, BOB, "withdrawn")
    return Hosts(caller, clock, monkeypatch)


def test_a_host_whose_clock_is_behind_splits(caller: Caller, hosts: Hosts) -> None:
    hosts.merge()
    hosts.split()
    hosts.merge()
    hosts.split(behind=10**9)
    assert standing(caller)[0] == 1


def test_after_a_split_by_a_clock_that_is_behind_an_old_act_answers_for_nobody(
    caller: Caller, clock: FixedClock, hosts: Hosts
) -> None:
    hosts.merge()
    say(caller, clock, MALLORY, "granted")
    assert standing(caller) == (2, "granted")
    hosts.split(behind=10**9)
    assert standing(caller) == (1, "withdrawn")
    hosts.merge()
    assert standing(caller) == (2, "withdrawn")


def test_whoever_is_left_without_anybody_who_spoke_holds_no_state(caller: Caller, clock: FixedClock) -> None:
    """The profile keeps its number when the one who spoke is carved out, and nothing of what was said."""
    send(caller, clock, {"type": "track", "event": "Seen", "anonymousId": "phone"})
    send(caller, clock, {"type": "identify", "userId": "mallory", "anonymousId": "phone"})
    say(caller, clock, MALLORY, "granted")
    services = caller.services
    with services.store.reading() as connection:
        user, device = (services.identity.find(connection, *named) for named in NAMED)
        assert user is not None
        assert device is not None
        assert services.identity.profile_of(connection, user) == device
        assert services.ledger.states(connection, EMAIL)[device].state == "granted"
    body = {"identities": [services.profile_ids.encode(user)], "dry_run": False}
    caller.api("POST", f"/profiles/{services.profile_ids.encode(user)}/split", body, purpose="data_quality")
    with services.store.reading() as connection:
        held = services.ledger.states(connection, EMAIL)
    assert {number: one.state for number, one in held.items()} == {user: "granted"}
