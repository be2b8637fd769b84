"""States under other policies: made as columns as one by one, ahead of time, and served only when whole."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from derivation_world import (
    People,
    devices_otherwise,
    fail,
    one_by_one,
    shorter,
    states,
    stored,
    total,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_world import BUNDLE, EMAIL, MAIL, SMS, START, USER, World, draft, statement
from sqlalchemy import delete

from cdp.clock import DAY
from cdp.consent import Deriving, Member, Record
from cdp.consent.anew import derive as derive_module
from cdp.consent.model import RecordState
from cdp.consent.queries import add_records
from cdp.consent.states import queries as states_queries
from cdp.consent.tables import consent_projections, consent_records, consent_standings
from cdp.errors import UnavailableError
from cdp.policy import Bundle, Notice, Purpose

DIRECT = "marketing.communications"


KEYS = ("marketing", DIRECT, EMAIL, SMS)


STATES: tuple[RecordState, ...] = (
    "granted",
    "granted",
    "granted",
    "refused",
    "withdrawn",
    "objected",
    "opted_out",
    "informed",
)


RARE: tuple[RecordState, ...] = ("restricted", "restriction_lifted")


NOTICE = "email-news"


def notices(versions: int, material: bool) -> tuple[Notice, ...]:  # noqa: FBT001  # a draw
    return tuple(
        Notice(id=NOTICE, version=version + 1, material=material and version > 0, text="We write to you.")
        for version in range(versions)
    )


@st.composite
def bundles(draw: st.DrawFn) -> Bundle:
    """Policies that differ in all that a state depends on; some lack a purpose."""
    changed: dict[str, Purpose] = {}
    for key in KEYS:
        stated = Purpose(
            key=key,
            name=key,
            description="",
            basis={"*": "consent"},
            validity_days=draw(st.sampled_from([None, 3, 30])),
            notices=notices(draw(st.integers(0, 3)), draw(st.booleans())),
            restrainable=draw(st.integers(0, 9)) > 0,
        )
        changed[key] = stated
    changed.pop(draw(st.sampled_from([*KEYS, ""])), None)
    everywhere = BUNDLE.jurisdictions.configured
    gpc = msgspec.structs.replace(
        BUNDLE.signals.gpc,
        act_may_lift_in=draw(st.sampled_from([frozenset(), frozenset({"EU"}), everywhere])),
    )
    return msgspec.structs.replace(
        BUNDLE, purposes=changed, signals=msgspec.structs.replace(BUNDLE.signals, gpc=gpc)
    )


def population(chance: random.Random, people: int) -> tuple[dict[int, list[Member]], list[Record]]:
    """Return profiles of one to three identities, and what was said of them: ties, imports, clocks."""
    profiles: dict[int, list[Member]] = {}
    number = 0
    for _ in range(people):
        size = chance.choice([1, 1, 1, 2, 3])
        numbers = [number + place + 1 for place in range(size)]
        number += size
        linked = chance.randrange(10) * DAY
        profiles[numbers[0]] = [
            Member(
                identity_no=one,
                device=chance.random() < 0.25,
                linked_at=dict.fromkeys((other for other in numbers if other != one), linked),
                vouched_at={other: linked for other in numbers if other != one and chance.random() < 0.7},
                came_with={other: chance.random() < 0.8 for other in numbers if chance.random() < 0.3},
                seen_at=chance.randrange(10) * DAY,
            )
            for one in numbers
        ]
    records = [
        said(chance, record_id, member.identity_no)
        for record_id, member in enumerate(
            (one for members in profiles.values() for one in members for _ in range(chance.randrange(5))), 1
        )
    ]
    chance.shuffle(records)
    return profiles, records


def said(chance: random.Random, record_id: int, number: int) -> Record:
    state = chance.choice(RARE if chance.random() < 0.05 else STATES)
    received = chance.randrange(10) * DAY
    signal = chance.choice(["", "", "", "gpc" if state == "opted_out" else "tcf"])
    return Record(
        record_id=record_id,
        identity_no=number,
        purpose=chance.choice((*KEYS, EMAIL, EMAIL)),
        state=state,
        act=chance.random() < 0.7,
        event_time=received + chance.choice([0, 0, -DAY, 2 * DAY, -received]),
        received_at=received,
        source_kind=chance.choice(["server", "server", "browser", "import"]),
        source_id=1,
        verified=chance.random() < 0.6,
        event_type=chance.choice(["regular", "explicit", "separate"]),
        signal=signal,
        expires_at=chance.choice([None, None, received + 2 * DAY, received + 40 * DAY]),
        notice_id=chance.choice(["", NOTICE, NOTICE]),
        notice_version=chance.choice([None, 1, 2, 3, 9]),
        jurisdiction=chance.choice(["", "EU", "UK"]),
        recipients=chance.choice([(), (), (), (), ("mailer",), ("crm", "mailer")])
        if state == "granted"
        else (),
    )


def fresh(world: World, records: list[Record]) -> None:
    """Have these records, and nothing derived."""
    with world.committer.batch() as batch:
        for table in (consent_records, consent_standings, consent_projections):
            batch.connection.execute(delete(table))
        add_records(batch.connection, batch.id, records)


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derive_module, "_PAGE", 7)


@pytest.mark.usefixtures("pages")
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # the world is emptied by each example
@given(old=bundles(), new=bundles(), seed=st.integers(0, 2**32))
def test_made_as_columns_or_one_by_one_the_states_are_the_same(
    world: World, old: Bundle, new: Bundle, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  # a draw, no secret
    profiles, records = population(chance, 40)
    fresh(world, records)
    people = People(profiles)
    world.clock.advance(START + 20 * DAY - world.clock.now())
    world.ledger.adopt(old)
    deriving = Deriving(world.committer, world.ledger, people, world.clock)
    deriving.settle()
    assert stored(world, old) == one_by_one(world, old, people)
    assert deriving.prepare(new)
    assert deriving.progress(new) is None
    before, after = profiles.keys(), population(chance, 3)[0]  # somebody speaks, and is relinked, meanwhile
    people.profiles.update(after)
    people.relinked.update(no for members in after.values() for no in (one.identity_no for one in members))
    moved = {one.identity_no for members in after.values() for one in members}
    for no in before & moved - after.keys():
        people.profiles.pop(no)
    for no, members in list(people.profiles.items()):
        if no not in after:
            people.profiles[no] = [one for one in members if one.identity_no not in moved]
    with world.committer.batch() as batch:
        later = [said(chance, 10_000 + place, chance.randrange(1, 40)) for place in range(10)]
        known = people.profiles_of(batch.connection, range(1, 100))
        later = [one for one in later if one.identity_no in known]
        add_records(batch.connection, batch.id, later)
        touched = {known[one.identity_no] for one in later} | after.keys()
        world.ledger.refresh(
            batch, {no: people.profiles[no] for no in touched}, (before & moved) - after.keys()
        )
    world.ledger.adopt(new)
    deriving.settle()
    assert stored(world, new) == one_by_one(world, new, people)
    deriving.clear([], 1000)
    assert total(world) == len(one_by_one(world, new, people)), "nothing is left of other policies"


def test_what_is_made_ahead_is_no_change_and_is_served_once_it_is_in_force(
    spoken: tuple[World, People, Deriving],
) -> None:
    world, _, deriving = spoken
    with world.store.reading() as connection:
        everything = world.ledger.changed_since(connection, 0)
    assert deriving.prepare(shorter(5))
    assert states(world) == {USER: "granted", MAIL: "granted"}
    with world.store.reading() as connection:
        assert world.ledger.changed_since(connection, 0) == everything
    world.say(draft(statement("withdrawn", START + 10 * DAY), received_at=START + 10 * DAY))
    world.ledger.adopt(shorter(5))
    with pytest.raises(UnavailableError):
        states(world)  # who withdrew meanwhile is not caught up with
    deriving.settle()
    assert states(world) == {USER: "withdrawn", MAIL: "stale"}


def test_a_purpose_of_which_nothing_changed_goes_on_being_served(
    spoken: tuple[World, People, Deriving],
) -> None:
    world, _, _ = spoken
    renamed = msgspec.structs.replace(BUNDLE.purposes[SMS], name="Short messages", validity_days=1)
    world.ledger.adopt(msgspec.structs.replace(BUNDLE, purposes={**BUNDLE.purposes, SMS: renamed}))
    assert states(world) == {USER: "granted", MAIL: "granted"}
    with world.store.reading() as connection, pytest.raises(UnavailableError):
        world.ledger.states(connection, SMS)


@pytest.mark.usefixtures("pages")
def test_a_derivation_that_broke_off_is_taken_up_and_nothing_of_it_served(
    spoken: tuple[World, People, Deriving], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, people, deriving = spoken
    monkeypatch.setattr(derive_module, "_PAGE", 1)
    assert not deriving.prepare(shorter(5), pages=1)
    left = deriving.progress(shorter(5))
    assert left is not None
    assert 0 < left.reached < left.of
    assert states(world) == {USER: "granted", MAIL: "granted"}
    world.ledger.adopt(shorter(5))
    with pytest.raises(UnavailableError):
        states(world)
    monkeypatch.setattr(states_queries, "add_missing_states", fail)
    with pytest.raises(RuntimeError):
        deriving.settle()
    with pytest.raises(UnavailableError):
        states(world)
    monkeypatch.undo()
    Deriving(world.committer, world.ledger, people, world.clock).settle()  # another process
    assert states(world) == {USER: "stale", MAIL: "stale"}


def test_of_two_who_make_the_same_one_stores_it(
    spoken: tuple[World, People, Deriving], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, people, deriving = spoken
    another = Deriving(world.committer, world.ledger, people, world.clock)
    read = deriving._states

    def meanwhile(*given: Any) -> Any:
        made = list(read(*given))
        monkeypatch.undo()
        assert another.prepare(shorter(5))
        return made

    monkeypatch.setattr(deriving, "_states", meanwhile)
    assert deriving.prepare(shorter(5))
    world.ledger.adopt(shorter(5))
    deriving.settle()
    assert states(world) == {USER: "stale", MAIL: "stale"}


def test_policies_that_come_back_do_not_find_their_old_states(
    spoken: tuple[World, People, Deriving],
) -> None:
    world, _, deriving = spoken
    world.ledger.adopt(shorter(5))
    deriving.settle()
    withdrawn = draft(statement("withdrawn", START + 10 * DAY), received_at=START + 10 * DAY)
    world.say(withdrawn)
    world.ledger.adopt(BUNDLE)
    with pytest.raises(UnavailableError):
        states(world)
    deriving.settle()
    assert states(world) == {USER: "withdrawn", MAIL: "granted"}


def test_a_restraint_binds_below_a_purpose_that_is_declared_no_more(world: World) -> None:
    world.say(draft(statement("withdrawn", purpose=DIRECT)))
    assert world.state() == "withdrawn"
    less = {key: purpose for key, purpose in BUNDLE.purposes.items() if key != DIRECT}
    world.adopt(purposes=less)
    assert world.state() == "withdrawn"


def test_nothing_is_made_ahead_for_other_devices(spoken: tuple[World, People, Deriving]) -> None:
    _, _, deriving = spoken
    other = devices_otherwise()
    assert deriving.prepare(other)
    assert deriving.progress(other) is not None
