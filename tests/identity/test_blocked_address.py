"""An address that the rules block says no like any other, and leaves on nobody's row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from caller import Caller
from litestar.testing import TestClient
from rules_world import COUNTER, activate, finish

from cdp import app
from cdp.app import Platform
from cdp.clock import SECOND, FixedClock
from cdp.settings import Settings

EMAIL = "marketing.communications.email"
GERMANS = {"name": "germans", "where": {"trait": "country", "op": "eq", "value": "Germany"}}
NOBODY, DESK, ZOE = "nobody@people.example", "counter@people.example", "zoe@people.example"
REFUSED = "ann..lee@people.example"
"""An address for version 1 of the normaliser alone."""


class Shop:
    """A platform whose policies one officer activates, and what a destination gets of its people."""

    def __init__(self, platform: Platform, caller: Caller, clock: FixedClock) -> None:
        self.platform, self.caller, self._clock = platform, caller, clock
        self.services = platform.services
        self._key = caller.destination_key("mailer", EMAIL)
        self.services.mirror.refresh()
        caller.api("PUT", "/segments/germans", GERMANS)

    def send(self, **message: Any) -> None:
        self.caller.send(message, wait=True)
        self._clock.advance(SECOND)

    def identify(self, user: str, **traits: Any) -> None:
        self.send(type="identify", userId=user, traits={"country": "Germany", **traits})

    def say(self, state: str, *identifiers: tuple[str, str], expect: int = 201) -> Any:
        who = [{"type": kind, "value": value} for kind, value in identifiers]
        body = {"identifiers": who, "purpose": EMAIL, "state": state}
        said = self.caller.api("POST", "/consents", body, expect=expect)
        self._clock.advance(SECOND)
        return said

    def block_desk(self) -> None:
        activate(self.platform, COUNTER)
        finish(self.platform)
        self._clock.advance(SECOND)
        self.services.mirror.refresh()

    def state(self, kind: str, value: str) -> str:
        """How somebody stands, and whoever they are one with."""
        services = self.services
        with services.store.reading() as connection:
            number = services.identity.find(connection, kind, value)
            assert number is not None
            home = services.identity.profile_of(connection, number)
            found = services.ledger.states(connection, EMAIL).get(home)
        return "missing" if found is None else found.state

    def released(self) -> list[dict[str, Any]]:
        """Export everybody; return the rows."""
        asked = {"segment": "germans", "destination": "mailer", "purpose": EMAIL}
        made = self.caller.api("POST", "/exports", asked)["id"]
        headers = {"Authorization": f"Bearer {self._key}"}
        answer = self.caller.http.get(f"/api/v1/exports/{made}/data", headers=headers)
        assert answer.status_code == 200, answer.text
        return [msgspec.json.decode(line) for line in answer.content.splitlines()]

    def identifiers(self, user: str) -> list[str]:
        path = f"/profiles/{self.caller.lookup('user_id', user)['id']}/identifiers"
        found = self.caller.api("GET", path, purpose="data_quality")["items"]
        return sorted(item["type"] for item in found)


@contextmanager
def running(settings: Settings, clock: FixedClock) -> Iterator[Shop]:
    key = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
    platform = app.build(msgspec.structs.replace(settings, four_eyes=False), clock)
    with TestClient(app.application(platform)) as http:
        yield Shop(platform, Caller(http, key, platform.services), clock)


@pytest.fixture
def shop(settings: Settings, clock: FixedClock) -> Iterator[Shop]:
    with running(settings, clock) as made:
        yield made


@pytest.mark.parametrize("address", [NOBODY, REFUSED])
def test_it_is_no_trait_of_who_says_it_and_is_not_released(shop: Shop, address: str) -> None:
    shop.identify("ann", email=address, email_verified=True, first_name="Ann")
    shop.say("granted", ("user_id", "ann"))
    assert all("email" not in row for row in shop.released())
    assert shop.identifiers("ann") == ["user_id"]
    profile = shop.caller.lookup("user_id", "ann")["id"]
    asked = {"fields": ["email", "first_name"], "purpose": "rights", "reason": "customer_request"}
    told = shop.caller.api("POST", f"/profiles/{profile}/reveal", asked)
    assert (told["fields"], told["withheld"]) == ({"first_name": "Ann"}, {"email": "not_known"})


@pytest.mark.parametrize(
    "traits",
    [
        {"Email": NOBODY},
        {"EMAIL": NOBODY},
        {"EMail": NOBODY},
        {"email": [NOBODY]},
        {"email": f"Nobody <{NOBODY}>"},
        {"email": "ann@people.example", "Email": NOBODY},
        {"email": None, "EMAIL": NOBODY, "emailVerified": True},
    ],
)
def test_in_whatever_way_it_is_written_it_is_on_nobodys_row(shop: Shop, traits: dict[str, Any]) -> None:
    shop.say("objected", ("email", NOBODY))
    shop.identify("ann", first_name="Ann", **traits)
    shop.say("granted", ("user_id", "ann"))
    (row,) = shop.released()
    assert NOBODY not in str(row)
    assert row["first_name"] == "Ann"


@pytest.mark.parametrize(
    "traits",
    [
        {"email": ZOE},
        {"Email": ZOE},
        {"EMAIL": ZOE},
        {"EMail": ZOE},
        {"email": [ZOE]},
        {"email": f"Zoe <{ZOE}>"},
        {"email": "ann@people.example", "Email": ZOE},
    ],
)
def test_an_address_that_objected_leaves_in_no_other_writing(shop: Shop, traits: dict[str, Any]) -> None:
    shop.identify("ann", first_name="Ann", **traits)
    shop.identify("ben")
    for user in ("ann", "ben"):
        shop.say("granted", ("user_id", user))
    shop.say("objected", ("email", ZOE))
    assert ZOE not in str(shop.released())


@pytest.mark.parametrize(
    ("sent", "leaves"),
    [
        ("Ann.Lee@People.example", "Ann.Lee@People.example"),
        (" ann@people.example\n", "ann@people.example"),
        ("\u200bann@people.example", "ann@people.example"),
        ("mailto:ann@people.example", "ann@people.example"),
        ("\uff41nn@people.example", "ann@people.example"),
    ],
)
def test_an_address_leaves_as_something_arrives_at_it(shop: Shop, sent: str, leaves: str) -> None:
    """However somebody else wrote it after its owner did."""
    shop.identify("ann", email=leaves)
    shop.say("granted", ("user_id", "ann"))
    shop.identify("ben", email=sent)
    (row,) = shop.released()
    assert row["email"] == leaves


def test_an_address_told_twice_leaves_with_its_identity(shop: Shop) -> None:
    """Carved out, it is no trait of whom it was told of, by either name of the trait."""
    shop.identify("ann", first_name="Ann", Email=ZOE, email=ZOE)
    shop.identify("ben")
    for user in ("ann", "ben"):
        shop.say("granted", ("user_id", user))
    assert {row.get("email") for row in shop.released()} == {ZOE, None}
    with shop.services.store.reading() as connection:
        number = shop.services.identity.find(connection, "email", ZOE)
    assert number is not None
    zoe = shop.services.profile_ids.encode(number)
    asked = {"identities": [zoe], "dry_run": False}
    shop.caller.api("POST", f"/profiles/{zoe}/split", asked, purpose="data_quality")
    shop.say("objected", ("email", ZOE))
    assert ZOE not in str(shop.released())


def test_what_validates_it_validates_no_other_address(shop: Shop) -> None:
    shop.identify("ann", email="ann@people.example", email_verified=False)
    shop.identify("ann", email=NOBODY, email_verified=True)
    found = shop.caller.lookup("user_id", "ann")
    assert found["traits"]["email_verified"] is False


@pytest.mark.parametrize("address", [NOBODY, REFUSED])
def test_it_says_no_and_can_be_looked_up(shop: Shop, address: str) -> None:
    shop.caller.api(
        "POST", "/profiles/lookup", {"type": "email", "value": address}, purpose="data_quality", expect=404
    )
    shop.identify("ann", email=address)
    shop.say("granted", ("user_id", "ann"))
    shop.say("granted", ("email", address), expect=400)
    assert shop.say("withdrawn", ("email", address))["recorded"]
    assert shop.state("email", address) == "withdrawn"
    assert shop.state("user_id", "ann") == "granted"  # it is not her address
    assert shop.caller.lookup("email", address)["id"] != shop.caller.lookup("user_id", "ann")["id"]


def test_a_no_with_it_binds_both_and_links_nobody(shop: Shop) -> None:
    shop.identify("ann", first_name="Ann")
    shop.say("withdrawn", ("email", NOBODY), ("user_id", "ann"))
    assert [shop.state("email", NOBODY), shop.state("user_id", "ann")] == ["withdrawn"] * 2
    assert shop.identifiers("ann") == ["user_id"]
    shop.say("granted", ("user_id", "ann"))
    assert [shop.state("email", NOBODY), shop.state("user_id", "ann")] == ["withdrawn", "granted"]


def test_no_steward_ties_people_by_it(shop: Shop) -> None:
    shop.say("objected", ("email", NOBODY))
    ids = {shop.caller.lookup("email", NOBODY)["id"]}
    for user in ("ann", "ben"):
        shop.identify(user)
        asked = {"ids": [shop.caller.lookup("user_id", user)["id"], *ids]}
        plan = shop.caller.api("POST", "/profiles/merge", asked, purpose="data_quality")
        assert (plan["refused"], plan["links_made"]) == ({"blocked": 1}, [])
        done = {**asked, "dry_run": False}
        refused = shop.caller.api("POST", "/profiles/merge", done, purpose="data_quality", expect=409)
        assert "blocked" in refused["detail"]
    assert shop.caller.lookup("user_id", "ann")["id"] != shop.caller.lookup("user_id", "ben")["id"]


def test_what_an_event_says_to_restrain_binds_it(shop: Shop) -> None:
    """A cookie banner's word, in an event that names somebody else too; heard once."""
    message = {
        "type": "identify",
        "messageId": "m1",
        "userId": "ann",
        "traits": {"email": NOBODY},
        "context": {"consent": {"categoryPreferences": {"Email": False}}},
    }
    shop.send(**message)
    assert [shop.state("email", NOBODY), shop.state("user_id", "ann")] == ["refused"] * 2
    assert shop.identifiers("ann") == ["user_id"]
    shop.say("granted", ("user_id", "ann"))
    shop.send(**message)
    assert [shop.state("email", NOBODY), shop.state("user_id", "ann")] == ["refused", "granted"]


