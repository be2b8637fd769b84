"""A text that version 1 read as another number ties the two on its own word, as if it had named both."""

from __future__ import annotations

import pytest
from caller import Caller
from sqlalchemy import select
from version1_world import Upgrade

from cdp.clock import SECOND, FixedClock
from cdp.identity.tables import link_candidates
from cdp.settings import Settings

EMAIL = "marketing.communications.email"
VICTIM, TEXT, OTHER = "+4930123456", "+49 30 123456 ABC", "+4930123456222"
"""A number; what version 1 read as that number; what version 2 reads it as."""


@pytest.fixture
def upgrade(settings: Settings, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> Upgrade:
    return Upgrade(settings, clock, monkeypatch)


def identify(caller: Caller, clock: FixedClock, number: str, kind: str = "server", **ids: str) -> None:
    caller.send({"type": "identify", **ids, "traits": {"phone": number}}, kind=kind)
    clock.advance(SECOND)


def say(caller: Caller, clock: FixedClock, kind: str, value: str, state: str) -> None:
    who = [{"type": kind, "value": value}]
    caller.api("POST", "/consents", {"identifiers": who, "purpose": EMAIL, "state": state})
    clock.advance(SECOND)


def state(caller: Caller, kind: str, value: str) -> str:
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, kind, value)
        assert number is not None
        home = services.identity.profile_of(connection, number)
        found = services.ledger.states(connection, EMAIL).get(home)
    return "missing" if found is None else found.state


def home(caller: Caller, kind: str, value: str) -> str:
    return str(caller.lookup(kind, value)["id"])


def test_a_browser_takes_no_number_from_its_user(upgrade: Upgrade, clock: FixedClock) -> None:
    with upgrade.before() as caller:
        identify(caller, clock, VICTIM, userId="vic")
    with upgrade.running() as caller:
        assert not upgrade.advance(caller)
        identify(caller, clock, OTHER, userId="eve")
        identify(caller, clock, TEXT, "browser", anonymousId="web")
        assert home(caller, "phone", OTHER) == home(caller, "user_id", "eve")
        assert home(caller, "phone", VICTIM) == home(caller, "user_id", "vic")
        assert home(caller, "user_id", "eve") != home(caller, "user_id", "vic")
        with caller.services.store.reading() as connection:
            c = link_candidates.c
            told = connection.execute(select(c.origin, c.verified, c.occurred_at > 0).where(~c.verified))
            assert set(told.all()) == {("event", False, True)}


def test_a_grant_of_another_number_lifts_nobodys_withdrawal(upgrade: Upgrade, clock: FixedClock) -> None:
    with upgrade.before() as caller:
        identify(caller, clock, VICTIM, userId="vic")
        say(caller, clock, "user_id", "vic", "withdrawn")
    with upgrade.running() as caller:
        assert not upgrade.advance(caller)
        identify(caller, clock, OTHER, userId="eve")
        identify(caller, clock, TEXT, "browser", anonymousId="web")
        say(caller, clock, "phone", OTHER, "granted")
        assert state(caller, "user_id", "vic") == "withdrawn"


@pytest.mark.parametrize("kind", ["server", "browser"])
def test_what_was_refused_under_the_old_number_still_holds(
    upgrade: Upgrade, clock: FixedClock, kind: str
) -> None:
    with upgrade.before() as caller:
        identify(caller, clock, TEXT, anonymousId="ann")
        say(caller, clock, "phone", TEXT, "withdrawn")
    with upgrade.running() as caller:
        assert not upgrade.advance(caller)
        identify(caller, clock, TEXT, kind, anonymousId="new")
        assert state(caller, "anonymous_id", "new") == "withdrawn"
        assert home(caller, "anonymous_id", "new") == home(caller, "anonymous_id", "ann")
