"""What every engine over the mirror shares: the tables that queries name, and what an engine does.

Invariants: a query is SQL made by Ibis for the engine's dialect over the tables of ``Tables``, and whichever
engine runs it, the same files give the same rows; the moment of evaluation is ``evaluated_at()`` inside the
query, local time ``wall_clock()``; an error names no value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import ibis  # type: ignore[import-untyped]  # publishes no types

from cdp.clock import Micros
from cdp.warehouse.model import EVENTS, MEMBERS, TRAITS, VALUE_COLUMN, Declared, event_column

PEOPLE = "people"
TRUST = "trust"
Columns = dict[str, Any]
"""A query's columns by name, as numpy arrays; masked ones where there are NULLs."""
Rank = tuple[str, int, int]
"""Trait, source, and how far the source is trusted with it: a row of ``trust``."""

_TYPES = {"string": "string", "number": "float64", "boolean": "boolean", "time": "int64"}


class Tables:
    """The Ibis tables of a snapshot; the same for every snapshot with the same declared columns.

    ``events(identity_no, type, name, occurred_at, received_at, source_id, p_…, c_…)``,
    ``traits(identity_no, name, observed_at, source_id, tie, value_text, value_number, …)``,
    ``members(identity_no, profile_no)`` (only where they differ), ``people(profile_no)``,
    ``trust(name, source_id, rank)`` (of a trait, by a small number that orders the sources; 0 where it is not
    said).
    """

    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        properties = {event_column(name): _TYPES[kind] for name, kind in declared.properties.items()}
        number = "int64"
        self.events: ibis.Table = ibis.table(
            {
                "commit_no": number,
                "identity_no": number,
                "type": "string",
                "name": "string",
                "occurred_at": number,
                "received_at": number,
                "source_id": number,
                **properties,
            },
            name=EVENTS,
        )
        values = {column: _TYPES[kind] for kind, column in VALUE_COLUMN.items()}
        self.traits: ibis.Table = ibis.table(
            {
                "identity_no": number,
                "name": "string",
                "observed_at": number,
                "source_id": number,
                "tie": number,
                **values,
            },
            name=TRAITS,
        )
        self.members: ibis.Table = ibis.table({"identity_no": number, "profile_no": number}, name=MEMBERS)
        self.people: ibis.Table = ibis.table({"profile_no": number}, name=PEOPLE)
        self.trust: ibis.Table = ibis.table(
            {"name": "string", "source_id": number, "rank": number}, name=TRUST
        )


@ibis.udf.scalar.builtin(signature=((), "int64"))  # type: ignore[untyped-decorator]  # as above
def evaluated_at() -> Any:
    """Stand for the instant that a query is evaluated for, in ``Micros``, inside the query."""


@ibis.udf.scalar.builtin(signature=(("int64", "string"), "int64"))  # type: ignore[untyped-decorator]  # as above
def wall_clock(instant: Any, zone: Any) -> Any:
    """Stand for what a clock in an IANA time zone shows at an instant, as if that were UTC, in ``Micros``."""


class Generation(Protocol):
    """One manifest's files, opened as the tables of ``Tables``; given back when nobody refers to it."""

    def run(self, sql: str, now: Micros, events: Sequence[Path] | None = None) -> Columns:
        """Return the columns of a query; many threads may ask at once.

        :param now: what ``evaluated_at()`` returns in it.
        :param events: some of the files of ``events`` that are enough for it, which an engine may heed.
        :raises UnavailableError: the engine failed, a file is gone, or it needs more memory than it may have.
        """
        ...


class Engine(Protocol):
    """What runs the queries. Its verbs are called by one thread at a time.

    :cvar dialect: the SQL that it takes, as ``ibis.to_sql`` names it.
    :cvar together: how many queries are best put into one statement.
    """

    @property
    def dialect(self) -> str:
        """Return the SQL that it takes, as ``ibis.to_sql`` names it."""
        ...

    @property
    def together(self) -> int:
        """Return how many queries are best put into one statement."""
        ...

    def map(self, files: Sequence[Path]) -> object:
        """Return, for ``open``, the identity→profile map of the files of ``members``.

        Of an identity the row with the highest ``commit_no`` holds.

        :raises OSError: a file is gone.
        """
        ...

    def open(
        self, files: Mapping[str, Sequence[Path]], tables: Tables, ranks: Sequence[Rank], members: Any
    ) -> Generation:
        """Open the files of ``events`` and ``traits``; a column that a file has not is NULL there.

        :param ranks: the rows of ``trust``.
        :param members: what ``map`` returned.
        :raises OSError: a file is gone.
        :raises UnavailableError: the engine cannot be reached.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...