def test_an_event_that_names_nobody_else_is_refused(shop: Shop) -> None:
    shop.caller.send({"type": "track", "userId": "null", "event": "Product Viewed"})
    assert [item["reason"] for item in shop.caller.api("GET", "/quarantine")["items"]] == ["no_identifier"]


def test_who_is_on_a_black_list_by_it_waits(shop: Shop) -> None:
    members = [{"type": "email", "value": NOBODY}]
    made = shop.caller.api("PUT", "/lists/robinson", {"kind": "black", "members": members})
    assert (made["members"], made["unknown"]) == (0, 1)
    shop.say("withdrawn", ("email", NOBODY))
    with shop.services.store.reading() as connection:
        assert len(shop.services.segments.blocked(connection)) == 1


def test_what_objected_stays_unreleased_when_it_is_blocked_later(shop: Shop) -> None:
    shop.identify("ann", email=DESK)
    shop.identify("ben", email="ben@people.example")
    for user in ("ann", "ben"):
        shop.say("granted", ("user_id", user))
    assert len(shop.released()) == 2
    shop.say("objected", ("email", DESK))
    assert [row["email"] for row in shop.released()] == ["ben@people.example"]
    shop.block_desk()
    shop.identify("ann", email=DESK)
    rows = shop.released()
    assert DESK not in [row.get("email") for row in rows]
    assert "ben@people.example" in [row.get("email") for row in rows]
    assert shop.state("email", DESK) == "objected"  # it is known by it as before
    assert shop.identifiers("ann") == ["user_id"]


def test_what_is_blocked_later_still_says_no(shop: Shop) -> None:
    shop.identify("ann", email=DESK)
    shop.say("granted", ("user_id", "ann"))
    shop.block_desk()
    rows = shop.released()
    assert DESK not in [row.get("email") for row in rows]
    shop.say("objected", ("email", DESK))
    assert shop.state("email", DESK) == "objected"
    shop.identify("ann", email=DESK)
    assert DESK not in [row.get("email") for row in shop.released()]
