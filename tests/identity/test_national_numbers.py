"""A telephone number without its country: what is said of it is lost to nobody whom it may mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from caller import Caller
from recovery_world import backed_up, erase, lost, restored, running

from cdp.clock import SECOND, FixedClock
from cdp.settings import Settings

EMAIL = "marketing.communications.email"
NATIONAL, BRITISH, GERMAN, BARE = "020 8765 4321", "+442087654321", "+492087654321", "02087654321"


class Shops:
    """Sources that read numbers by their regions, and one that cannot."""

    def __init__(self, caller: Caller, clock: FixedClock) -> None:
        self.caller, self._clock = caller, clock

    def open(self, *regions: str) -> None:
        for region in regions:
            body = {"name": f"shop-{region}", "kind": "server", "default_region": region}
            self.caller._write_keys[region] = self.caller.api("POST", "/sources", body)["write_key"]

    def identify(self, user: str, number: str, source: str = "server", **context: Any) -> None:
        traits = {"phone": number}
        message = {"type": "identify", "userId": user, "traits": traits, "context": context}
        self.caller.send(message, kind=source)
        self._clock.advance(SECOND)

    def say(self, state: str, number: str, source: str = "", expect: int = 201) -> Any:
        """Tell a consent: as a source, or else as an officer."""
        body = {"identifiers": [{"type": "phone", "value": number}], "purpose": EMAIL, "state": state}
        key = self.caller.write_key(source) if source else ""
        said = self.caller.api("POST", "/consents", body, key=key, expect=expect)
        self._clock.advance(SECOND)
        return said

    def states(self, *users: str) -> list[str]:
        return [self._state("user_id", user) for user in users]

    def _state(self, kind: str, value: str) -> str:
        services = self.caller.services
        with services.store.reading() as connection:
            number = services.identity.find(connection, kind, value)
            assert number is not None
            home = services.identity.profile_of(connection, number)
            found = services.ledger.states(connection, EMAIL).get(home)
        return "missing" if found is None else found.state

    def listed(self, kind: str, number: str, expect: int = 200) -> Any:
        members = [{"type": "phone", "value": number}]
        return self.caller.api("PUT", f"/lists/{kind}", {"kind": kind, "members": members}, expect=expect)

    def blocked(self, *users: str) -> list[bool]:
        services = self.caller.services
        with services.store.reading() as connection:
            found = services.segments.blocked(connection)
            numbers = [services.identity.find(connection, "user_id", user) for user in users]
            home = services.identity.profiles_of(connection, [one for one in numbers if one is not None])
        return [one is not None and home[one] in found for one in numbers]


@pytest.fixture
def shops(caller: Caller, clock: FixedClock) -> Shops:
    return Shops(caller, clock)


def test_an_officers_no_reaches_whoever_it_may_mean_and_links_nobody(shops: Shops) -> None:
    shops.open("GB", "DE")
    shops.identify("ann", NATIONAL, "GB")
    shops.identify("dora", NATIONAL, "DE")
    shops.identify("ben", NATIONAL)
    shops.identify("cleo", "+44 20 8765 4322")
    assert shops.say("objected", NATIONAL)["recorded"]
    assert shops.states("ann", "dora", "ben", "cleo") == ["objected", "objected", "objected", "missing"]
    homes = {shops.caller.lookup("user_id", user)["id"] for user in ("ann", "ben", "dora")}
    assert len(homes) == 3


def test_a_no_that_comes_first_is_there_when_the_number_comes(shops: Shops) -> None:
    shops.open("GB")
    shops.say("objected", NATIONAL)
    shops.identify("ann", NATIONAL, "GB")
    shops.identify("ben", NATIONAL)
    assert shops.states("ann", "ben") == ["objected", "objected"]


@pytest.mark.parametrize("source", ["server", "GB"])
def test_a_sources_no_is_lost_to_nobody(shops: Shops, source: str) -> None:
    """One that has no region may mean any; one that has may speak of who was told without."""
    shops.open("GB")
    shops.identify("ann", NATIONAL, "GB")
    shops.identify("ben", NATIONAL)
    shops.say("withdrawn", NATIONAL, source)
    assert shops.states("ann", "ben") == ["withdrawn", "withdrawn"]


def test_a_source_that_has_a_region_means_no_other(shops: Shops) -> None:
    shops.open("GB", "DE")
    shops.identify("ann", NATIONAL, "GB")
    shops.identify("dora", NATIONAL, "DE")
    shops.say("withdrawn", NATIONAL, "GB")
    assert shops.states("ann", "dora") == ["withdrawn", "missing"]


def test_what_an_event_restrains_is_heard_of_them_all(shops: Shops) -> None:
    shops.open("GB")
    shops.identify("ann", NATIONAL, "GB")
    shops.identify("ben", NATIONAL, consent={"categoryPreferences": {"Email": False}})
    assert shops.states("ann", "ben") == ["refused", "refused"]
    assert shops.caller.lookup("user_id", "ann")["id"] != shops.caller.lookup("user_id", "ben")["id"]


def test_a_grant_names_one_number(shops: Shops) -> None:
    shops.say("granted", NATIONAL)  # no source has a region, so there is one number that it may be
    shops.open("GB")
    shops.identify("ann", NATIONAL, "GB")
    refused = shops.say("granted", NATIONAL, expect=400)
    assert "country code" in refused["detail"]
    assert shops.states("ann") == ["missing"]
    shops.say("granted", NATIONAL, "GB")
    assert shops.states("ann") == ["granted"]
    shops.say("granted", BRITISH)
    assert shops.say("granted", NATIONAL, "server")["recorded"]


def test_a_look_up_finds_who_has_it_in_one_country(shops: Shops) -> None:
    shops.open("GB", "DE")
    shops.identify("ann", NATIONAL, "GB")
    ann = shops.caller.lookup("user_id", "ann")["id"]
    assert shops.caller.lookup("phone", NATIONAL)["id"] == ann
    shops.identify("dora", NATIONAL, "DE")
    asked = {"type": "phone", "value": NATIONAL}
    refused = shops.caller.api("POST", "/profiles/lookup", asked, purpose="data_quality", expect=400)
    assert "country code" in refused["detail"]
    assert shops.caller.lookup("phone", BRITISH)["id"] == ann
    request = {"identifier": asked, "kind": "access"}
    refused = shops.caller.api("POST", "/rights/requests", request, purpose="rights", expect=400)
    assert "country code" in refused["detail"]


def test_a_no_leaves_whoever_it_is_of_to_be_found(shops: Shops) -> None:
    """What only a refusal ever named stands for nobody else's number."""
    shops.open("GB")
    shops.identify("ben", NATIONAL)
    ben = shops.caller.lookup("user_id", "ben")["id"]
    shops.say("objected", NATIONAL)
    assert [shops.caller.lookup("phone", number)["id"] for number in (NATIONAL, BARE)] == [ben, ben]
    request = {"identifier": {"type": "phone", "value": NATIONAL}, "kind": "access"}
    shops.caller.api("POST", "/rights/requests", request, purpose="rights", expect=201)


