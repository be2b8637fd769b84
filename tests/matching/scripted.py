"""A core of matching whose finds the tests script, around a whole platform, and what they look at.

A test module makes its fixture by ``core = pytest.fixture(scripted, name="core")``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import combinations
from typing import Any

import pyarrow as pa
import pytest
from caller import Caller
from people import Person
from sqlalchemy import Table, select

from cdp.audit import AuditFilter
from cdp.matching import Matched, MatchField, MatchSettings, Model, Pair, Step, service

SURE, LIKELY = 12.0, 3.0


class Scripted:
    """Takes records of the same first name and birth date for one person, as surely as the test says."""

    def __init__(self) -> None:
        self.weight = SURE
        self.tables: list[pa.Table] = []
        self.fresh: list[int] | None = []
        self.models: list[Model | None] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(
        self,
        table: pa.Table,
        fields: Collection[MatchField],
        _settings: MatchSettings,
        *,
        model: Model | None,
        clusters: Mapping[int, int],
        fresh: Collection[int] | None,
    ) -> Matched:
        assert [field.name for field in fields] == table.column_names[1:]
        self.tables.append(table)
        self.models.append(model)
        self.fresh = None if fresh is None else list(fresh)
        named = Model(version=1, prior=0.01, fields={field.name: [] for field in fields})
        groups: dict[tuple[str, str], list[int]] = {}
        for row in table.to_pylist():
            groups.setdefault((row["given_name"], row["birth_date"]), []).append(row["record_no"])
        pairs = [
            Pair(low, high, self.weight, 0.99, (Step("given_name", "exact", self.weight),))
            for group in groups.values()
            for low, high in combinations(sorted(group), 2)
            if clusters[low] != clusters[high] and (fresh is None or {low, high} & set(fresh))
        ]
        self.meanwhile()
        sure, likely = (tuple(pairs), ()) if self.weight > LIKELY else ((), tuple(pairs))
        return Matched(sure, likely, model or named, table.num_rows, len(pairs))

    @property
    def values(self) -> set[str]:
        """All that it was ever given."""
        columns = (column for table in self.tables for column in table.columns[1:])
        return {value for column in columns for value in column.to_pylist() if value is not None}


def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """The scripted core in place of the real one."""
    found = Scripted()
    monkeypatch.setattr(service, "match", found)
    return found


def people(caller: Caller, *numbers: int) -> list[Person]:
    """Send both records of some people."""
    found = [Person(number) for number in numbers]
    caller.send(*(message for person in found for message in (person.shop(), person.newsletter())))
    return found


def object_to_it(caller: Caller, number: int, state: str = "objected") -> None:
    """Record what the shop's customer says about matching."""
    who = {"type": "user_id", "value": f"shop-{number}"}
    body = {"identifiers": [who], "purpose": "identity_resolution", "state": state}
    caller.api("POST", "/consents", body)


def entries(caller: Caller, **wanted: Any) -> list[Any]:
    """Return entries of the log, the newest first."""
    with caller.services.store.reading() as connection:
        return caller.services.audit.search(connection, AuditFilter(**wanted))


def rows(caller: Caller, table: Table) -> list[Any]:
    """Return the rows of a table."""
    with caller.services.store.reading() as connection:
        return list(connection.execute(select(table)))
