"""The mirror holds what was committed, typed, and nothing sealed or undeclared."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from population import NOW, Population, catalogue, rule
from prometheus_client import REGISTRY

from cdp.clock import DAY
from cdp.errors import IntegrityError, StoreError, UnavailableError
from cdp.policy import FieldCatalogue
from cdp.warehouse import Mirror, Warehouse
from cdp.warehouse.model import Manifest

FIELDS = catalogue(
    properties=[
        rule("revenue", "number"),
        rule("sku"),
        rule("gift", "boolean"),
        rule("ship.at", "time"),
        rule("products", "list"),
        rule("note", clear=False),
    ],
    traits=[rule("country"), rule("age", "number"), rule("since", "time"), rule("name", clear=False)],
    context=[rule("page.path")],
)


@pytest.fixture
def people(database_url: str) -> Iterator[Population]:
    population = Population(database_url)
    yield population
    population.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "it's a warehouse"
    folder.mkdir()
    return folder


def mirror_of(people: Population, folder: Path, fields: FieldCatalogue = FIELDS) -> Mirror:
    return Mirror(people.store, folder, fields, people.clock)


def rows(folder: Path, dataset: str = "events") -> list[dict[str, object]]:
    """All rows that the manifest lists, read with nothing of ours."""
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
    tables = [pq.read_table(folder / file["name"]) for file in manifest["files"][dataset]]
    return list(pa.concat_tables(tables, promote_options="default").to_pylist())


def test_values_are_typed_and_the_rest_stays_out(people: Population, home: Path) -> None:
    with people.committer.batch() as batch:
        people.event(
            batch,
            7,
            "Order Completed",
            {
                "revenue": 12.5,
                "sku": "A'1",
                "gift": True,
                "ship.at": "2024-05-06T07:08:09Z",
                "products": [{"sku": "A1"}],
                "note": "must not appear",
                "undeclared": "must not appear either",
                "context.page.path": "/cart",
            },
            at=NOW - DAY,
        )
        people.event(batch, 7, "Nothing", None)
        people.trait(batch, 7, "country", "Fantasia")
        people.trait(batch, 7, "age", 41)
        people.trait(batch, 7, "since", "2024-01-01T00:00:00+01:00")
        people.trait(batch, 7, "name", "Nobody Special")
    mirror = mirror_of(people, home)
    assert mirror.refresh() == 1
    order, empty = sorted(rows(home), key=lambda row: str(row["name"]), reverse=True)
    assert order["p_revenue"] == 12.5
    assert order["p_sku"] == "A'1"
    assert order["p_gift"] is True
    assert order["p_ship__at"] == 1_714_979_289_000_000
    assert order["c_page__path"] == "/cart"
    assert (order["commit_no"], order["identity_no"], order["occurred_at"]) == (1, 7, NOW - DAY)
    assert empty["p_revenue"] is None
    assert not {"p_products", "p_note", "p_undeclared"} & set(order)
    traits = {str(row["name"]): row for row in rows(home, "traits")}
    assert set(traits) == {"country", "age", "since"}
    assert traits["age"]["value_number"] == 41.0
    assert traits["since"]["value_time"] == 1_704_063_600_000_000
    assert b"must not appear" not in b"".join(path.read_bytes() for path in home.iterdir())


def test_a_value_of_another_type_is_null_and_counted(people: Population, home: Path) -> None:
    with people.committer.batch() as batch:
        people.event(batch, 1, "A", {"revenue": "12.5", "sku": 4, "gift": 1, "ship.at": "soon"})
        people.event(batch, 1, "B", '{"revenue": 1e999, "sku": "x"}')
        people.event(batch, 1, "C", "not json at all")
        people.event(batch, 1, "D", {"revenue": True})
        people.event(batch, 1, "E", '{"revenue": 1' + "0" * 400 + "}")
        people.trait(batch, 1, "age", "old")
        people.trait(batch, 1, "country", "sealed at first", sealed=True)
    mirror = mirror_of(people, home)
    mirror.refresh()
    found = {row["name"]: row for row in rows(home)}
    assert [found[name]["p_revenue"] for name in "ABCDE"] == [None] * 5
    counted = mirror.directory.read().mistyped
    assert counted["p_gift"] == counted["p_sku"] == counted["p_ship__at"] == 1
    assert counted["trait age"] == 1
    assert sum(counted.values()) >= 7
    mirror_of(people, home).observe()  # of a process that wrote nothing of it
    for column, values in counted.items():
        assert REGISTRY.get_sample_value("cdp_warehouse_mistyped", {"column": column}) == values
    assert REGISTRY.get_sample_value("cdp_warehouse_commit") == 1
    assert "p_sku 1" in mirror.directory.describe()
    # both observations stay, without a value: they may be the ones that the fold picks
    assert [row.get("value_number") for row in rows(home, "traits")] == [None, None]


def test_a_number_in_some_events_and_a_text_in_others(people: Population, home: Path) -> None:
    """Row by row, whoever is right: a page with one value of another type is read like any other."""
    values = [1, "2", 3.5, None, [4], {"five": 5}, True, "six", -0.0]
    mirror = mirror_of(people, home)
    for _ in range(2):
        with people.committer.batch() as batch:
            for number, value in enumerate(values):
                people.event(batch, number, "A", {"revenue": value, "sku": "x", "ship.at": "never"})
        mirror.refresh()
    found = [row["p_revenue"] for row in sorted(rows(home), key=lambda row: int(str(row["identity_no"])))]
    assert found[::2] == [1.0, None, 3.5, None, None, None, None, None, 0.0]
    assert found[1::2] == found[::2]
    assert mirror.directory.read().mistyped == {"p_revenue": 10, "p_ship__at": 18}
    assert {row["p_sku"] for row in rows(home)} == {"x"}
    assert mirror.rebuild() == 2
    assert mirror.directory.read().mistyped == {"p_revenue": 10, "p_ship__at": 18}


def test_a_time_that_is_none_is_counted_wherever_it_is_read(people: Population, home: Path) -> None:
    """Times are parsed apart from the other values of a page, in which nothing else is wrong."""
    with people.committer.batch() as batch:
        people.event(batch, 1, "A", {"ship.at": "soon"})
        people.event(batch, 2, "A", {"ship.at": "2024-05-06T07:08:09Z"})
        people.event(batch, 3, "A", {"sku": "x"})
    mirror = mirror_of(people, home)
    mirror.refresh()
    assert {row["identity_no"]: row["p_ship__at"] for row in rows(home)} == {
        1: None,
        2: 1_714_979_289_000_000,
        3: None,
    }
    assert mirror.directory.read().mistyped == {"p_ship__at": 1}


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400, "1e999", "NaN", "-Infinity"])
def test_a_number_beyond_all_bounds_is_none_in_a_page_of_numbers(
    people: Population, home: Path, number: str
) -> None:
    with people.committer.batch() as batch:
        people.event(batch, 1, "A", {"revenue": 7})
        people.event(batch, 2, "A", f'{{"revenue": {number}}}')
    mirror = mirror_of(people, home)
    mirror.refresh()
    assert {row["identity_no"]: row["p_revenue"] for row in rows(home)} == {1: 7.0, 2: None}
    assert sum(mirror.directory.read().mistyped.values()) == 1


def test_refresh_continues_where_it_stopped(people: Population, home: Path) -> None:
    mirror = mirror_of(people, home)
    assert mirror.refresh() == 0
    assert rows(home) == []
    for number in range(1, 4):
        with people.committer.batch() as batch:
            people.event(batch, number, "A")
        assert mirror.refresh() == number
        assert mirror.refresh() == number
    assert sorted(int(str(row["identity_no"])) for row in rows(home)) == [1, 2, 3]


def test_many_batches_in_small_slices(
    people: Population, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp.warehouse.mirror._SLICE_COMMITS", 2)
    monkeypatch.setattr("cdp.warehouse.mirror._TURN_SECONDS", 0.0)
    mirror = mirror_of(people, home)
    mirror.refresh()
    for number in range(1, 12):
        with people.committer.batch() as batch:
            people.event(batch, number, "A")
    seen: list[int] = []
    publish = mirror.directory.publish

    def watched(manifest: Manifest) -> None:
        seen.append(manifest.commit_no)
        publish(manifest)

    monkeypatch.setattr(mirror.directory, "publish", watched)
    assert mirror.refresh() == 11
    assert len(seen) > 2
    assert seen[-1] == 11
    assert sorted(int(str(row["identity_no"])) for row in rows(home)) == list(range(1, 12))


def test_a_restored_or_other_database_is_mirrored_anew(
    people: Population, home: Path, tmp_path: Path
) -> None:
    for number in (1, 2):
        with people.committer.batch() as batch:
            people.event(batch, number, "A")
    mirror = mirror_of(people, home)
    mirror.refresh()
    other = Population(f"sqlite:///{tmp_path / 'other.sqlite'}")
    with other.committer.batch() as batch:
        other.event(batch, 77, "A")
    with other.committer.batch() as batch:
        other.event(batch, 78, "A")
    assert Mirror(other.store, home, FIELDS, other.clock).refresh() == 2
    assert sorted(int(str(row["identity_no"])) for row in rows(home)) == [77, 78]
    other.close()


def test_rebuild_forgets_what_the_store_forgot(people: Population, home: Path) -> None:
    with people.committer.batch() as batch:
        people.event(batch, 1, "A")
    mirror = mirror_of(people, home)
    mirror.refresh()
    with people.committer.batch() as batch:
        people.forget(batch.connection)
    (home / "manifest.json").write_text("{")
    with pytest.raises(IntegrityError, match="cdp rebuild"):
        mirror.refresh()
    assert mirror.rebuild() == 2
    assert rows(home) == []


def test_a_full_disk_is_one_clear_error_and_leaves_no_litter(
    people: Population, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with people.committer.batch() as batch:
        people.event(batch, 1, "A")
    mirror = mirror_of(people, home)
    mirror.refresh()
    before = set(home.iterdir())
    with people.committer.batch() as batch:
        people.event(batch, 2, "A")
        people.link(batch, [2])
    whole = pq.write_table

    def full(table: pa.Table, path: Path, **given: object) -> None:
        whole(table, path, **given)
        if path.name.startswith("events"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cdp.warehouse.files.pq.write_table", full)
    with pytest.raises(StoreError, match="No space left"):
        mirror.refresh()
    monkeypatch.undo()
    assert mirror.commit_no == 1
    assert mirror.refresh() == 2
    assert {row["identity_no"] for row in rows(home)} == {1, 2}
    assert len(set(home.iterdir()) - before) == 2  # one file of events, one of the map


def test_waiting_for_a_commit(people: Population, home: Path) -> None:
    mirror = mirror_of(people, home)
    mirror.refresh()
    assert mirror.wait_for(0, 0)
    assert not mirror.wait_for(1, 0.01)
    with people.committer.batch() as batch:
        people.event(batch, 1, "A")
    thread = threading.Thread(target=mirror.refresh)
    thread.start()
    assert mirror.wait_for(batch.commit_no, 20)
    thread.join()
    # another process's mirror is noticed too
    with people.committer.batch() as batch:
        people.event(batch, 1, "A")
    thread = threading.Thread(target=mirror_of(people, home).refresh)
    thread.start()
    assert mirror.wait_for(batch.commit_no, 20)
    thread.join()


def test_an_empty_warehouse_says_so(home: Path) -> None:
    warehouse = Warehouse(home)
    with pytest.raises(UnavailableError, match="empty"):
        warehouse.snapshot()
    warehouse.close()
