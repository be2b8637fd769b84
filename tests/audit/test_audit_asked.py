"""The log asked: any combination of conditions, exact totals, pages that go on while the log grows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, delete, select, update

import cdp.audit
import cdp.store
from cdp.audit import AuditEntry, AuditFilter, AuditLog, Entry, asking
from cdp.audit.asking import spans as folding
from cdp.audit.asking.tables import audit_days, audit_postings, audit_spans
from cdp.clock import DAY, SECOND, FixedClock
from cdp.crypto import FileKeyProvider, Keyring
from cdp.errors import InvalidInputError
from cdp.store import Committer, Store

PEOPLE = range(1, 6)
NARROW, WIDE = 8, 32
OBJECTS: list[dict[str, str | int]] = [{}, {"segment": "s"}, {"segment": "t", "version": 2}, {"segment": 7}]


class World(NamedTuple):
    store: Store
    clock: FixedClock
    log: AuditLog
    committer: Committer

    def fill(self, count: int, seed: int) -> None:
        """Record entries of a few kinds; the clock is sometimes set back."""
        chance = random.Random(seed)  # noqa: S311  # the same each time
        while count:
            self.clock.advance(chance.choice((0, SECOND, 3600 * SECOND, -7200 * SECOND, DAY // 2)))
            some = min(count, chance.randint(1, 7))
            count -= some
            with self.committer.batch() as batch:
                for _ in range(some):
                    batch.record(drawn(chance))

    def everything(self) -> list[tuple[AuditEntry, set[int]]]:
        """Return each entry with the identities that it concerns, newest first, read without the index."""
        with self.store.reading() as connection:
            size = self.log.size(connection)
            held = [self.log.entry(connection, index) for index in range(size)]
            about = {
                number: set(asking.queries.concerning(connection, [number]).tolist()) for number in PEOPLE
            }
        return [(entry, {n for n in PEOPLE if entry.index in about[n]}) for entry in held[::-1] if entry]

    def find(self, wanted: AuditFilter, limit: int = 1000, **more: int) -> tuple[list[int], int]:
        with self.store.reading() as connection:
            found = asking.find(connection, wanted, limit, **more)
        return found.indexes, found.total

    def fold(self) -> None:
        while asking.fold(self.committer):
            pass

    def wrong(self) -> list[tuple[int, str]]:
        with self.store.reading() as connection:
            return list(asking.disagreements(connection))

    def tamper(self, *statements: Any) -> None:
        with self.store.writing() as connection, connection.begin():
            for statement in statements:
                connection.execute(statement)


def drawn(chance: random.Random) -> Entry:
    """Return an entry; ``rare`` never meets ``b``."""
    action = chance.choice("aaab")
    purpose = chance.choice(("", "p", "q"))
    return Entry(
        action=action,
        actor="rare" if action == "a" and chance.random() < 0.05 else chance.choice(("key:1", "key:2")),
        outcome=chance.choice(("allowed", "allowed", "denied")),
        purpose=purpose,
        destination="d" if purpose else "",
        object=chance.choice(OBJECTS),
        people=chance.choice(({}, {"released": 40}, {"released": 3})),
        subjects=tuple(chance.sample(PEOPLE, chance.randint(0, 2))),
    )


@pytest.fixture
def world(tables_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(folding, "NARROW", NARROW)
    monkeypatch.setattr(folding, "WIDE", WIDE)
    clock = FixedClock(20_000 * DAY)
    store, keys = Store(tables_url), Store(f"sqlite:///{tmp_path / 'keys.sqlite'}")
    provider = FileKeyProvider.create(tmp_path / "root.key")
    Keyring.initialise(keys, provider, "test", clock)
    keyring = Keyring(keys, provider, "test", clock)
    keyring.create(PEOPLE)
    with store.writing() as connection, connection.begin():
        cdp.store.initialise(connection)
        cdp.audit.initialise(connection)
    log = AuditLog(keyring, "cdp.example/audit", clock)
    yield World(store, clock, log, Committer(store, log.append, clock))
    store.close()
    keys.close()


def matches(entry: AuditEntry, concerned: set[int], wanted: AuditFilter) -> bool:
    """Say what a condition means, in the plainest way."""
    for name in ("actor", "action", "outcome", "purpose", "destination"):
        value = getattr(wanted, name)
        if value is not None and getattr(entry, name) != value:
            return False
    return (
        (wanted.segment is None or entry.object.get("segment") == wanted.segment)
        and (wanted.from_ is None or entry.at >= wanted.from_)
        and (wanted.to is None or entry.at < wanted.to)
        and (wanted.identity_nos is None or bool(concerned & set(wanted.identity_nos)))
    )


def questions(chance: random.Random, instants: list[int]) -> AuditFilter:
    """Return conditions of every kind, in every number."""
    given: dict[str, Any] = {}
    for name, values in {
        "actor": ("key:1", "rare", "nobody"),
        "action": ("a", "b"),
        "outcome": ("denied",),
        "purpose": ("p", "q"),
        "destination": ("d",),
        "segment": ("s", "t", "7"),
        "identity_nos": ((1,), (2, 3), (99,), ()),
        "from_": instants,
        "to": instants,
    }.items():
        if chance.random() < 0.25:
            given[name] = chance.choice(values)
    return AuditFilter(**given)


def test_every_combination_finds_exactly_what_matches(world: World) -> None:
    world.fill(90, seed=1)
    world.fold()
    world.fill(13, seed=2)  # behind the last span: two more spans to fold, which nobody has yet
    held = world.everything()
    chance = random.Random(3)  # noqa: S311  # the same each time
    instants = [entry.at + chance.randint(-1, 1) for entry, _ in held]
    seen = Counter[int]()
    for _ in range(150):
        wanted = questions(chance, instants)
        expected = [entry.index for entry, concerned in held if matches(entry, concerned, wanted)]
        assert world.find(wanted) == (expected, len(expected)), wanted
        before, size, limit = chance.randint(0, 110), chance.randint(0, 110), chance.randint(0, 9)
        rest = [index for index in expected if index < min(before, size)][:limit]
        total = len([index for index in expected if index < size])
        assert world.find(wanted, limit, before=before, size=size) == (rest, total), wanted
        seen[min(len(expected), 2)] += 1
    assert min(seen[0], seen[1] + seen[2]) > 20
    assert world.find(AuditFilter(actor="rare"))[1] > 0
    assert world.find(AuditFilter(actor="rare", action="b")) == ([], 0)


def test_folding_changes_no_answer_and_pages_go_on_across_it(world: World) -> None:
    world.fill(75, seed=5)
    wanted = AuditFilter(action="a")
    expected, total = world.find(wanted)
    assert total == len(expected) > 40
    got: list[int] = []
    more: dict[str, int] = {"size": 75}
    while True:
        page, same = world.find(wanted, 7, **more)
        assert same == total
        got += page
        if not page:
            break
        more["before"] = page[-1]
        world.fill(5, seed=len(got))
        world.fold()
    assert got == expected
    with world.store.reading() as connection:
        widths = [span.width for span in asking.queries.spans(connection)]
    assert set(widths) == {NARROW, WIDE}


def test_uses_are_counted_by_day(world: World) -> None:
    world.fill(60, seed=7)
    world.fold()
    world.fill(11, seed=8)
    held = [entry for entry, _ in world.everything()]
    expected = Counter((entry.at // DAY, entry.purpose, entry.destination) for entry in held)
    with world.store.reading() as connection:
        days = world.log.uses_by_day(connection, AuditFilter(), 0, 30_000)
        denied = world.log.uses_by_day(connection, AuditFilter(outcome="denied"), 0, 30_000, by_action=True)
        none = world.log.uses_by_day(connection, AuditFilter(), 0, 19_000)
    assert {(day.day // DAY, day.purpose, day.destination): day.entries for day in days} == expected
    assert [day.day for day in days] == sorted((day.day for day in days), reverse=True)
    assert sum(day.entries for day in denied) == sum(entry.outcome == "denied" for entry in held)
    assert {day.outcome for day in denied} == {"denied"}
    assert none == []


def test_people_of_a_day_are_hidden_where_they_are_few(world: World) -> None:
    with world.committer.batch() as batch:
        for people in (40, 3):
            batch.record(
                Entry(action="x", actor="system", purpose=f"p{people}", people={"n": people, "m": 2})
            )
        batch.record(Entry(action="x", actor="system", purpose="p", subjects=(1, 2, 3), people={"n": 40}))
    with world.store.reading() as connection:
        days = world.log.uses_by_day(connection, AuditFilter(), 0, 30_000)
    assert {day.purpose: day.people for day in days} == {"p40": 40, "p3": "<10", "p": "<10"}


def test_an_index_made_anew_is_the_same(world: World) -> None:
    world.fill(70, seed=9)
    world.fold()

    def rows(connection: Connection) -> list[list[tuple[Any, ...]]]:
        return [
            sorted(tuple(row) for row in connection.execute(select(table)))
            for table in (audit_spans, audit_postings, audit_days)
        ]

    with world.store.reading() as connection:
        before = rows(connection)
    assert world.wrong() == []
    asking.rebuild(world.committer)
    with world.store.reading() as connection:
        assert rows(connection) == before


def test_an_index_that_hides_something_is_found_out(world: World) -> None:
    world.fill(70, seed=11)
    world.fold()
    hidden = audit_postings.c.value == "rare"
    for statements, place in (
        ([delete(audit_postings).where(hidden)], 0),
        ([update(audit_postings).where(audit_postings.c.start == 32, audit_postings.c.field == "actor")
          .values(members=b":0\x00\x00\x00\x00\x00\x00")], 32),
        ([update(audit_spans).where(audit_spans.c.start == 32).values(last_at=0)], 32),
        ([delete(audit_spans).where(audit_spans.c.start == 0)], 32),
        ([update(audit_postings).values(members=b"no bitmap")], 0),
        ([update(audit_days).values(entries=audit_days.c.entries + 1)], 20_000),
    ):  # fmt: skip
        world.tamper(*statements)
        said = world.wrong()
        assert said, statements
        assert place in [at for at, _ in said], (place, said)
        asking.rebuild(world.committer)
        assert world.wrong() == []
    world.tamper(delete(audit_postings).where(hidden))
    with world.store.reading() as connection:
        assert {problem.place for problem in world.log.verify(connection).problems} == {"index"}


def test_appending_touches_the_index_in_no_way(world: World) -> None:
    world.fill(40, seed=13)
    with world.store.reading() as connection:
        assert asking.queries.spans(connection) == []
        assert asking.is_behind(connection)
    world.fold()
    with world.store.reading() as connection:
        assert not asking.is_behind(connection)


def test_an_entry_that_cannot_be_logged_leaves_no_detail(world: World) -> None:
    good = Entry(action="a", actor="system", subjects=(1,), details={1: {"reason": "why"}})
    with pytest.raises(InvalidInputError), world.committer.batch() as batch:
        batch.entries += [good, Entry(action="bad\x00", actor="system")]
    with world.store.reading() as connection:
        assert world.log.details(connection, 0) == ({}, 0)
