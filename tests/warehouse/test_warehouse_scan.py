"""Files without any event that a query looks at stay closed, and no other file does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from population import NOW, Population, catalogue, profiles, rule

from cdp.errors import UnavailableError
from cdp.policy import FieldCatalogue
from cdp.warehouse import Mirror, Scan, Warehouse
from cdp.warehouse.model import File

OLDER, FIELDS = (
    catalogue(properties=[rule(name, "number") for name in names]) for names in (["sku"], ["revenue", "sku"])
)
EVENTS = st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(0, 9), st.integers(1, 9)), max_size=30)


@pytest.fixture
def people(database_url: str) -> Iterator[Population]:
    with closing(Population(database_url)) as population:
        yield population


def mirrored(people: Population, home: Path, *names: str, fields: FieldCatalogue = FIELDS) -> None:
    """Add a file with an event of each name, by the person of that place; the second is a second old."""
    with people.committer.batch() as batch:
        for number, name in enumerate(names, start=1):
            people.event(batch, number, name, {"revenue": number}, at=NOW - number)
    Mirror(people.store, home, fields, people.clock).refresh()


@given(rows=EVENTS, each=st.integers(1, 6), names=st.frozensets(st.sampled_from("ABCDE")))
def test_a_file_that_holds_any_is_open(
    rows: list[tuple[str, int, int]], each: int, names: frozenset[str]
) -> None:
    rows.sort()
    for start in range(0, len(rows), each):
        part = rows[start : start + each]
        file = File("f", len(part), "", "", part[0], part[-1])
        for since in (None, *range(11)):
            wanted = [row for row in part if row[0] in names and (since is None or row[1] >= since)]
            assert file.may_hold(Scan(names, since)) or not wanted
    assert not File("f", 0, "").may_hold(Scan(names, None))


def test_the_others_stay_closed(people: Population, tmp_path: Path) -> None:
    mirrored(people, tmp_path, "A", "B")
    needless = set(tmp_path.glob("events-*"))
    mirrored(people, tmp_path, "C", "C")
    with closing(Warehouse(tmp_path)) as warehouse:
        snapshot = warehouse.snapshot()
        for path in needless:
            path.unlink()
        sql = "SELECT identity_no AS profile_no FROM events WHERE name >= 'B'"
        found = snapshot.run(sql, NOW, Scan(frozenset("C"), None))
        assert sorted(found["profile_no"]) == [1, 2]
        assert not len(snapshot.run(sql, NOW, Scan(frozenset("C"), NOW))["profile_no"])
        with pytest.raises(UnavailableError):
            snapshot.run(sql, NOW, Scan(frozenset("BC"), None))


def test_a_column_that_only_closed_files_have_is_null(people: Population, tmp_path: Path) -> None:
    mirrored(people, tmp_path, "A", fields=OLDER)
    mirrored(people, tmp_path, "B")
    sql = (
        "WITH named AS (SELECT * FROM events) SELECT identity_no AS profile_no FROM named WHERE p_revenue {}"
    )
    with closing(Warehouse(tmp_path)) as warehouse:
        snapshot = warehouse.snapshot()
        for name, test, found in (("A", "IS NULL", [1]), ("B", "= 1", [1]), ("B", "IS NULL", [])):
            columns = snapshot.run(sql.format(test), NOW, Scan(frozenset(name), None))
            assert list(columns["profile_no"]) == found, (name, test)
        assert profiles(snapshot, sql.format("IS NULL") + " AND name = 'A'") == [1]
