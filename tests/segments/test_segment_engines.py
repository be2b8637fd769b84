"""Every definition finds the same people on DuckDB and on a Spark cluster with two executor processes.

One population is evaluated on both, many definitions at once: worlds of six identities as the plain evaluator
knows them, drawn by Hypothesis beside each other, merged, split and erased after they were mirrored; and the
edges at which two engines could part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from generated import FIELDS, TRUST, definitions, events, groups, tags, traits
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from oracle import World
from population import NOW, Population, catalogue, index_of, rule
from pyroaring import BitMap
from rig import Rig, exact, load, profiles
from spark_cluster import LEAVES_SOCKETS, WORKERS, SparkCluster, tasks_by_executor

from cdp.clock import DAY
from cdp.policy import FieldCatalogue
from cdp.segments import SegmentService
from cdp.warehouse import Mirror, Warehouse

pytestmark = LEAVES_SOCKETS
WORLDS = 30
DEFINITIONS = 80
IDENTITIES = 6  # of one world
Where = dict[str, Any]


@pytest.fixture(scope="module")
def cluster(spark_cluster: SparkCluster) -> Iterator[Any]:
    with spark_cluster.engine() as engine:
        yield engine


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Return ``count`` examples, each drawn for itself."""
    found: list[Any] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found


class Engines:
    """One store and its mirror, and the segment service twice: on DuckDB and on Spark."""

    def __init__(self, people: Population, folder: Path, fields: FieldCatalogue, spark: Any) -> None:
        trust = {name: TRUST for name, one in fields.traits.items() if one.survivorship == "most_trusted"}
        self.mirror = Mirror(people.store, folder, fields, people.clock)
        self.mirror.refresh()
        self.duckdb = self._service(people, Warehouse(folder, trust=lambda: trust), fields)
        self.spark = self._service(people, Warehouse(folder, trust=lambda: trust, engine=spark), fields)

    @staticmethod
    def _service(people: Population, warehouse: Warehouse, fields: FieldCatalogue) -> SegmentService:
        return SegmentService(
            people.store,
            people.committer,
            warehouse,
            fields,
            people.clock,
            lambda _connection: BitMap(),
            lambda _categories: frozenset(),
            bytes.hex,
        )

    def find(self, wheres: list[Where], zone: str = "UTC") -> list[set[int]]:
        """Return whom each definition finds, the same on both."""
        names = [f"d{place}" for place in range(len(wheres))]
        for name, where in zip(names, wheres, strict=True):
            self.duckdb.apply("system", {"name": name, "timezone": zone, "where": where})
        on_duckdb, on_spark = self.duckdb.refresh(names), self.spark.refresh(names)
        for where, one, other in zip(wheres, on_duckdb, on_spark, strict=True):
            assert set(one.bitmap) == set(other.bitmap), where
        return [set(one.bitmap) for one in on_duckdb]


def test_any_definition_finds_the_same_people_on_both(tmp_path: Path, cluster: Any) -> None:
    rig = Rig(f"sqlite:///{tmp_path}/cdp.sqlite", tmp_path / "warehouse")
    world = World({}, [], [], TRUST, {"plan"}, NOW, "America/New_York")
    parts = st.tuples(groups, st.lists(events, max_size=14), st.lists(traits, max_size=8))
    for place, (group_of, seen, observed) in enumerate(drawn(parts, WORLDS)):
        first = place * IDENTITIES
        world.profile_of |= {first + one: first + other for one, other in profiles(group_of).items()}
        world.events += [{**event, "identity": first + event["identity"]} for event in seen]
        world.traits += [{**item, "identity": first + item["identity"]} for item in observed]
    load(rig, world)
    rig.mirror.refresh()
    change_everything(rig, world)
    engines = Engines(rig.people, tmp_path / "warehouse", FIELDS, cluster)
    world.lists["some"] = [2, 5, 9, 40]
    engines.duckdb.lists.put("system", "some", "white", [(index_of(no),) for no in world.lists["some"]])
    rig.define(world, drawn(tags, 1)[0])
    wheres = drawn(definitions, DEFINITIONS)
    world.segments["other"] = next(where for where in wheres if '"segment"' not in json.dumps(where))
    other = {"name": "other", "timezone": world.zone, "where": world.segments["other"]}
    engines.duckdb.apply("system", other)
    found = engines.find(wheres, world.zone)
    for place, (where, profiles_found) in enumerate(zip(wheres, found, strict=True)):
        assert profiles_found == world.members(where, f"d{place}"), where
    ran = tasks_by_executor(cluster)
    assert len(ran) == WORKERS
    assert all(ran.values()), ran
    rig.close()


