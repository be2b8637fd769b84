"""The mirror read on Spark: one manifest's files, nothing clear on the disk, failures that name no value."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from population import NOW, Population, catalogue, rule
from pyroaring import BitMap
from spark_cluster import LEAVES_SOCKETS

from cdp.errors import ConfigurationError, UnavailableError
from cdp.warehouse import Mirror, Warehouse, open_engine

pytestmark = LEAVES_SOCKETS
FIELDS = catalogue(properties=[rule("sku"), rule("revenue", "number")], traits=[rule("country")])
SEEN = "SELECT DISTINCT identity_no FROM events"


@pytest.fixture
def people(tmp_path: Path) -> Iterator[Population]:
    population = Population(f"sqlite:///{tmp_path / 'cdp.sqlite'}")
    yield population
    population.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "it's {a} [warehouse] *"
    folder.mkdir()
    return folder


def seen(snapshot: Any, sql: str = SEEN) -> list[int]:
    return sorted(snapshot.run(sql, NOW)["identity_no"])


def test_an_older_snapshot_stays_as_it_was_and_the_map_is_the_newest(
    people: Population, home: Path, spark_local: Any
) -> None:
    mirror = Mirror(
        people.store, home, catalogue(properties=[rule("sku")], traits=[rule("country")]), people.clock
    )
    warehouse = Warehouse(home, trust=lambda: {"country": {1: 5}}, engine=spark_local)
    with people.committer.batch() as batch:
        people.event(batch, 1, "A", {"sku": "x"})
        people.link(batch, [1], [2], [3])
    mirror.refresh()
    old = warehouse.snapshot()
    mirror.adopt(FIELDS)
    with people.committer.batch() as batch:
        people.event(batch, 2, "A", {"revenue": 5})
        people.link(batch, [1, 2], [3])
    mirror.refresh()
    new = warehouse.snapshot()
    assert (seen(old), seen(new)) == ([1], [1, 2])
    assert (set(old.everyone), set(new.everyone)) == ({1, 2, 3}, {1, 3})
    assert (set(old.mapped(BitMap([2, 3]))), set(new.mapped(BitMap([2, 3, 9])))) == ({2, 3}, {1, 3, 9})
    assert seen(new, "SELECT identity_no FROM events WHERE p_revenue IS NULL") == [1]
    assert list(new.run("SELECT name, source_id, rank FROM trust", NOW)["rank"]) == [1]
    found = new.run("SELECT identity_no, p_sku FROM events ORDER BY identity_no", NOW)["p_sku"]
    assert (found[0], list(found.mask)) == ("x", [False, True])


def test_the_instant_is_the_askers(people: Population, home: Path, spark_local: Any) -> None:
    people.people([1])
    Mirror(people.store, home, FIELDS, people.clock).refresh()
    snapshot = Warehouse(home, engine=spark_local).snapshot()
    asked = "SELECT evaluated_at() AS at, 'evaluated_at() ${spark.app.name}' AS word"
    for now in (NOW, NOW + 1, -5):
        found = snapshot.run(asked, now)
        assert (found["at"][0], found["word"][0]) == (now, "evaluated_at() ${spark.app.name}")


def test_nothing_clear_is_on_the_disk(
    people: Population, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spark_local: Any
) -> None:
    spark_local.close()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with people.committer.batch() as batch:
        for number in range(1, 200):
            people.event(batch, number, "A", {"sku": f"marker-{number}"})
    Mirror(people.store, home, FIELDS, people.clock).refresh()
    warehouse = Warehouse(home, engine=spark_local)
    found = warehouse.snapshot().run("SELECT p_sku, count(*) AS n FROM events GROUP BY p_sku", NOW)
    assert sorted(found["p_sku"]) == sorted(f"marker-{number}" for number in range(1, 200))
    (folder,) = tmp_path.glob("cdp-spark-*")
    written = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert sum(map(len, written)) > 1000
    assert not any(b"marker" in content for content in written)
    warehouse.close()
    assert not folder.exists()


def test_a_failure_names_its_kind_and_no_value(people: Population, home: Path, spark_local: Any) -> None:
    with people.committer.batch() as batch:
        people.event(batch, 1, "A", {"sku": "secret-word"})
    Mirror(people.store, home, FIELDS, people.clock).refresh()
    snapshot = Warehouse(home, engine=spark_local).snapshot()
    with pytest.raises(UnavailableError, match="CAST_INVALID_INPUT") as raised:
        snapshot.run("SELECT CAST(p_sku AS BIGINT) FROM events", NOW)
    assert "secret-word" not in str(raised.value)
    assert raised.value.__suppress_context__
    assert seen(snapshot) == [1]


def test_a_query_that_takes_too_long_is_ended(
    people: Population, home: Path, spark_local: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.people([1])
    Mirror(people.store, home, FIELDS, people.clock).refresh()
    snapshot = Warehouse(home, engine=spark_local).snapshot()
    assert set(snapshot.everyone) == {1}
    monkeypatch.setattr("cdp.warehouse.spark._PATIENCE_S", 1.0)
    started = time.monotonic()
    with pytest.raises(UnavailableError):
        snapshot.run("SELECT max(id * 7 % 13) FROM range(1000000000000)", NOW)
    assert time.monotonic() - started < 60


def test_a_session_that_ended_is_made_anew(people: Population, home: Path, spark_local: Any) -> None:
    with people.committer.batch() as batch:
        people.event(batch, 1, "A")
    Mirror(people.store, home, FIELDS, people.clock).refresh()
    snapshot = Warehouse(home, engine=spark_local).snapshot()
    assert seen(snapshot) == [1]
    spark_local.connected().root.sparkContext._jsc.sc().stop()
    assert seen(snapshot) == [1]


def test_a_file_that_is_gone_is_one_clear_error(people: Population, home: Path, spark_local: Any) -> None:
    with people.committer.batch() as batch:
        people.event(batch, 1, "A")
    Mirror(people.store, home, FIELDS, people.clock).refresh()
    snapshot = Warehouse(home, engine=spark_local).snapshot()
    for path in home.glob("events-*.parquet"):
        path.unlink()
    with pytest.raises(UnavailableError, match="the warehouse failed"):
        seen(snapshot)


@pytest.mark.usefixtures("spark_needed")
def test_a_cluster_that_is_not_there_is_said_at_once(people: Population, home: Path) -> None:
    people.people([1])
    Mirror(people.store, home, FIELDS, people.clock).refresh()
    warehouse = Warehouse(home, engine=open_engine("spark://127.0.0.1:9", home))
    with pytest.raises(UnavailableError, match="cannot be reached"):
        _ = warehouse.snapshot().everyone
    warehouse.close()


@pytest.mark.parametrize("choice", ["sqlite", "spark", "spark://", "spark://here", "spark://:7077"])
@pytest.mark.usefixtures("spark_needed")
def test_a_warehouse_that_is_none_is_refused(choice: str, home: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"CDP_WAREHOUSE.*spark://HOST:PORT"):
        open_engine(choice, home)


@pytest.mark.usefixtures("spark_needed")
def test_without_java_the_install_line_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(ConfigurationError, match="apt-get install openjdk-17-jre-headless"):
        open_engine("spark-local", home)


def test_without_the_extra_the_install_line_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.delitem(sys.modules, "cdp.warehouse.spark", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'cdp\[spark\]'"):
        open_engine("spark-local", home)
