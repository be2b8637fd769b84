"""What changed since a commit is looked up by batch: SQLite scans no large table for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from population import Population
from sqlalchemy import Connection, event

from cdp.consent import Record, Standing
from cdp.consent import queries as consent
from cdp.consent.states import queries as states
from cdp.gate import queries as gate
from cdp.segments import queries as segments
from cdp.store import batches, insert_many
from cdp.warehouse import queries as warehouse

PURPOSE = "marketing.communications.email"
LATER = 100_000  # commits about nobody
Read = Callable[[Connection, int], Any]


@pytest.fixture
def filled(database_url: str) -> Iterator[Population]:
    """Yield a store of four commits: people 1 to 3, a consent of 1, a country of 2, the merge of 1 and 2."""
    with closing(Population(database_url)) as population:
        with population.committer.batch() as batch:
            population.link(batch, [1], [2], [3])
            for number in (1, 2, 3):
                population.event(batch, number, "Product Added")
        with population.committer.batch() as batch:
            consent.add_records(batch.connection, batch.id, [_record(1)])
            states.add_states(batch.connection, batch.id, [(1, PURPOSE, _standing(1))])
        with population.committer.batch() as batch:
            population.trait(batch, 2, "country", "Germany")
            population.trait(batch, 3, "favourite", "heron")
        with population.committer.batch() as batch:
            population.link(batch, [1, 2])
        yield population


def _record(number: int) -> Record:
    return Record(
        record_id=number,
        identity_no=number,
        purpose=PURPOSE,
        state="granted",
        act=True,
        event_time=1,
        received_at=1,
        source_kind="server",
        source_id=1,
        verified=True,
    )


def _standing(number: int) -> Standing:
    return Standing(purpose=PURPOSE, state="granted", reason="granted", record_id=number)


READS: dict[str, tuple[Read, list[Any]]] = {  # the answers since commits 0 to 4
    "states": (lambda c, n: set(states.changed_since(c, n)), [{1}, {1}, set(), set(), set()]),
    "links": (
        lambda c, n: set(gate.relinked_since(c, n)),
        [{1, 2, 3}, {1, 2}, {1, 2}, {1, 2}, set()],
    ),
    "words": (
        lambda c, n: set(gate.spoken_since(c, n, ["country"])),
        [{1, 2}, {1, 2}, {2}, set(), set()],
    ),
    "members": (
        lambda c, n: sorted(segments.relinked_since(c, n)),
        [[(1, 1), (2, 1), (3, 3)], *[[(1, 1), (2, 1)]] * 3, []],
    ),
    "mirrored events": (lambda c, n: _rows(warehouse.read_events(c, n, 4)), [3, 0, 0, 0, 0]),
    "mirrored traits": (
        lambda c, n: _rows(warehouse.read_traits(c, ["country"], n, 4)),
        [1, 1, 1, 0, 0],
    ),
    "mirrored links": (lambda c, n: _rows(warehouse.read_members(c, n, 4)), [3, 2, 2, 2, 0]),
}


def _rows(pages: Iterator[Any]) -> int:
    return sum(len(page[0]) for page in pages)


@pytest.mark.parametrize("name", READS)
def test_what_changed_is_read_by_batch(filled: Population, name: str) -> None:
    read, expected = READS[name]
    plans: list[str] = []

    def explain(connection: Connection, _c: object, statement: str, given: Any, *_: object) -> None:
        cursor = connection.connection.cursor()
        plans.extend(row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", given))

    with filled.store.reading() as connection:
        assert [read(connection, commit_no) for commit_no in range(5)] == expected
        if connection.dialect.name == "sqlite":
            event.listen(connection, "before_cursor_execute", explain)
            read(connection, 3)
            assert plans
            assert not [step for step in plans if step.startswith("SCAN") and "json_each" not in step]


def test_many_commits_about_nobody_add_nothing(filled: Population) -> None:
    later = [(number, 1_000_000 + number, 0) for number in range(5, 5 + LATER)]
    with filled.store.reading() as connection:
        before = {name: read(connection, 1) for name, (read, _) in READS.items()}
    with filled.store.writing() as connection, connection.begin():
        insert_many(connection, batches, ("commit_no", "batch", "committed_at"), later)
    with filled.store.reading() as connection:
        assert {name: read(connection, 1) for name, (read, _) in READS.items()} == before
