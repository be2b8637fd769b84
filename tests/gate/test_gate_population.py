"""Facts kept of everybody are those that the store has: over random histories, at every step."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from gate_world import EMAIL, World, running
from pyroaring import BitMap
from sqlalchemy import select

from cdp.clock import DAY
from cdp.consent import RecordState
from cdp.consent.tables import consent_records
from cdp.gate import FactSets, bind, facts
from cdp.gate.facts import FactReader
from cdp.gate.told import HINTS, NOWHERE, Said, Telling
from cdp.identity import members_of
from cdp.profiles.tables import trait_observations
from cdp.store import Connection

world_fixture = pytest.fixture(running, name="world")
COUNTRIES = ("Germany", "US", "China", "unspecified", "Atlantis", "US-CA")
STATES: tuple[RecordState, ...] = ("granted", "granted", "refused", "withdrawn", "objected", "opted_out")
AGES: tuple[dict[str, Any], ...] = (
    {"birthday": "2010-5-3"}, {"birthday": "1990-01-01"}, {"birthday": "some day"}, {"birthday": ""},
    {"age": 12}, {"age": "17"}, {"age": 40}, {"age_band": "under 18"},
    {"birthday": "2008-03-01", "age_band": "under 18"},
)  # fmt: skip
STEPS = 60


def _read(world: World, connection: Connection, *, kept: bool) -> dict[str, Any]:
    """Return the facts of everybody, kept or from the store, as plain sets."""
    bundle = world.bundle
    destination, purpose = bundle.destinations["mailer"], bundle.purposes[EMAIL]
    terms = bind(bundle, destination, purpose, frozenset(), None)
    members = members_of(connection, range(1, world.numbers + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts, "_MANY", -1 if kept else 1_000_000)
        reader: FactReader = world.gate._judge.facts
        found: FactSets = reader.read(
            connection, members, BitMap(), terms, bundle, destination, purpose, world.clock.now()
        )
    return {
        "people": set(found.people),
        "places": {name: set(people) for name, people in found.places.items() if people},
        "restraints": {name: set(people) for name, people in found.restraints.items() if people},
        "true": {condition: set(people) for condition, people in found.true.items()},
        "stale": set(found.stale),
        "valid_until": found.valid_until,
    }


class _History:
    """Random things that happen to a world of people, two identities each."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)  # noqa: S311  # a seeded history
        self.browser = world.access.create_source("test", "site", "browser")[0].source_id
        self.members: dict[int, list[int]] = {}
        self.home: dict[int, list[int]] = {}

    def step(self) -> None:
        acts = [self.arrive, self.say, self.say, self.move, self.tell_age, self.age, self.merge, self.split]
        acts.append(self.blacken)
        self.random.choice(acts if self.members else [self.arrive])()

    def arrive(self) -> None:
        traits: dict[str, Any] = (
            {"country": self.random.choice(COUNTRIES)} if self.random.random() < 0.8 else {}
        )
        if self.random.random() < 0.4:
            traits["birthday"] = f"{self.random.randint(2000, 2015)}-06-0{self.random.randint(1, 9)}"
        consent = self.random.choice([None, *STATES])
        number = self.world.person(f"Person {len(self.home)}", traits, consent=consent)
        self.members[number] = self.home[number] = [number, number + 1]

    def say(self) -> None:
        more: dict[str, Any] = {}
        if self.random.random() < 0.2:
            more["jurisdiction"] = self.random.choice(["CN", "Japan"])
        if self.random.random() < 0.2:
            more["recipients"] = (self.random.choice(["mailer", "adnet"]),)
        if self.random.random() < 0.2:
            more["expires_at"] = self.world.clock.now() + self.random.randint(1, 400) * DAY
        person = self.random.choice(list(self.members))
        if self.members[person] == self.home.get(person):
            self.world.say(person, self.random.choice(STATES), separate=self.random.random() < 0.5, **more)

    def move(self) -> None:
        number = self.random.choice(self.members[self.random.choice(list(self.members))])
        place = {
            "country": COUNTRIES,
            "region": ("California", "Texas", "Springfield"),
            "ip_country": ("US-CA", "China", "Atlantis"),
        }
        name = self.random.choice(list(place))
        source = self.random.choice([0, self.browser])
        self.world.observe(number, {name: self.random.choice(place[name])}, source)

    def tell_age(self) -> None:
        number = self.random.choice(self.members[self.random.choice(list(self.members))])
        self.world.observe(number, self.random.choice(AGES))

    def age(self) -> None:
        self.world.clock.advance(self.random.randint(1, 300) * DAY)

    def merge(self) -> None:
        if len(self.members) > 1:
            low, high = sorted(self.random.sample(list(self.members), 2))
            self.world.relink(dict.fromkeys(self.members[high], low))
            self.members[low] = sorted(self.members[low] + self.members.pop(high))
            self._refresh(low, gone=high)

    def split(self) -> None:
        joined = [number for number, held in self.members.items() if held != self.home[number]]
        if joined:
            low = self.random.choice(joined)
            high = next(n for n in self.members[low] if n in self.home and n != low)
            self.world.relink(dict.fromkeys(self.home[high], high))
            self.members[low] = [n for n in self.members[low] if n not in self.home[high]]
            self.members[high] = self.home[high]
            self._refresh(low)
            self._refresh(high)

    def _refresh(self, number: int, gone: int | None = None) -> None:
        world = self.world
        with world.committer.batch() as batch:
            profiles = {number: world._consent_members(self.members[number])}
            world.ledger.refresh(batch, profiles, () if gone is None else (gone,))

    def blacken(self) -> None:
        self.world.segments.black ^= BitMap([self.random.choice(list(self.members))])


