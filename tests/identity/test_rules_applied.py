"""Other rules in force: everybody's links become what they had been under them from the first event on."""

from __future__ import annotations

from typing import Any

import pytest
from rules_world import (
    COUNTER,
    ONE_MAIL,
    SHARED,
    TRUST,
    Value,
    activate,
    finish,
    groups,
    message,
    newest,
    people,
    platform,
    send,
)

from cdp.app import Platform
from cdp.audit import AuditFilter
from cdp.clock import SECOND, FixedClock
from cdp.errors import ConflictError
from cdp.identity.anew import apply
from cdp.identity.anew.components import read
from cdp.identity.anew.queries import decided
from cdp.settings import Settings

ADA: Value = ("user_id", "ada")
BO: Value = ("user_id", "bo")
MAIL: Value = ("email", "ada@mail.example")
WORK: Value = ("email", "ada@work.example")
COUNTER_MAIL: Value = ("email", "counter@shop.example")
EMAIL = "marketing.communications.email"
TABLET: Value = ("anonymous_id", "tablet")


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two linked identities a page, one page a turn."""
    monkeypatch.setattr(apply, "_PAGE", 2)
    monkeypatch.setattr(apply, "_TURN_SECONDS", 0.0)


def entries(world: Platform, action: str) -> list[Any]:
    """What the audit log tells of it, oldest first."""
    with world.services.store.reading() as connection:
        found = world.services.audit.search(connection, AuditFilter(action=action), 500, None)
    return found[::-1]


def state(world: Platform, who: Value) -> str:
    """What the gate goes by."""
    services = world.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, *who)
        assert number is not None
        home = services.identity.profile_of(connection, number)
        standing = services.ledger.states(connection, EMAIL).get(home)
    return "none" if standing is None else standing.state


# -- what becomes of people -------------------------------------------------------------------------


def test_who_may_be_one_now_comes_together(world: Platform) -> None:
    send(world, message(1, [ADA, TABLET]), message(2, [BO, TABLET]))
    assert groups(world, [ADA, BO, TABLET]) == {frozenset({ADA, TABLET}), frozenset({BO})}
    activate(world, SHARED)
    assert groups(world, [ADA, BO, TABLET]) == {frozenset({ADA, TABLET}), frozenset({BO})}, "nothing yet"
    finish(world)
    assert groups(world, [ADA, BO, TABLET]) == {frozenset({ADA, BO, TABLET})}
    done = newest(world)
    assert (done.state, done.total, done.done, done.merged, done.parted) == ("done", 1, 1, 2, 0)


def test_who_may_be_one_no_longer_comes_apart(world: Platform) -> None:
    send(world, message(1, [ADA, MAIL]), message(2, [ADA, WORK]))
    activate(world, ONE_MAIL)
    finish(world)
    assert groups(world, [ADA, MAIL, WORK]) == {frozenset({ADA, MAIL}), frozenset({WORK})}
    done = newest(world)
    assert (done.state, done.merged, done.parted) == ("done", 0, 1)
    with world.services.store.reading() as connection:
        identity = world.services.identity
        everybody = [number for numbers in identity.everybody(connection).values() for number in numbers]
        held = decided(connection, everybody)
    assert sorted(one[:2] for one in held.values()) == [(False, "limit:email"), (True, "accepted")]


def test_a_blocked_value_ties_nobody_and_ties_again_when_it_is_blocked_no_longer(world: Platform) -> None:
    tills = [("anonymous_id", f"till-{number}") for number in range(3)]
    send(world, *(message(number, [till, COUNTER_MAIL]) for number, till in enumerate(tills)))
    (tied,) = groups(world, [*tills, COUNTER_MAIL])
    assert len(tied) == 4
    activate(world, COUNTER)
    finish(world)
    assert groups(world, tills) == {frozenset({till}) for till in tills}
    send(world, message(9, [tills[0], COUNTER_MAIL]))
    assert groups(world, tills) == {frozenset({till}) for till in tills}
    activate(world)
    finish(world)
    assert groups(world, [*tills, COUNTER_MAIL]) == {tied}


def test_a_pair_that_a_steward_revoked_stays_apart_whatever_is_blocked(world: Platform) -> None:
    services = world.services
    send(world, message(1, [ADA, COUNTER_MAIL]))
    with services.store.reading() as connection:
        number = services.identity.find(connection, *COUNTER_MAIL)
    assert number is not None
    services.steward.split("key:steward", "data_quality", services.profile_ids.encode(number), dry_run=False)
    apart = {frozenset({ADA}), frozenset({COUNTER_MAIL})}
    assert groups(world, [ADA, COUNTER_MAIL]) == apart
    for changes in ((COUNTER,), ()):
        activate(world, *changes)
        finish(world)
    assert groups(world, [ADA, COUNTER_MAIL]) == apart


def test_consent_follows_and_nothing_gets_wider(world: Platform) -> None:
    """Who becomes one with somebody who withdrew is withdrawn for, and is as before when they come apart."""
    refusal = message(1, [BO]) | {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "context": {"consent": {"categoryPreferences": {"Email": False}}},
    }
    send(world, message(0, [ADA, TABLET]), refusal, message(2, [BO, TABLET]))
    assert (state(world, ADA), state(world, BO)) == ("none", "withdrawn")
    activate(world, SHARED)
    finish(world)
    assert (state(world, ADA), state(world, BO)) == ("withdrawn", "withdrawn")
    activate(world)
    finish(world)
    assert (state(world, ADA), state(world, BO)) == ("none", "withdrawn")
    with world.services.store.reading() as connection:
        assert world.services.audit.verify(connection).problems == ()


def test_nothing_is_told_of_people_but_counts_and_whose_links_changed(world: Platform) -> None:
    send(world, message(1, [ADA, TABLET]), message(2, [BO, TABLET]))
    activate(world, SHARED)
    finish(world)
    (begun,), (page,), (done,) = (
        entries(world, f"identity.rules.{act}") for act in ("begin", "page", "done")
    )
    assert begun.people == {"components": "<10"}
    assert page.people["merged"] == "<10"
    assert page.subjects
    assert done.object["rules"] == newest(world).target


# -- the pass ---------------------------------------------------------------------------------------


def test_an_empty_platform_needs_no_pass(world: Platform) -> None:
    finish(world)
    assert [(one.state, one.total) for one in world.services.rules_pass.passes()] == [("done", 0)]
    assert entries(world, "identity.rules.begin") == []


def test_policies_that_say_the_same_of_identity_start_none(world: Platform) -> None:
    send(world, message(1, [ADA, TABLET]))
    before = newest(world)
    for change in ((TRUST,), (), (TRUST,)):
        activate(world, *change)
        finish(world)
    assert newest(world).pass_no == before.pass_no


def test_rules_that_come_back_before_anybody_looked_are_a_change_too(world: Platform) -> None:
    activate(world, ONE_MAIL)
    mails = people(world, 1)
    assert len(groups(world, mails)) == 2
    activate(world)
    finish(world)
    assert len(groups(world, mails)) == 1


@pytest.mark.usefixtures("small_pages")
def test_paused_it_rests_and_resumed_it_goes_on(world: Platform) -> None:
    rules = world.services.rules_pass
    mails = people(world, 6)
    activate(world, ONE_MAIL)
    assert rules.advance()
    assert rules.pause("key:steward").state == "paused"
    with pytest.raises(ConflictError):
        rules.pause("key:steward")
    reached = newest(world)
    assert not rules.advance()
    assert newest(world) == reached
    assert (reached.done, reached.total) == (1, 6)
    assert rules.resume("key:steward").state == "running"
    with pytest.raises(ConflictError):
        rules.resume("key:steward")
    finish(world)
    assert groups(world, mails) == {frozenset({mail}) for mail in mails}
    assert (newest(world).done, newest(world).parted) == (6, 6)
    assert [entries(world, f"identity.rules.{act}")[0].actor for act in ("pause", "resume")] == [
        "key:steward",
        "key:steward",
    ]


@pytest.mark.usefixtures("small_pages")
def test_newer_rules_replace_it_also_while_it_is_paused(world: Platform) -> None:
    rules = world.services.rules_pass
    mails = people(world, 4)
    activate(world, ONE_MAIL)
    rules.advance()
    rules.pause("key:steward")
    activate(world)
    finish(world)
    states = [(one.state, one.done) for one in rules.passes()]
    assert states == [("done", 4), ("replaced", 1), ("done", 0)]
    assert len(groups(world, mails)) == 4, "those that came apart came together again"


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("between", ["pause", "replace"])
def test_a_page_of_a_pass_that_ended_meanwhile_is_not_stored(
    world: Platform, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    rules = world.services.rules_pass
    mails = people(world, 2)
    activate(world, ONE_MAIL)
    rules.begin("system")

    def late(*given: Any) -> Any:
        found = read(*given)
        monkeypatch.setattr(apply, "read", read)
        if between == "pause":
            rules.pause("key:steward")
        else:
            activate(world)
            rules.begin("system")
        return found

    monkeypatch.setattr(apply, "read", late)
    assert rules.advance()
    ended = next(one for one in rules.passes() if one.state in ("paused", "replaced"))
    assert (ended.done, ended.position) == (0, 0)
    assert len(groups(world, mails)) == 2


@pytest.mark.usefixtures("small_pages")
def test_killed_anywhere_it_goes_on_where_it_stood(
    settings: Settings, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with platform(settings, clock) as world:
        mails = people(world, 5)
        activate(world, ONE_MAIL)
        world.services.rules_pass.advance()
        monkeypatch.setattr(
            world.services.identity, "refresh_consent", lambda *_: (_ for _ in ()).throw(RuntimeError)
        )
        with pytest.raises(RuntimeError):
            world.services.rules_pass.advance()
        reached = newest(world)
        assert (reached.done, reached.parted) == (1, 1)
        assert len(groups(world, mails)) == 6, "half a page is none"
    with platform(settings, clock) as world:
        assert not world.services.rules_pass.advance(), "whoever holds the lease may only be slow"
        clock.advance(31 * SECOND)
        finish(world)
        assert (newest(world).state, newest(world).done, newest(world).parted) == ("done", 5, 5)
        assert groups(world, mails) == {frozenset({mail}) for mail in mails}
