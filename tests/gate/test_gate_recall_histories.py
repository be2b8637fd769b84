"""Over random histories: what is removed is exactly delivered − permitted, and no late row holds anybody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, count
from pathlib import Path

import pytest
from gate_world import World, running, years
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from cdp.consent import RecordState
from cdp.store import Store, metadata

world_fixture = pytest.fixture(running, name="world")
STATES: tuple[RecordState, ...] = ("granted", "withdrawn", "refused", "objected", "restricted")
PICK = st.integers(0, 7)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), PICK, st.integers(0, len(STATES) - 1)),
        st.tuples(st.just("merge"), PICK, PICK),
        st.tuples(st.just("split"), PICK, PICK),
        st.tuples(st.just("list"), PICK, PICK),
        st.tuples(st.just("fetch"), PICK, PICK),
        st.tuples(st.just("broken"), PICK, PICK),
        st.tuples(st.just("between"), PICK, PICK),
        st.tuples(st.just("age"), PICK, PICK),
        st.tuples(st.just("issue"), PICK, PICK),
    ),
    min_size=4,
    max_size=14,
)


class History:
    """A destination that does what it is told, and the people behind it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.profiles = {number: [number, number + 1] for number in (world.person(f"P{n}") for n in range(4))}
        self.table: set[str] = set()

    def person(self, pick: int) -> int:
        return sorted(self.profiles)[pick % len(self.profiles)]

    def say(self, pick: int, state: int) -> None:
        profile = self.person(pick)
        self.world.say(profile, STATES[state], numbers=self.profiles[profile])

    def merge(self, one: int, other: int) -> None:
        low, high = sorted((self.person(one), self.person(other)))
        if low != high:
            self._relink({low: sorted(self.profiles[low] + self.profiles.pop(high))})

    def split(self, pick: int, _: int) -> None:
        profile = self.person(pick)
        numbers = self.profiles[profile]
        if len(numbers) > 1:
            middle = len(numbers) // 2
            self._relink({profile: numbers[:middle], numbers[middle]: numbers[middle:]})

    def _relink(self, changed: dict[int, list[int]]) -> None:
        self.profiles |= changed
        self.world.relink({number: profile for profile, numbers in changed.items() for number in numbers})
        for profile, numbers in changed.items():
            self.world.refresh(profile, numbers)

    def list(self, pick: int, _: int) -> None:
        self.world.segments.black ^= BitMap([self.person(pick)])

    def age(self, pick: int, _: int) -> None:
        self.world.clock.advance(years(0.1 + pick / 4))

    def evaluate(self) -> None:
        self.world.segments.members.clear()
        self.world.segments.members.update(self.profiles)
        self.world.segments.as_of = self.world.head()

    def render(self, segment: str = "everybody") -> Iterator[str]:
        self.evaluate()
        request = self.world.request(segment=segment, fields=("email",))
        rendering = self.world.gate.render(self.world.gate.authorise(request).export_id, self.world.mailer)
        return (row.profile_ref for row in rendering.rows)

    def fetch(self, *_: int) -> None:
        self.table.update(self.render())

    def broken(self, pick: int, _: int) -> None:
        """Fetch a part and lose the connection: what the gate gave may have arrived or not."""
        rows = self.render()
        for _row, ref in zip(range(pick % 4), rows, strict=False):
            self.table.add(ref)
        rows.close()  # type: ignore[attr-defined]  # a generator

    def between(self, pick: int, state: int) -> None:
        """Somebody says something, and the worker has its turn, while a fetch is on its way."""
        rows = self.render()
        self.table.update(ref for _, ref in zip(range(1), rows, strict=False))
        self.say(pick, state % len(STATES))
        self.issue()
        self.table.update(rows)

    def issue(self, *_: int) -> set[str]:
        told: set[str] = set()
        for recall in chain.from_iterable(self.world.gate.recalls.due()):
            with self.world.committer.batch() as batch:
                self.world.gate.recalls.settle(batch, recall)
            told |= {row.profile_ref for row in recall.removals.values()}
        self.table -= told
        return told

    def permitted(self) -> set[str]:
        """Return whom another export would release now, to another audience of the same destination."""
        return set(self.render("probe"))


@settings(
    max_examples=12,
    phases=(Phase.explicit, Phase.generate),  # each example builds a world: to shrink one takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_removed_is_exactly_delivered_without_permitted(
    steps: list[tuple[str, int, int]], tables_url: str, tmp_path: Path
) -> None:
    with closing(Store(tables_url)) as store, store.writing() as connection, connection.begin():
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    folder = tmp_path / f"w{next(_NUMBERS)}"
    folder.mkdir()
    with closing(World(tables_url, folder)) as world:
        world.change_destination(minimum_audience=0, contract_expires=None)
        history = History(world)
        for step, one, other in steps:
            getattr(history, step)(one, other)
        world.clock.advance(years(0.001))  # grants that aged are found every five minutes
        table = set(history.table)
        told = history.issue()
        permitted = history.permitted()
        assert history.table == table & permitted, "who stays is permitted, and who is permitted stays"
        assert told & permitted == set()
        assert history.issue() == set()


