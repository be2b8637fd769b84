"""Over random histories: what is removed is exactly delivered − permitted, and no late row holds anybody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from gate_world import World, running, years
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from cdp.consent import RecordState
from cdp.store import Store, metadata

world_fixture = pytest.fixture(running, name="world")
CHUNK = 2
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
        for recall in self.world.gate.recalls.due():
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
    steps: list[tuple[str, int, int]], database_url: str, tmp_path: Path
) -> None:
    with closing(Store(database_url)) as store, store.writing() as connection, connection.begin():
        metadata.drop_all(connection)
    folder = tmp_path / f"w{next(_NUMBERS)}"
    folder.mkdir()
    with closing(World(database_url, folder)) as world:
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


def test_no_row_read_after_a_withdrawal_holds_that_person(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads withdraw while fetches stream; a hook between chunks makes the race as wide as it gets."""
    monkeypatch.setattr("cdp.gate.release._CHUNK", CHUNK)
    people = {f"p{number:02}@people.example": world.person(f"P{number:02}") for number in range(24)}
    given_ = world.gate.authorise(world.request(fields=("email",)))
    withdrawn_at: dict[str, int] = {}
    go, done = threading.Event(), threading.Event()

    def withdraw() -> None:
        go.wait()
        for email, person in list(people.items())[::2]:
            world.say(person, "withdrawn")
            withdrawn_at[email] = world.head()
        done.set()

    thread = threading.Thread(target=withdraw)
    thread.start()
    rendering = world.gate.render(given_.export_id, world.mailer)
    read: list[tuple[str, int]] = []
    heads = _heads(world, monkeypatch)
    for at, row in enumerate(rendering.rows):
        go.set()
        read.append((str(row.values[0]), heads[-1]))
        if at % CHUNK:
            done.wait(0.02)
    thread.join()
    late = [email for email, head in read if email in withdrawn_at and head >= withdrawn_at[email]]
    assert late == []
    assert len(read) < len(people), "some withdrew in time"
    refs = {email for email, _ in read}
    told = sum(len(recall.removals) for recall in world.gate.recalls.due())
    assert told == len(refs & set(withdrawn_at)), "whoever withdrew too late for the bytes is recalled"


def _heads(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the head that each chunk was read at."""
    heads: list[int] = []
    recheck: Callable[..., None] = world.gate._recheck

    def recording(connection: object, fetch: object) -> None:
        recheck(connection, fetch)
        heads.append(fetch.checked)  # type: ignore[attr-defined]  # a fetch

    monkeypatch.setattr(world.gate, "_recheck", recording)
    return heads


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
    told = sum(len(recall.removals) for recall in world.gate.recalls.due())
    assert told == 2
