"""Focus: all facts about a few people, read from the store into memory, as the tables of a snapshot.

The same queries run on it as on a snapshot of the mirror and give the same answer for these people; it is as
new as the store. Clear, declared columns only, as in the mirror; nothing is written anywhere.
"""

# ruff: noqa: S608  # SQL is put together from our own names

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

import duckdb
import pyarrow as pa
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.errors import UnavailableError
from cdp.profiles import Trust
from cdp.store import Connection
from cdp.warehouse import queries, shape
from cdp.warehouse.duck import define_functions
from cdp.warehouse.engine import Columns, Tables
from cdp.warehouse.model import EVENTS, MEMBERS, TRAITS, Declared, Scan
from cdp.warehouse.snapshot import ranks_of

_TRUST = pa.schema([("name", pa.string()), ("source_id", pa.int64()), ("rank", pa.int64())])


class Focus:
    """The facts of some profiles, as a snapshot has them.

    :param everyone: the profiles.
    :param numbers: all their identities.
    :param dialect: the SQL that ``run`` takes, as ``ibis.to_sql`` names it.
    :param together: how many queries are best put into one statement.
    """

    dialect = "duckdb"
    together = 32  # few rows: what a statement costs is being planned

    def __init__(
        self, everyone: BitMap, numbers: BitMap, declared: Declared, tables: dict[str, pa.Table]
    ) -> None:
        self.everyone = everyone
        self.numbers = numbers
        self.tables = Tables(declared)
        self._database = duckdb.connect(
            ":memory:",
            config={
                "temp_directory": "",  # clear values never spill to a file
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "threads": 1,  # few rows: more threads cost more than they bring
            },
        )
        self._database.execute("SET enable_external_access = false")
        define_functions(self._database)
        for name, table in tables.items():
            self._database.register("given", table)
            self._database.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
            self._database.unregister("given")

    def run(self, sql: str, now: Micros, _scan: Scan | None = None) -> Columns:
        """Run a query over the tables and return its columns, as numpy arrays.

        :param now: what ``evaluated_at()`` returns in it.
        :raises UnavailableError: the engine failed; the message names no value.
        """
        try:
            self._database.execute(f"SET VARIABLE evaluated_at = {int(now)}::BIGINT")
            return self._database.execute(sql).fetchnumpy()
        except duckdb.Error as error:
            raise UnavailableError(f"the warehouse failed ({type(error).__name__})") from error

    def close(self) -> None:
        """Give the memory back."""
        self._database.close()


def focus(
    connection: Connection,
    profiles: BitMap,
    declared: Declared,
    trust: Callable[[], Trust],
    *,
    events: Collection[str] | None = None,
    since: Micros | None = None,
    columns: Declared | None = None,
) -> Focus:
    """Read what is known of some profiles.

    :param declared: what a query may name.
    :param trust: as a ``Warehouse`` takes it.
    :param events: the names of the events to read; all unless given.
    :param since: events before it are not read.
    :param columns: the properties and traits that queries will name; all that are declared unless given.
    """
    columns = declared if columns is None else columns
    numbers = queries.members_of(connection, profiles)
    identities = [identity_no for identity_no, _ in numbers]
    tables = {dataset: shape.schema(dataset, columns).empty_table() for dataset in (EVENTS, TRAITS)}
    mistyped = Counter[str]()
    pages = queries.read_events_of(connection, identities, events, since)
    found = [tables[EVENTS], *(shape.event_table(page, columns, mistyped) for page in pages)]
    tables[EVENTS] = pa.concat_tables(found, promote_options="default")
    pages = queries.read_traits_of(connection, identities, columns.traits)
    found = [tables[TRAITS], *(shape.trait_table(page, columns, mistyped) for page in pages)]
    tables[TRAITS] = pa.concat_tables(found, promote_options="default")
    moved = [(identity_no, profile_no) for identity_no, profile_no in numbers if identity_no != profile_no]
    tables[MEMBERS] = pa.table(
        {
            "identity_no": pa.array([number for number, _ in moved], pa.int64()),
            "profile_no": pa.array([number for _, number in moved], pa.int64()),
        }
    )
    there = BitMap(profile_no for _, profile_no in numbers)
    tables["people"] = pa.table({"profile_no": pa.array(list(there), pa.int64())})
    ranks = [row for name, told in trust().items() for row in ranks_of(name, told)]
    tables["trust"] = pa.Table.from_pylist(
        [dict(zip(_TRUST.names, row, strict=True)) for row in ranks], schema=_TRUST
    )
    return Focus(there, BitMap(identities), declared, tables)
