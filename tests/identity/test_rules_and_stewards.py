"""What a steward took apart stays apart, whatever rules block meanwhile and no longer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from rules_world import COUNTER, Value, activate, finish, message, platform, send

from cdp.app import Platform
from cdp.clock import SECOND, FixedClock
from cdp.errors import InvalidInputError
from cdp.identity.anew import apply
from cdp.identity.anew.components import read
from cdp.settings import Settings

ADA: Value = ("user_id", "ada")
TABLET: Value = ("anonymous_id", "tablet")
MAIL: Value = ("email", "counter@shop.example")
PURPOSE = "data_quality"


@pytest.fixture
def world(settings: Settings, clock: FixedClock) -> Iterator[Platform]:
    with platform(settings, clock) as built:
        yield built


def told(world: Platform, clock: FixedClock, *named: Sequence[Value]) -> dict[Value, str]:
    """Have an event name each of these, a second apart; returns the ids under which they answer."""
    for minute, several in enumerate(named):
        send(world, message(minute, several))
        clock.advance(SECOND)
    services, found = world.services, {}
    with services.store.reading() as connection:
        for who in {who for several in named for who in several}:
            number = services.identity.find(connection, *who)
            assert number is not None
            found[who] = services.profile_ids.encode(number)
    return found


def carve(world: Platform, who: str) -> None:
    """Have a steward take an identifier out of its profile."""
    world.services.steward.split("key:steward", PURPOSE, who, [who], dry_run=False)


def one(world: Platform, *ids: str) -> bool:
    """Tell whether these ids are of one profile; a blocked value is found by its id only."""
    services = world.services
    numbers = [services.profile_ids.decode(found) for found in ids]
    with services.store.reading() as connection:
        return len(set(services.identity.profiles_of(connection, numbers).values())) == 1


def test_a_split_while_the_pass_reads_stays(
    world: Platform, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = told(world, clock, [ADA, MAIL])
    activate(world, COUNTER)

    def late(*given: Any) -> Any:
        found = list(read(*given))
        monkeypatch.setattr(apply, "read", read)
        carve(world, ids[MAIL])
        return found

    monkeypatch.setattr(apply, "read", late)
    finish(world)
    activate(world)
    finish(world)
    assert not one(world, ids[ADA], ids[MAIL])


def test_an_admission_that_was_read_before_a_split_lifts_nothing(
    world: Platform, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = told(world, clock, [ADA, MAIL])
    activate(world, COUNTER)
    finish(world)
    activate(world)

    def late(*given: Any) -> Any:
        found = list(read(*given))
        monkeypatch.setattr(apply, "read", read)
        link = ids[ADA], ids[MAIL]
        world.services.steward.revoke("key:steward", PURPOSE, link, dry_run=False)
        return found

    monkeypatch.setattr(apply, "read", late)
    finish(world)
    assert not one(world, ids[ADA], ids[MAIL])


def test_a_link_that_rules_set_aside_can_be_revoked_for_good_and_once(
    world: Platform, clock: FixedClock
) -> None:
    ids = told(world, clock, [ADA, MAIL])
    activate(world, COUNTER)
    finish(world)
    link = ids[ADA], ids[MAIL]
    world.services.steward.revoke("key:steward", PURPOSE, link, dry_run=False)
    with pytest.raises(InvalidInputError):
        world.services.steward.revoke("key:steward", PURPOSE, link, dry_run=False)
    activate(world)
    finish(world)
    assert not one(world, ids[ADA], ids[MAIL])
