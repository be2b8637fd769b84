"""What events make of people: the rules at work in the identity stage, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from linking_world import BROWSER, POLICIES, LinkingWorld, Named

from cdp.audit import AuditEntry, AuditFilter
from cdp.identity import Pair, SetAside
from cdp.policy import load

RULES = load(POLICIES).identity
World = Callable[..., LinkingWorld]
ADA, BOB, EVE = (("user_id", name) for name in ("ada", "bob", "eve"))
FAMILY = ("email", "family@people.example")
TABLET, LAPTOP = ("anonymous_id", "tablet"), ("anonymous_id", "laptop")


@pytest.fixture(name="world")
def _world(tables_url: str, tmp_path: Path) -> Iterator[World]:
    made: list[LinkingWorld] = []

    def make(**rules: object) -> LinkingWorld:
        made.append(LinkingWorld(tables_url, tmp_path, msgspec.structs.replace(RULES, **rules)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def set_aside(world: LinkingWorld, limit: int = 100, after: Pair | None = None) -> list[SetAside]:
    """Return what stewards are shown."""
    with world.store.reading() as connection:
        return world.identity.set_aside(connection, limit, after)


def entries(world: LinkingWorld, action: str) -> list[AuditEntry]:
    """Return the audit entries of one action."""
    with world.store.reading() as connection:
        return world.audit.search(connection, AuditFilter(action=action), 100, None)


# -- merge protection: what becomes of each shape of event ------------------------------------------


def test_an_email_of_another_profile_is_set_aside_and_the_new_device_links(world: World) -> None:
    w = world()
    w.say(1, BOB, FAMILY)
    done = w.say(2, ADA, FAMILY, TABLET)
    assert w.profiles() == {frozenset({ADA, TABLET}), frozenset({BOB, FAMILY})}
    assert done.set_aside == {"unique:user_id": 1}


def test_a_device_stays_with_its_profile_when_an_email_of_another_is_typed_on_it(world: World) -> None:
    w = world()
    w.say(1, ADA, FAMILY)
    w.say(2, BOB, TABLET)
    assert w.say(3, FAMILY, TABLET).set_aside == {"unique:user_id": 1}
    assert w.profiles() == {frozenset({ADA, FAMILY}), frozenset({BOB, TABLET})}


def test_a_full_profile_takes_no_more_and_the_rest_of_the_event_links(world: World) -> None:
    w = world()
    mails = [("email", f"ada{n}@people.example") for n in range(6)]
    for at, mail in enumerate(mails):
        w.say(at, ADA, mail)
    done = w.say(9, ADA, ("email", "ada9@people.example"), TABLET)
    assert done.set_aside == {"limit:email": 1}
    assert frozenset({ADA, *mails[:5], TABLET}) in w.profiles()


def test_what_arrives_late_and_was_said_first_wins(world: World) -> None:
    w = world()
    w.say(5, ADA, TABLET)
    w.say(1, BOB, TABLET)
    assert w.profiles() == {frozenset({ADA}), frozenset({BOB, TABLET})}


# -- shared things ----------------------------------------------------------------------------------


def test_five_hundred_users_of_one_device_stay_five_hundred(world: World) -> None:
    w = world()
    users = [("user_id", f"guest-{n}") for n in range(500)]
    done = w.store_batch(*(w.event(at, user, TABLET) for at, user in enumerate(users)))
    assert done.set_aside == {"unique:user_id": 499}
    profiles = w.profiles()
    assert len(profiles) == 500
    assert frozenset({users[0], TABLET}) in profiles


def test_a_family_with_one_email_stays_a_family_of_persons(world: World) -> None:
    w = world()
    for at, person in enumerate((ADA, BOB, EVE)):
        w.say(at, person, FAMILY, ("anonymous_id", f"phone of {person[1]}"))
    assert len(w.profiles()) == 3
    assert all(w.together(person, ("anonymous_id", f"phone of {person[1]}")) for person in (ADA, BOB, EVE))
    assert w.together(ADA, FAMILY)


def test_a_call_centre_s_number_ties_nobody_to_a_second_caller(world: World) -> None:
    w = world()
    number = ("phone", "+41446681800")
    calls = [w.event(at, ("user_id", f"caller-{at}"), number) for at in range(50)]
    w.store_batch(*calls)
    assert max(len(profile) for profile in w.profiles()) == 2


def test_without_user_ids_a_shared_device_makes_no_profile_above_its_limits(world: World) -> None:
    w = world()
    w.store_batch(*(w.event(at, ("email", f"guest{at}@people.example"), TABLET) for at in range(40)))
    assert max(len(profile) for profile in w.profiles()) == 6  # five addresses and the device


# -- the cap of components --------------------------------------------------------------------------


def test_a_component_ends_at_its_cap_and_events_land_on_their_own(world: World) -> None:
    w = world(profile_cap=10, component_cap=20)
    first = w.store_batch(*(w.event(at, ("user_id", f"guest-{at}"), TABLET) for at in range(30)))
    assert first.set_aside == {"component": 11, "unique:user_id": 18}
    again = w.say(99, ("user_id", "guest-99"), TABLET, LAPTOP)
    assert again.set_aside == {"component": 1}
    assert w.together(("user_id", "guest-99"), LAPTOP)
    assert len(set_aside(w)) == 18  # what is not kept is not listed
    with w.committer.batch() as batch:
        assert len(w.identity.lock(batch.connection, [w.number(TABLET)])) == 20


def test_a_known_pair_of_a_full_component_stays(world: World) -> None:
    w = world(profile_cap=10, component_cap=10)
    w.store_batch(*(w.event(at, ADA, ("anonymous_id", f"a{at}")) for at in range(30)))
    assert w.say(-5, ADA, ("anonymous_id", "a3")).set_aside == {}  # an earlier word of what is known
    assert w.say(100, ADA, ("anonymous_id", "a20")).set_aside == {"component": 1}


# -- alias ------------------------------------------------------------------------------------------


def alias(world: LinkingWorld, at: int, newer: Named, older: Named) -> None:
    """Say that a user had another id before, as the validator reads a server's alias."""
    world.say(at, newer, older, ("anonymous_id", older[1]), kind="alias")


