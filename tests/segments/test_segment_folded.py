"""What a condition on a folded trait reads, and from when on it can be answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from population import NOW, Population, catalogue, rule

from cdp.clock import DAY
from cdp.errors import UnavailableError
from cdp.segments.compile import Compiler, find
from cdp.segments.definition import Trait
from cdp.segments.parse import parse
from cdp.segments.references import classified, reads
from cdp.warehouse import Mirror, Warehouse

CHECKED = rule("checked", "boolean", category="user.account", expires=5)
FIELDS = catalogue(
    traits=[rule("tier", survivorship="validated", validated_by="checked", expires=9), CHECKED],
)
WHERE = {"name": "mine", "where": {"trait": "tier", "op": "eq", "value": "a"}}


def test_a_validated_trait_reads_what_validates_it() -> None:
    definition = parse(WHERE, FIELDS)
    assert definition.where == Trait("tier", "eq", "a", "string", "validated", 9, "checked", 5)
    read = reads([definition])
    assert read == {"trait:tier", "trait:checked"}
    assert classified(read, FIELDS, {}) == {"user.behavior.purchase_history", "user.account"}


def test_it_waits_until_what_validates_it_is_mirrored(tmp_path: Path) -> None:
    people = Population(f"sqlite:///{tmp_path}/cdp.sqlite")
    warehouse = Warehouse(tmp_path / "warehouse")
    leaf = parse(WHERE, FIELDS).where
    assert isinstance(leaf, Trait)
    mirror = Mirror(people.store, tmp_path / "warehouse", catalogue(traits=[rule("tier")]), people.clock)
    mirror.refresh()
    with pytest.raises(UnavailableError):
        Compiler()([leaf], warehouse.snapshot().tables, "duckdb")
    mirror.adopt(FIELDS)
    mirror.refresh()
    (compiled,) = Compiler()([leaf], warehouse.snapshot().tables, "duckdb")
    assert compiled.sql
    warehouse.close()
    people.close()


def test_a_compiled_condition_goes_by_the_day_it_is_asked_on(tmp_path: Path) -> None:
    fields = catalogue(traits=[rule("tier", expires=3)])
    people = Population(f"sqlite:///{tmp_path}/cdp.sqlite")
    warehouse = Warehouse(tmp_path / "warehouse")
    people.people([1], [2])
    with people.committer.batch() as batch:
        people.trait(batch, 1, "tier", "a", at=NOW)
        people.trait(batch, 2, "tier", "a", at=NOW - DAY)
    Mirror(people.store, tmp_path / "warehouse", fields, people.clock).refresh()
    leaf = parse(WHERE, fields).where
    assert isinstance(leaf, Trait)
    snapshot = warehouse.snapshot()
    (compiled,) = Compiler()([leaf], snapshot.tables, "duckdb")
    instants = (NOW, NOW + 3 * DAY - 1, NOW + 3 * DAY, NOW + 4 * DAY - 1, NOW + 4 * DAY)
    assert [set(find([compiled], snapshot, at)[leaf]) for at in instants] == [{1, 2}, {1, 2}, {1}, {1}, set()]
    warehouse.close()
    people.close()