@pytest.mark.parametrize("seed", range(5))
def test_kept_facts_are_those_of_the_store(world: World, seed: int) -> None:
    history = _History(world, seed)
    for _ in range(STEPS):
        history.step()
        if history.random.random() < 0.5:
            with world.store.reading() as connection:
                assert _read(world, connection, kept=True) == _read(world, connection, kept=False)


@pytest.mark.parametrize("seed", range(3))
def test_what_was_told_of_many_is_what_was_told_of_each(world: World, seed: int) -> None:
    history = _History(world, seed)
    for _ in range(STEPS):
        history.step()
    mover = history.members[min(history.members)][0]  # whatever chance brought
    world.observe(mover, {"country": COUNTRIES[0]})
    world.observe(mover, {"country": COUNTRIES[1]})
    world.observe(mover, {"region": "California"}, history.browser)
    telling = Telling.of(world.bundle)
    kinds, told = dict(telling.places), world.gate._judge.facts._told
    o, c = trait_observations.c, consent_records.c
    expected: dict[int, Said] = {}
    with world.store.reading() as connection:
        together = told.hear(connection, None, telling)
        query = select(o.identity_no, o.name, o.value, o.source_id)
        for no, name, value, source in connection.execute(query.where(o.name.in_(kinds), o.sealed.is_(None))):
            kind = HINTS[kinds[name]] if source == history.browser else kinds[name]
            expected[no] = expected.get(no, NOWHERE).plus(kind, msgspec.json.decode(value))
        for no, value, signal in connection.execute(select(c.identity_no, c.jurisdiction, c.signal)):
            if value:
                expected[no] = expected.get(no, NOWHERE).plus("hint" if signal else "country", value)
        births = {no: told.births(connection, [no], telling).get(no) for no in range(1, world.numbers + 1)}
    assert len(expected[mover].countries) > 1
    assert expected[mover].state_hints
    assert {no: said for said, numbers in together.places.items() for no in numbers} == expected
    assert together.births == {no: day for no, day in births.items() if day is not None}


def test_a_snapshot_that_is_older_than_what_is_kept_reads_from_the_store(world: World) -> None:
    person = world.person("Wren")
    with world.store.reading() as older:
        before = _read(world, older, kept=False)
        world.say(person, "withdrawn")
        with world.store.reading() as newer:
            assert _read(world, newer, kept=True)["restraints"] == {"withdrawn": {person}}
        assert _read(world, older, kept=True) == before


def test_an_erasure_empties_what_is_kept(world: World) -> None:
    world.person("Wren", {"country": "China"})
    population = world.gate._judge.facts.population
    with world.store.reading() as connection:
        _read(world, connection, kept=True)
    held = population._recorded
    with world.store.writing() as connection, connection.begin():
        connection.exec_driver_sql("UPDATE log_head SET erasure_epoch = erasure_epoch + 1")
    with world.store.reading() as connection:
        _read(world, connection, kept=True)
    assert population._recorded is not held