def change_everything(rig: Rig, world: World) -> None:
    """After all was mirrored once: people merge and come apart, events come late, some are erased."""
    parts = st.tuples(groups, st.lists(events, max_size=4), st.lists(traits, max_size=2))
    group_of: list[int] = []
    late: list[dict[str, Any]] = []
    observed: list[dict[str, Any]] = []
    for place, (grouped, seen, said) in enumerate(drawn(parts, WORLDS)):
        first = place * IDENTITIES
        group_of += [first + group for group in grouped]
        late += [{**event, "identity": first + event["identity"]} for event in seen]
        observed += [{**item, "identity": first + item["identity"]} for item in said]
    before = dict(world.profile_of)
    rig.happen(world, late, observed, group_of)
    parted = {profile for n, profile in before.items() if world.profile_of[n] != world.profile_of[profile]}
    assert len(parted) > WORLDS / 2  # or next to nobody came apart
    for number in range(1, WORLDS * IDENTITIES, 3 * IDENTITIES):
        rig.erase(world, number)


FOLDED = catalogue(
    traits=[
        rule("recent"),
        rule("trusted", survivorship="most_trusted"),
        rule("frequent", survivorship="most_frequent"),
        rule("frequent_time", "time", survivorship="most_frequent"),
        rule("lived", survivorship="longest_lived"),
        rule("lived_number", "number", survivorship="longest_lived", expires=2),
        rule("least", "number", survivorship="min"),
        rule("latest", "time", survivorship="max", expires=3),
        rule("total", "number", survivorship="sum"),
        rule("every", survivorship="union"),
        rule("checked", survivorship="validated", validated_by="verified"),
        rule("checked_flag", "boolean", expires=3, survivorship="validated", validated_by="verified"),
        rule("verified", "boolean", expires=2),
    ]
)
SAID: dict[str, list[Any]] = {
    "string": ["", "a", "A", "é", 7],
    "number": [1, -0.0, 0, 0.1, 0.2, 0.0628125, "1", 10**17, 1.7e308],
    "time": ["2024-01-01T00:00:00Z", "2024-01-01T02:00:00+02:00", "2025-06-01T00:00:00Z", "never"],
    "boolean": [True, False, "true"],
}
ASKED: dict[str, list[Where]] = {
    "string": [{"op": "eq", "value": word} for word in ("", "a", "A", "é")]
    + [{"op": "contains", "value": "a"}, {"op": "ne", "value": "a"}],
    "number": [{"op": "eq", "value": number} for number in (0, 1, 0.1, 0.3, 0.062813, 0.062812)]
    + [{"op": "gte", "value": 1.3}, {"op": "lt", "value": 0.2}, {"op": "between", "value": [-1, 2]}],
    "time": [{"op": "eq", "value": "2024-01-01T00:00:00Z"}, {"op": "gt", "value": "2024-06-01T00:00:00Z"}],
    "boolean": [{"op": "eq", "value": True}, {"op": "ne", "value": True}],
}