def test_an_alias_told_later_makes_two_profiles_one(world: World) -> None:
    w = world()
    w.say(1, ADA, TABLET)
    w.say(2, BOB, LAPTOP)
    alias(w, 3, ADA, BOB)
    assert w.together(ADA, TABLET, BOB, LAPTOP)


def test_a_browser_s_word_known_first_does_not_hide_the_alias(world: World) -> None:
    """An event that names both ids as users, of a browser and of a server, says less than an alias."""
    w = world()
    w.say(1, ADA, BOB, source=BROWSER)
    w.say(2, ADA, BOB)
    assert not w.together(ADA, BOB)
    alias(w, 3, ADA, BOB)
    assert w.together(ADA, BOB)


def test_a_device_two_users_signed_in_on_one_after_the_other_makes_them_not_one(world: World) -> None:
    w = world()
    device = ("user_id", "d-1")
    alias(w, 1, ADA, device)
    alias(w, 2, BOB, device)
    assert w.together(ADA, device)
    assert not w.together(ADA, BOB)


@pytest.mark.parametrize("first", ["renamed", "used"])
def test_aliases_in_any_order_of_arrival_make_the_same_profiles(world: World, first: str) -> None:
    w = world()
    said = [(5, BOB, ADA), (6, ADA, BOB), (7, EVE, BOB)]
    for at, newer, older in said if first == "used" else reversed(said):
        alias(w, at, newer, older)
    assert w.together(ADA, BOB, EVE)


# -- what stewards are shown ------------------------------------------------------------------------


def test_what_stands_set_aside_is_listed_by_pair(world: World) -> None:
    w = world()
    for at in range(7):
        w.say(at, ADA, ("email", f"ada{at}@people.example"))
    w.say(8, BOB, ("email", "ada0@people.example"))
    listed = set_aside(w)
    assert sorted(one.reason for one in listed) == ["limit:email", "limit:email", "unique:user_id"]
    assert [one.pair for one in listed] == sorted(one.pair for one in listed)
    assert {frozenset(one.types) for one in listed} == {frozenset({"user_id", "email"})}
    assert {one.rules_version for one in listed} == {RULES.version}
    assert set_aside(w, 1) == listed[:1]
    assert set_aside(w, 9, after=listed[0].pair) == listed[1:]


def test_what_is_linked_again_is_listed_no_more(world: World) -> None:
    w = world()
    w.say(5, ADA, TABLET)
    w.say(6, BOB, TABLET)
    assert len(set_aside(w)) == 1
    alias(w, 7, ADA, BOB)
    assert set_aside(w) == []


def test_a_profile_that_grows_is_told_once(world: World) -> None:
    w = world(growth_alarm=4)
    for at in range(6):
        w.say(at, ADA, ("anonymous_id", f"a{at}"))
    (entry,) = entries(w, "identity.alarm")
    assert entry.counts == {"identifiers": 4}
    with w.store.reading() as connection:
        (grown,) = w.identity.grown(connection, 10)
        assert grown == (w.identity.profile_of(connection, w.number(ADA)), 7)
        assert w.identity.grown(connection, 10, after=grown[0]) == []


def test_two_large_profiles_that_become_one_are_no_new_alarm(world: World) -> None:
    w = world(growth_alarm=3)
    w.store_batch(*(w.event(at, ADA, ("anonymous_id", f"a{at}")) for at in range(3)))
    w.store_batch(
        *(w.event(at, ("email", "a@people.example"), ("anonymous_id", f"b{at}")) for at in range(3))
    )
    assert len(entries(w, "identity.alarm")) == 2
    w.say(9, ADA, ("email", "a@people.example"))
    assert len(entries(w, "identity.alarm")) == 2


# -- ten thousand identifiers on one profile --------------------------------------------------------


def test_a_user_of_ten_thousand_devices_is_one_profile_of_its_limit(world: World) -> None:
    w = world(component_cap=1_000)
    devices = [("anonymous_id", f"a{n}") for n in range(10_000)]
    apart: dict[str, int] = {}
    for start in range(0, len(devices), 2500):
        part = devices[start : start + 2500]
        done = w.store_batch(*(w.event(start + n, ADA, one) for n, one in enumerate(part)))
        apart = {key: apart.get(key, 0) + done.set_aside.get(key, 0) for key in {*apart, *done.set_aside}}
    assert apart == {"limit:anonymous_id": 999 - 200, "component": 10_000 - 999}
    assert max(len(profile) for profile in w.profiles()) == 201


def test_a_dry_run_leaves_no_alarm_on_record(world: World) -> None:
    w = world(growth_alarm=3)
    events = [w.event(at, ADA, ("anonymous_id", f"a{at}")) for at in range(3)]
    w.identity.reserve(10)
    with w.committer.batch() as batch, batch.trial(undo=True):
        assert w.identity.resolve(batch, events).grown == 1
    assert entries(w, "identity.alarm") == []
    assert w.profiles() == set()