def test_her_own_no_leaves_her_to_be_found(shops: Shops) -> None:
    shops.open("GB")
    shops.identify("ann", NATIONAL, "GB")
    shops.identify("ann", NATIONAL, "GB", consent={"categoryPreferences": {"Email": False}})
    assert shops.caller.lookup("phone", NATIONAL)["id"] == shops.caller.lookup("user_id", "ann")["id"]


def test_a_black_list_holds_whoever_it_may_mean(shops: Shops) -> None:
    shops.open("GB", "DE")
    shops.identify("ann", NATIONAL, "GB")
    shops.identify("ben", NATIONAL)
    made = shops.listed("black", NATIONAL)
    assert (made["members"], made["unknown"]) == (2, 1)
    shops.identify("dora", NATIONAL, "DE")
    assert shops.blocked("ann", "ben", "dora") == [True, True, True]
    for kind in ("white", "grey"):
        assert "country code" in shops.listed(kind, NATIONAL, expect=400)["detail"]
        assert shops.listed(kind, BRITISH)["members"] == 1


def test_a_no_is_not_lost_because_somebody_abroad_was_erased(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    """What names the person who was erased is dropped by itself."""
    with running(settings, clock) as before:
        shops = Shops(before, clock)
        shops.open("GB", "DE")
        shops.identify("ann", NATIONAL, "GB")
        backed_up(before, tmp_path / "backup")
        shops.identify("dora", NATIONAL, "DE")
        erase(before, GERMAN, "phone")
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, before) as caller:
        shops = Shops(caller, clock)
        shops.say("objected", NATIONAL)
        assert shops.states("ann") == ["objected"]
        missing = {"type": "phone", "value": GERMAN}
        caller.api("POST", "/profiles/lookup", missing, purpose="data_quality", expect=404)


def test_a_link_that_a_source_asks_for_is_that_of_its_own_number(shops: Shops) -> None:
    """It is sent to that number, so a region of another source says nothing of it."""
    shops.open("GB", "DE")
    shops.identify("ann", NATIONAL, "GB")
    shops.identify("dora", NATIONAL, "DE")
    body = {"identifier": {"type": "phone", "value": NATIONAL}, "kind": "withdraw", "purposes": [EMAIL]}
    made = shops.caller.api("POST", "/preferences/links", body, key=shops.caller.write_key("DE"))
    path = made["url"].removeprefix(shops.caller.services.settings.public_url)
    shops.caller.http.post(path, data={"List-Unsubscribe": "One-Click"})
    assert shops.states("ann", "dora") == ["missing", "withdrawn"]
    asked = shops.caller.api("POST", "/preferences/links", body, expect=400)
    assert "country code" in asked["detail"]


def test_digits_that_are_known_as_such_are_found_where_no_source_has_a_region(shops: Shops) -> None:
    shops.identify("ben", NATIONAL)
    assert shops.caller.lookup("phone", BARE)["id"] == shops.caller.lookup("user_id", "ben")["id"]
    assert shops.listed("white", NATIONAL)["members"] == 1
