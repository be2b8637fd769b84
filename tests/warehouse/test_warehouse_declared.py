"""What is declared later, no more, or otherwise: the files hold what a rebuild would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from population import Population, catalogue, profiles, rule

from cdp.clock import SECOND
from cdp.errors import ConfigurationError
from cdp.policy import FieldCatalogue
from cdp.warehouse import Directory, Mirror, Warehouse, declared
from cdp.warehouse.model import Manifest

FIELDS = catalogue(
    properties=[rule("revenue", "number"), rule("sku"), rule("products", "list")],
    traits=[rule("country"), rule("age", "number")],
)


@pytest.fixture
def people(database_url: str) -> Iterator[Population]:
    population = Population(database_url)
    yield population
    population.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "warehouse"


def mirror_of(people: Population, folder: Path, fields: FieldCatalogue = FIELDS) -> Mirror:
    return Mirror(people.store, folder, fields, people.clock)


def rows(folder: Path, dataset: str = "events") -> list[dict[str, object]]:
    directory = Directory(folder)
    tables = [directory.load(file) for file in directory.read().files[dataset]]
    return list(pa.concat_tables(tables, promote_options="default").to_pylist())


def test_a_newly_declared_property_is_null_in_old_files(people: Population, home: Path) -> None:
    older = catalogue(properties=[rule("sku")], traits=[rule("country")])
    with people.committer.batch() as batch:
        people.event(batch, 1, "A", {"sku": "x"})
    mirror_of(people, home, older).refresh()
    mirror = mirror_of(people, home)
    assert mirror.refresh() == 1
    warehouse = Warehouse(home)
    snapshot = warehouse.snapshot()
    assert profiles(snapshot, "SELECT identity_no AS profile_no FROM events WHERE p_revenue IS NULL") == [1]
    with people.committer.batch() as batch:
        people.event(batch, 2, "A", {"revenue": 5})
    mirror.refresh()
    new = warehouse.snapshot()
    assert profiles(new, "SELECT identity_no AS profile_no FROM events WHERE p_revenue = 5") == [2]
    warehouse.close()


def test_a_field_that_is_no_longer_clear_leaves_the_files(people: Population, home: Path) -> None:
    with people.committer.batch() as batch:
        people.event(batch, 1, "A", {"sku": "was-clear"})
    mirror_of(people, home).refresh()
    mirror = mirror_of(people, home, catalogue(properties=[rule("sku", clear=False)]))
    mirror.refresh()
    assert "p_sku" not in rows(home)[0]
    with people.committer.batch() as batch:
        people.event(batch, 1, "A", {"sku": "was-clear"})
    mirror.refresh()
    people.clock.advance(60 * SECOND)  # readers had time to leave the old files
    mirror.refresh()
    assert all("p_sku" not in pq.read_schema(path).names for path in home.glob("events-*.parquet"))


def content(home: Path) -> dict[str, list[str]]:
    """Return every row of each dataset, in any order; a column without a value is no difference."""
    return {
        dataset: sorted(
            str(sorted((name, value) for name, value in row.items() if value is not None))
            for row in rows(home, dataset)
        )
        for dataset in ("events", "traits", "members")
    }


@pytest.mark.parametrize(
    "later",
    [
        catalogue(properties=[rule("sku"), rule("revenue", "number")], traits=[rule("country")]),
        catalogue(properties=[rule("sku")], traits=[rule("country"), rule("age", "number")]),
        catalogue(properties=[], traits=[]),
        catalogue(properties=[rule("sku", "number")], traits=[rule("country")]),
        catalogue(properties=[rule("sku")], traits=[rule("country", "number")]),
        catalogue(properties=[rule("sku"), rule("products", "list")], traits=[rule("country")]),
    ],
    ids=["property", "trait", "withdrawn", "retyped", "trait retyped", "list"],
)
def test_whatever_is_declared_later_the_tail_holds_what_a_rebuild_does(
    people: Population, home: Path, later: FieldCatalogue
) -> None:
    """What was undeclared had been sealed; what was clear is in the store as it was."""
    first = catalogue(properties=[rule("sku")], traits=[rule("country")])
    with people.committer.batch() as batch:
        people.event(batch, 1, "A", {"sku": "x"})
        people.trait(batch, 1, "country", "X")
        people.trait(batch, 1, "age", 7, sealed=True)
        people.link(batch, [1])
    mirror = mirror_of(people, home, first)
    mirror.refresh()
    mirror.adopt(later)
    for number in (2, 3):
        with people.committer.batch() as batch:
            people.event(batch, number, "A", {"sku": 5 if number == 2 else "y", "revenue": 7})
            people.trait(batch, number, "country", 9)
            people.trait(batch, number, "age", 41)
            people.link(batch, [1, number])
        mirror.refresh()
    tailed = content(home)
    assert mirror.directory.read().declared == declared(later)
    mirror.rebuild()
    rebuilt = content(home)
    tailed["members"] = rebuilt["members"] = []  # the tail keeps earlier rows of the map beside the newest
    assert tailed == rebuilt


def test_a_property_that_is_declared_again_has_its_values_back(people: Population, home: Path) -> None:
    with people.committer.batch() as batch:
        people.event(batch, 1, "A", {"sku": "x", "revenue": 7})
    both, one = [rule("revenue", "number"), rule("sku")], [rule("revenue", "number")]
    mirror = mirror_of(people, home, catalogue(properties=both))
    for properties in (one, both):
        mirror.refresh()
        mirror.adopt(catalogue(properties=properties))
    mirror.refresh()
    assert [row["p_sku"] for row in rows(home)] == ["x"]


def test_readers_keep_what_there_was_until_a_rebuild_is_complete(
    people: Population, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted one leaves the old, kept current meanwhile; whoever comes next finishes it."""
    monkeypatch.setattr("cdp.warehouse.mirror._SLICE_COMMITS", 1)
    monkeypatch.setattr("cdp.warehouse.mirror._TURN_SECONDS", 0.0)
    mirror = mirror_of(people, home)
    for number in range(1, 6):
        with people.committer.batch() as batch:
            people.event(batch, number, "A")
        mirror.refresh()
    old = mirror.directory.read().names("events")
    publish = mirror.directory.publish

    def interrupted(manifest: Manifest) -> None:
        publish(manifest)
        if manifest.rebuild is not None and manifest.rebuild.commit_no == 2:
            with people.committer.batch() as batch:
                people.event(batch, 6, "A")
            raise KeyboardInterrupt

    monkeypatch.setattr(mirror.directory, "publish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mirror.rebuild()
    assert mirror.directory.read().names("events") == old
    again = mirror_of(people, home)
    assert again.refresh() == 6
    assert again.directory.read().rebuild is None
    assert not set(old) & set(again.directory.read().names("events"))
    assert sorted(int(str(row["identity_no"])) for row in rows(home)) == [1, 2, 3, 4, 5, 6]


def test_two_names_for_one_column_are_refused(people: Population, home: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"a\.b and a__b"):
        mirror_of(people, home, catalogue(properties=[rule("a.b"), rule("a__b")]))