_NUMBERS = count()


@pytest.mark.parametrize("size", [1, 5])
def test_no_piece_handed_over_after_a_restraining_commit_holds_that_person(world: World, size: int) -> None:
    """A thread withdraws while pieces are taken: who withdrew before a piece was asked for is not in it."""
    names = [f"P{number:02}" for number in range(24)]
    people = {f"{name.lower()}@people.example": world.person(name) for name in names}
    given_ = world.gate.authorise(world.request(fields=("email",)))
    withdrawn: set[str] = set()
    turns = threading.Semaphore(0)

    def withdraw() -> None:
        for email, person in list(people.items())[::2]:
            turns.acquire()
            world.say(person, "withdrawn")
            withdrawn.add(email)

    thread = threading.Thread(target=withdraw)
    thread.start()
    try:
        take = world.gate.render(given_.export_id, world.mailer).take
        read: list[str] = []
        while True:
            turns.release(size)  # so many withdraw while this piece is made, sooner or later
            before = set(withdrawn)
            piece = [str(row.values[0]) for row in take(size)]
            assert not before & set(piece)
            read += piece
            if not piece:
                break
    finally:
        turns.release(len(people))
        thread.join()
    assert set(people) - set(list(people)[::2]) <= set(read)
    told = sum(len(recall.removals) for recall in chain.from_iterable(world.gate.recalls.due()))
    assert told == len(set(read) & withdrawn), "whoever withdrew too late for the bytes is recalled"


@pytest.mark.parametrize("step", ["evaluated", "decided", "chosen", "begun", "rechecked"])
def test_whoever_withdraws_between_two_steps_is_in_no_piece_after(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The commit comes where it is most awkward: right after one of the steps has looked."""
    ada = world.person("Ada")
    world.person("Bea")
    places = {
        "evaluated": (world.segments, "evaluate"),
        "decided": (world.keyring, "proof_secrets"),
        "chosen": (world.gate._renderer, "_choose"),
        "begun": (world.gate._renderer, "_begin"),
        "rechecked": (world.gate._renderer, "recheck"),
    }
    thing, name = places[step]
    original = getattr(thing, name)

    def then(*args: object, **more: object) -> object:
        found = original(*args, **more)
        monkeypatch.undo()
        world.say(ada, "withdrawn")
        return found

    monkeypatch.setattr(thing, name, then)
    request = world.request(fields=("email",))
    take = world.gate.render(world.gate.authorise(request).export_id, world.mailer).take
    read = [str(row.values[0]) for piece in iter(lambda: take(1), []) for row in piece]
    if step == "rechecked":  # the first piece was checked before she withdrew; she may be in that one alone
        read = read[1:]
    assert "ada@people.example" not in read


def test_a_grant_that_ends_while_a_reader_waits_takes_its_row_away(world: World) -> None:
    people = {}
    for number in range(4):
        person = world.person(f"P{number}", consent=None)
        world.say(person, "granted", expires_at=world.clock.now() + years(1 + number))
        people[f"p{number}@people.example"] = person
    given_ = world.gate.authorise(world.request(fields=("email",)))
    rows = world.gate.render(given_.export_id, world.mailer).rows
    read = []
    for number in range(4):  # each pause ends one more grant; nothing is committed meanwhile
        row = next(rows, None)
        if row is not None:
            read.append((number, str(row.values[0])))
        world.clock.advance(years(1))
    assert all(int(email[1]) >= number for number, email in read)
    assert list(rows) == []
    assert world.entries("export.fetched")[0].people["delivered"] == "<10"


def test_a_fetch_days_later_holds_nobody_who_withdrew_or_whose_grant_ended(world: World) -> None:
    ada = world.person("Ada")
    world.person("Bea")
    cyd = world.person("Cyd", consent=None)
    world.say(cyd, "granted", expires_at=world.clock.now() + years(0.1))
    given_ = world.gate.authorise(world.request())
    assert len(world.rows(given_.export_id)) == 3
    world.say(ada, "withdrawn")
    world.clock.advance(years(0.2))
    assert world.emails(given_.export_id) == {"bea@people.example"}
    told = sum(len(recall.removals) for recall in chain.from_iterable(world.gate.recalls.due()))
    assert told == 2
