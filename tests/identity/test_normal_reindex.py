"""An installation of version 1 comes up under version 2, ingests, indexes anew and forgets no restraint."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller
from sqlalchemy import func, select
from version1_world import Upgrade

from cdp.audit import AuditFilter
from cdp.clock import FixedClock
from cdp.identity import reindex
from cdp.identity.tables import identifier_index, identities, link_candidates
from cdp.segments.tables import list_entries, list_waiting
from cdp.settings import Settings

GOOGLEMAIL = "googlemail.com"
GMAIL = "gmail.com"
PURPOSE = "marketing.communications.email"


@pytest.fixture
def upgrade(settings: Settings, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> Upgrade:
    return Upgrade(settings, clock, monkeypatch)


def identify(caller: Caller, browser: str, **traits: str) -> None:
    caller.send({"type": "identify", "messageId": browser, "anonymousId": browser, "traits": traits})


def withdraw(caller: Caller, kind: str, value: str) -> None:
    said = {"identifiers": [{"type": kind, "value": value}], "purpose": PURPOSE, "state": "withdrawn"}
    caller.api("POST", "/consents", said)


def home(caller: Caller, kind: str, value: str) -> int | None:
    """Return the profile that an identifier finds."""
    identity = caller.services.identity
    with caller.services.store.reading() as connection:
        number = identity.find(connection, kind, value)
        return None if number is None else identity.profile_of(connection, number)


def state(caller: Caller, kind: str, value: str) -> str:
    services, profile_no = caller.services, home(caller, kind, value)
    assert profile_no is not None
    with services.store.reading() as connection:
        members = services.identity.consent_members(connection, [profile_no])[profile_no]
        standing = services.ledger.states_of(connection, members).get(PURPOSE)
        return "" if standing is None else standing.state


def versions(caller: Caller) -> dict[int, int]:
    """Return version of the normaliser → how many are indexed under it."""
    query = select(identifier_index.c.version, func.count()).group_by(identifier_index.c.version)
    with caller.services.store.reading() as connection:
        return {int(row[0]): int(row[1]) for row in connection.execute(query)}


def count(caller: Caller, kind: str) -> int:
    """Return how many identities of a type there are."""
    query = select(func.count()).where(identities.c.type == kind)
    with caller.services.store.reading() as connection:
        return int(connection.execute(query).scalar_one())


def passing(caller: Caller) -> bool:
    return caller.services.identity.indexes.passing


def shown(caller: Caller) -> dict[str, Any]:
    passes = caller.api("GET", "/identity/rules")["passes"]
    return next(found for found in passes if found["kind"] == "index")


def test_a_restraint_of_version_1_binds_before_during_and_after_the_pass(upgrade: Upgrade) -> None:
    with upgrade.before() as caller:
        identify(caller, "ann", email=f"Ann.Lee@{GMAIL}")
        withdraw(caller, "email", f"ann.lee@{GMAIL}")
        identify(caller, "other", email=f"annlee@{GMAIL}")
        assert versions(caller) == {1: 4}
    with upgrade.running() as caller:
        assert passing(caller)
        assert state(caller, "email", f"ANN.LEE@{GMAIL}") == "withdrawn"
        identify(caller, "phone-shop", email=f"Ann.Lee@{GMAIL}")  # a new user with the old spelling
        assert count(caller, "email") == 2  # nobody new
        assert home(caller, "anonymous_id", "phone-shop") == home(caller, "email", f"ann.lee@{GMAIL}")
        assert state(caller, "anonymous_id", "phone-shop") == "withdrawn"
        identify(caller, "web-shop", email=f"annlee@{GMAIL}")  # the spelling of the other one
        assert home(caller, "anonymous_id", "web-shop") == home(caller, "anonymous_id", "phone-shop")
        assert state(caller, "anonymous_id", "web-shop") == "withdrawn"
        assert not upgrade.advance(caller)
        assert not passing(caller)
        for spelling in (f"annlee@{GMAIL}", f"a.n.n.l.e.e+news@{GOOGLEMAIL}", f"ann.lee@{GMAIL}"):
            assert state(caller, "email", spelling) == "withdrawn"
        identify(caller, "new", email=f"AnnLee+x@{GOOGLEMAIL}")
        assert count(caller, "email") == 2
        assert state(caller, "anonymous_id", "new") == "withdrawn"
        done = shown(caller)
        assert (done["state"], done["total"], done["done"]) == ("done", 4, 4)


def test_the_pass_links_those_who_are_one_value_and_says_so(upgrade: Upgrade) -> None:
    with upgrade.before() as caller:
        identify(caller, "ann", email=f"ann.lee@{GMAIL}")
        identify(caller, "ben", email="Ben@Example.COM")
        identify(caller, "anna", email=f"annlee+a@{GMAIL}")
        withdraw(caller, "email", f"annlee+a@{GMAIL}")
        assert home(caller, "anonymous_id", "ann") != home(caller, "anonymous_id", "anna")
    with upgrade.running() as caller:
        assert not upgrade.advance(caller)
        assert count(caller, "email") == 3  # they stay two
        assert state(caller, "email", f"ann.lee@{GMAIL}") == "withdrawn"
        assert state(caller, "email", "ben@example.com") == "missing"
        with caller.services.store.reading() as connection:
            rows = connection.execute(
                select(link_candidates).where(link_candidates.c.origin == "index")
            ).all()
            assert len(rows) == 1
            assert rows[0].verified
            index = caller.services.identity.indexes_of(connection, [("email", f"annlee@{GMAIL}")])[0][0][0]
            query = select(identifier_index.c.identity_no).where(identifier_index.c.blind_index == index)
            assert connection.execute(query).scalar_one() == rows[0].low  # the smaller one answers
            found = caller.services.audit.search(connection, AuditFilter(action="identity.index.done"), 5)
        assert len(found) == 1
        assert not upgrade.advance(caller)  # nothing is left
        assert versions(caller)[1] == 6


def test_who_arrived_in_another_spelling_meanwhile_is_joined_by_the_pass(upgrade: Upgrade) -> None:
    with upgrade.before() as caller:
        identify(caller, "ann", email=f"ann.lee@{GMAIL}")
        withdraw(caller, "email", f"ann.lee@{GMAIL}")
    with upgrade.running() as caller:
        identify(caller, "other", email=f"annlee+news@{GMAIL}")
        assert home(caller, "anonymous_id", "other") != home(caller, "anonymous_id", "ann")
        assert not upgrade.advance(caller)
        assert home(caller, "anonymous_id", "other") == home(caller, "anonymous_id", "ann")
        assert state(caller, "anonymous_id", "other") == "withdrawn"
        assert shown(caller)["merged"] == 2


def test_a_pass_goes_on_where_it_was_stopped(upgrade: Upgrade, monkeypatch: pytest.MonkeyPatch) -> None:
    with upgrade.before() as caller:
        for user in ("ann", "ben", "cleo"):
            identify(caller, user, email=f"{user}.x@{GMAIL}")
    with upgrade.running() as caller:
        work = caller.services.index_pass
        monkeypatch.setattr(work, "_size", 2)
        monkeypatch.setattr("cdp.identity.reindex._TURN_SECONDS", -1.0)
        assert upgrade.advance(caller)  # begins
        held = work.look()
        assert held is not None
        work._page(held)
        assert shown(caller)["done"] == 2
        with pytest.raises(reindex._LostError):  # another process that read it before stores nothing
            work._page(held)
        assert shown(caller)["done"] == 2
    with upgrade.running() as caller:
        monkeypatch.setattr("cdp.identity.reindex._TURN_SECONDS", 60.0)
        assert shown(caller)["done"] == 2
        assert not upgrade.advance(caller)
        assert versions(caller) == {1: 6, 2: 6}
        for user in ("ann", "ben", "cleo"):
            assert home(caller, "email", f"{user}x@{GMAIL}") == home(caller, "anonymous_id", user)


def test_a_number_without_a_country_is_still_known_when_its_country_is(upgrade: Upgrade) -> None:
    with upgrade.before() as caller:
        identify(caller, "ann", phone="020 8765 4321")
        withdraw(caller, "phone", "020 8765 4321")
        identify(caller, "ben", phone="+44 2034567890 x456")
        withdraw(caller, "phone", "+44 2034567890 x456")
    with upgrade.running() as caller:
        assert not upgrade.advance(caller)
        made = caller.api("POST", "/sources", {"name": "shop", "default_region": "gb"})
        assert made["default_region"] == "GB"
        caller._write_keys["server"] = made["write_key"]
        identify(caller, "new", phone="(020) 8765-4321")
        assert home(caller, "phone", "+442087654321") == home(caller, "anonymous_id", "ann")
        assert state(caller, "anonymous_id", "new") == "withdrawn"
        identify(caller, "newer", phone="+44 20 3456 7890 ext. 456")
        assert state(caller, "anonymous_id", "newer") == "withdrawn"


def test_who_is_no_identifier_any_more_can_still_say_no(upgrade: Upgrade) -> None:
    odd = "ann..lee@under_score.example"
    with upgrade.before() as caller:
        identify(caller, "ann", email=odd)
    with upgrade.running() as caller:
        withdraw(caller, "email", odd)
        assert state(caller, "anonymous_id", "ann") == "withdrawn"
        assert not upgrade.advance(caller)
        withdraw(caller, "email", odd)
        assert home(caller, "email", odd) == home(caller, "anonymous_id", "ann")
        said = {"identifiers": [{"type": "email", "value": odd}], "purpose": PURPOSE, "state": "granted"}
        caller.api("POST", "/consents", said, expect=400)


def test_a_list_of_version_1_waits_for_whoever_arrives_under_version_2(upgrade: Upgrade) -> None:
    def entries(caller: Caller) -> int:
        with caller.services.store.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(list_entries)).scalar_one())

    with upgrade.before() as caller:
        members = [{"type": "email", "value": f"{name}.lee@{GMAIL}"} for name in ("ann", "ben")]
        caller.api("PUT", "/lists/robinson", {"kind": "black", "members": members})
        identify(caller, "ben", email=f"benlee@{GMAIL}")  # another spelling
        assert entries(caller) == 0
    with upgrade.running() as caller:
        members = [{"type": "email", "value": f"BenLee@{GMAIL}"}]
        made = caller.api("PUT", "/lists/first", {"kind": "black", "members": members})
        assert (made["members"], made["unknown"]) == (1, 0)  # known by the index of version 1
        with caller.services.store.reading() as connection:
            waits = connection.execute(select(list_waiting.c.name)).scalars().all()
        assert "first" not in waits
        caller.api("PUT", "/lists/first", {"kind": "black", "members": []})
        identify(caller, "ann", email=f"Ann.Lee@{GMAIL.title()}")
        assert entries(caller) == 1
        members = [{"type": "email", "value": f"Ben.Lee@{GMAIL}"}]
        made = caller.api("PUT", "/lists/second", {"kind": "black", "members": members})
        assert (made["members"], made["unknown"]) == (0, 1)
        assert not upgrade.advance(caller)  # finds that benlee is who it waits for
        assert entries(caller) == 2


def test_a_fresh_installation_pays_nothing(caller: Caller) -> None:
    indexes = caller.services.identity.indexes
    assert (indexes.kept, indexes.passing) == (False, False)
    identify(caller, "ann", email=f"Ann.Lee@{GMAIL}")
    assert versions(caller) == {2: 2}
    assert not caller.services.index_pass.advance()
    assert home(caller, "email", f"annlee@{GMAIL}") == home(caller, "anonymous_id", "ann")
