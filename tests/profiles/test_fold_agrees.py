"""The warehouse's engine folds every trait as ``cdp.profiles.fold`` does, whatever was observed."""

from __future__ import annotations

import json
import operator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from population import NOW, Population, catalogue, rule

from cdp.clock import DAY, SECOND
from cdp.policy import TYPED
from cdp.profiles import CORRECTION, Observation, fold, queries
from cdp.segments.compile import Compiler, find
from cdp.segments.definition import Trait
from cdp.warehouse import Mirror, Warehouse

FIELDS = catalogue(
    traits=[
        rule("recent"),
        rule("trusted", survivorship="most_trusted"),
        rule("frequent", survivorship="most_frequent"),
        rule("frequent_time", "time", survivorship="most_frequent"),
        rule("lived", survivorship="longest_lived"),
        rule("lived_number", "number", survivorship="longest_lived"),
        rule("least", "number", survivorship="min"),
        rule("latest", "time", survivorship="max"),
        rule("total", "number", survivorship="sum"),
        rule("every", survivorship="union"),
        rule("checked", survivorship="validated", validated_by="verified"),
        rule("verified", "boolean", expires=40),
        rule("recent_while", expires=30),
        rule("trusted_while", survivorship="most_trusted", expires=30),
        rule("frequent_while", survivorship="most_frequent", expires=30),
        rule("lived_while", survivorship="longest_lived", expires=30),
        rule("total_while", "number", survivorship="sum", expires=30),
        rule("checked_while", "boolean", expires=30, survivorship="validated", validated_by="verified"),
    ]
)
TRUST = {"trusted": {1: 10**9, 2: 7, 3: -1}, "trusted_while": {1: 0, 2: 0, 3: 5}}
COMPILER = Compiler()
EDGE = NOW - NOW % DAY - 30 * DAY
INSTANTS = [EDGE - 1, EDGE, EDGE + 1, EDGE + SECOND, EDGE - 10 * DAY, EDGE - 10 * DAY - 1, NOW, NOW - DAY]
VALUES: dict[str, list[Any]] = {
    "string": ["", "a", "é", 7],
    "number": [1, 1.0, -0.0, 0, 0.1, 0.2, "1", True, 10**17, 1.7e308],
    "time": ["2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01T02:00:00+02:00", "2025-06-01", "never"],
    "boolean": [True, False, True, "true"],
}
IDENTITIES = 100


def observe(people: Population, random: Random) -> None:
    """Store observations: some sealed, some of one event, some mistyped, some corrections, few instants."""
    groups: dict[int, list[int]] = {}
    for number in range(1, IDENTITIES + 1):
        groups.setdefault(random.randint(1, 40), []).append(number)
    with people.committer.batch() as batch:
        people.link(batch, *groups.values())
    names = list(FIELDS.traits)
    for _ in range(2):  # two commits, two files of the mirror
        with people.committer.batch() as batch:
            for _ in range(700):
                event_id, identity = random.randbytes(16), random.randint(1, IDENTITIES)
                at, source = random.choice(INSTANTS), random.randint(1, 4)
                if random.random() < 0.03:
                    source = CORRECTION
                for name in random.choices(names, k=random.choice([1, 1, 2])):
                    several = [name] * random.choice([1, 1, 2]) + ["verified"] * (random.random() < 0.4)
                    for one in several:
                        people.trait(
                            batch,
                            identity,
                            one,
                            None
                            if source == CORRECTION and random.random() < 0.3
                            else random.choice(VALUES[FIELDS.traits[one].type]),
                            at=at,
                            source_id=source,
                            event_id=event_id,
                            sealed=source != CORRECTION and random.random() < 0.1,
                        )


def typed(one: Observation) -> list[Any]:
    """Return what a trait is: of a union every value, else one; none where nothing can be read."""
    found = FIELDS.traits[one.name]
    given = None if one.value is None else json.loads(one.value)
    if found.survivorship == "union" and isinstance(given, list):
        return given
    value = TYPED[found.type](given)
    return [] if value is None else [value]


def asked(name: str) -> list[Trait]:
    """Return the conditions by which a trait is told apart: one for each value it may have."""
    found = FIELDS.traits[name]
    flag = FIELDS.traits[found.validated_by].expires if found.validated_by else None
    how = (found.type, found.survivorship, found.expires, found.validated_by, flag)
    values = {value for given in VALUES[found.type] if (value := TYPED[found.type](given)) is not None}
    leaves = [Trait(name, "eq", value, *how) for value in values]
    if found.type == "number":
        leaves += [Trait(name, op, bound, *how) for bound in (1.3, 3.0) for op in ("lt", "gte")]
    return [*leaves, Trait(name, "exists", True, *how)]


def holds(leaf: Trait, value: Any) -> bool:
    if leaf.op == "exists":
        return True
    compare = {"eq": operator.eq, "lt": operator.lt, "gte": operator.ge}[leaf.op]
    return bool(compare(value, leaf.value))


@settings(max_examples=4)
@given(st.integers(0, 10**6))
def test_the_warehouse_folds_as_portraits_and_exports_do(seed: int) -> None:
    with TemporaryDirectory() as folder:
        people = Population(f"sqlite:///{folder}/cdp.sqlite")
        random = Random(seed)  # noqa: S311  # draws test data
        observe(people, random)
        Mirror(people.store, Path(folder) / "warehouse", FIELDS, people.clock).refresh()
        warehouse = Warehouse(Path(folder) / "warehouse", trust=lambda: TRUST)
        now = NOW + random.choice([0, 1, DAY - 1])
        with people.store.reading() as connection:
            observed = list(queries.observations(connection, range(1, IDENTITIES + 1), None))
        folded = fold(observed, FIELDS, TRUST, now)
        snapshot = warehouse.snapshot()
        leaves = [leaf for name in FIELDS.traits for leaf in asked(name)]
        found = find(COMPILER(leaves, snapshot.tables, snapshot.dialect), snapshot, now)
        for leaf, profiles in found.items():
            assert isinstance(leaf, Trait)
            survivors = folded.get(leaf.name, {})
            expected = {no for no, one in survivors.items() if any(holds(leaf, v) for v in typed(one))}
            assert set(profiles) == expected, leaf
        warehouse.close()
        people.close()