def test_every_way_to_fold_a_trait_is_the_same_on_both(tmp_path: Path, cluster: Any) -> None:
    people = Population(f"sqlite:///{tmp_path}/cdp.sqlite")
    random = Random(5)  # noqa: S311  # draws test data
    spans = [0, 1, DAY // 2, DAY, DAY + 1, 2 * DAY, 3 * DAY, 3 * DAY + 1]
    with people.committer.batch() as batch:
        people.link(batch, *([number, number + 100] for number in range(1, 101)))
    for _ in range(2):  # two commits, two files of the mirror
        with people.committer.batch() as batch:
            for _ in range(1500):
                one = random.choice(list(FOLDED.traits.values()))
                people.trait(
                    batch,
                    random.randint(1, 200),
                    one.name,
                    random.choice(SAID[one.type]),
                    at=NOW - random.choice(spans),
                    source_id=random.randint(1, 4),
                    sealed=random.random() < 0.1,
                )
    wheres = [
        {"trait": one.name, **asked}
        for one in FOLDED.traits.values()
        for asked in [*ASKED[one.type], {"op": "exists"}]
    ]
    found = Engines(people, tmp_path / "warehouse", FOLDED, cluster).find(wheres)
    assert sum(0 < len(some) < 100 for some in found) > len(wheres) / 2  # or nothing was asked
    people.close()


WORDS = [
    "", "a", "A", "é", "e\u0301", "'", "''", '"', "\\", "\\'", "\\n", "a\nb", "a\tb\r", "%", "_", "\\%",
    "${spark.app.name}", "${env:HOME}", ":a", "?", "{{a}}", "/* a */", "-- a", "`", "\\u0041", "\x0b\x1a",
    "\uffff", "\U00010000", "evaluated_at()", "$1",
]  # fmt: skip
HOLDS = {"eq": str.__eq__, "contains": str.__contains__, "starts_with": str.startswith}


def test_quoted_words_find_the_same_on_both(tmp_path: Path, cluster: Any) -> None:
    people = Population(f"sqlite:///{tmp_path}/cdp.sqlite")
    with people.committer.batch() as batch:
        people.link(batch, *([number] for number in range(1, 101)))
        for number, word in enumerate(WORDS, 1):
            people.event(batch, number, "Said", {"sku": word})
            people.event(batch, number, word, {"sku": word}, kind="page")
            people.event(batch, 99, "Last", {"sku": word})
            people.trait(batch, number, "country", word)
    engines = Engines(people, tmp_path / "warehouse", FIELDS, cluster)
    asked = [(op, word) for op in HOLDS for word in WORDS]
    found = engines.find(
        [{"event": "Said", "where": [{"property": "sku", "op": op, "value": word}]} for op, word in asked]
    )
    for (op, word), some in zip(asked, found, strict=True):
        assert some == {number for number, said in enumerate(WORDS, 1) if HOLDS[op](said, word)}, (op, word)
    names = [{"event": word, "type": "page"} for word in WORDS[5:15]]
    traits_ = [{"trait": "country", "op": "eq", "value": word} for word in WORDS]
    last = [{"event": "Last", "last": {"property": "sku", "eq": word}} for word in WORDS]
    found = engines.find([*names, *traits_, *last])
    assert [len(some) for some in found[: -len(last)]] == [1] * (len(names) + len(traits_))
    assert found[-len(last) :] == [{99} if word == max(WORDS) else set() for word in WORDS]
    people.close()


TIES = [0.0628125, 0.0634375, 1.0000005, -0.0628125, 0.0000015, 2.5, 8.5e9 + 0.25, 1e17, 1.7e308, 5e-324]


def test_rounded_amounts_are_the_same_on_both(tmp_path: Path, cluster: Any) -> None:
    people = Population(f"sqlite:///{tmp_path}/cdp.sqlite")
    with people.committer.batch() as batch:
        people.link(batch, *([number] for number in range(1, 101)))
        for number, amount in enumerate(TIES, 1):
            people.event(batch, number, "Paid", {"revenue": amount})
            for _ in range(2):
                people.event(batch, 50 + number, "Paid", {"revenue": amount})
        for amount in (-0.0, 0.0):
            people.event(batch, 98, "Paid", {"revenue": amount})
        for cents in range(32):
            people.event(batch, 97, "Paid", {"revenue": (cents + 1) / 100})
    near = {round(x + step, 6) for x in TIES if abs(x) < 1e9 for step in (-1e-6, 0, 1e-6)}
    wheres = [
        {"event": "Paid", function: {"property": "revenue", op: bound}}
        for function in ("sum", "avg")
        for op in ("eq", "gte")
        for bound in [*sorted(near), 0.165, 1e17, 2e17, 1.7e308]
    ]
    wheres += [{"event": "Paid", "distinct": {"property": "revenue", "eq": n}} for n in (0, 1, 2, 32)]
    found = Engines(people, tmp_path / "warehouse", FIELDS, cluster).find(wheres)
    assert sum(map(bool, found)) > len(wheres) / 2
    people.close()


def test_every_table_is_the_same_on_both(tmp_path: Path, cluster: Any) -> None:
    """Retention around the days on which clocks change, funnels, and portraits of every type of trait."""
    people = Population(f"sqlite:///{tmp_path}/cdp.sqlite")
    random = Random(5)  # noqa: S311  # draws test data
    fields = catalogue(
        properties=[rule("gift", "boolean")],
        traits=[
            rule("country"),
            rule("tags", survivorship="union"),
            rule("age", "number"),
            rule("born", "time"),
            rule("kind", "boolean"),
        ],
    )
    values: dict[str, list[Any]] = {
        "country": ["DE", "FR", "é", "'"],
        "tags": ["a", "b", "c"],
        "age": [0, 1, 17.5, 17.5, 40, 1e9, -3],
        "born": [
            "1899-12-31T23:59:59Z",
            "1969-12-31T23:59:59.999999Z",
            "1970-01-01T00:00:00Z",
            "2024-02-29T12:00:00Z",
        ],
        "kind": [True, False],
    }
    with people.committer.batch() as batch:
        people.link(batch, *([number, number + 60] for number in range(1, 61)))
        for _ in range(1500):
            moment = NOW - random.randrange(40) * DAY - random.choice([0, 1, DAY // 12, DAY // 2])
            name, said = random.choice("ABC"), {"gift": random.random() < 0.5}
            people.event(batch, random.randint(1, 120), name, said, at=moment)
        for _ in range(400):
            name = random.choice(list(values))
            people.trait(
                batch, random.randint(1, 120), name, random.choice(values[name]), at=NOW - random.randrange(9)
            )
    engines = Engines(people, tmp_path / "warehouse", fields, cluster)
    steps: list[Where] = [
        {"event": "A"},
        {"not": {"event": "C"}},
        {"event": "B", "within": "5d"},
        {"event": "A"},
    ]
    given: list[Where] = [{"property": "gift", "op": "eq", "value": True}]
    engines.duckdb.apply("system", {"name": "gifted", "where": {"event": "A", "where": given}})
    gift: list[Where] = [{"property": "gift", "op": "eq", "value": True}]
    engines.duckdb.apply("system", {"name": "gifted", "where": {"event": "A", "where": gift}})

    def tables(segments: SegmentService) -> list[Any]:
        explore = segments.explore
        found = [explore.funnel(explore.read_funnel({"sequence": steps, "within": "30d"})).shown(exact)]
        for every, zone in (("day", "Europe/Berlin"), ("week", "America/Sao_Paulo"), ("month", "UTC")):
            asked: Where = {
                "start": {"event": "A", "where": given},
                "return": {"event": "B"},
                "from": "today-50d",
            }
            asked |= {"every": every, "timezone": zone, "periods": 52}
            found.append(explore.retention(explore.read_retention(asked)).shown(exact))
        return [*found, explore.portrait("gifted").shown(exact, exact=True)]

    (one, other) = (tables(segments) for segments in (engines.duckdb, engines.spark))
    assert one == other
    assert one[0]["steps"][-1]["count"]
    assert [len(one["values"]) for one in one[-1]["attributes"]] == [5, 3, 4, 2, 3]
    assert sum(cohort["size"] for cohort in one[1]["cohorts"])
    people.close()
