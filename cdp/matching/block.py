"""Which pairs are compared: those that share a blocking key that few others share.

Every field gives keys (its value, its coarse key); a key is one of them or two of different fields. Which
keys serve is told by the data: of each key, blocks are taken from the smallest up while the pairs that they
make stay within the key's share of the budget, and none above ``settings.block``. So a rare family name is a
key by itself and a common one only with a birth year; a constant column gives nothing; the number of pairs
grows with the number of records and not with its square.
"""

# ruff: noqa: S608  # the names in these statements are our own; values never stand in one

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import duckdb

from cdp.matching.memory import run
from cdp.matching.model import FieldKind, MatchField, MatchSettings

PAIRS = "candidate_pairs"
_ALL = 1_000_000  # pairs of so few records that all are compared
_EACH = 20  # pairs for each record of many ...
_LEAST = 4_000_000  # ... and pairs that are worth looking at however few they are
_MOST = 36  # keys
# Fields whose values tell most apart come first, so that where there are many fields their keys are taken.
_ORDER = (
    FieldKind.id_number, FieldKind.email, FieldKind.phone, FieldKind.family_name, FieldKind.birth_date,
    FieldKind.given_name, FieldKind.full_name,  FieldKind.street, FieldKind.postal_code, FieldKind.text,
    FieldKind.city, FieldKind.other_names, FieldKind.number, FieldKind.region,
)  # fmt: skip
_COARSE = frozenset(_ORDER) - {FieldKind.number, FieldKind.region, FieldKind.city}


def block(
    connection: duckdb.DuckDBPyConnection,
    fields: Sequence[MatchField],
    settings: MatchSettings,
    records: int,
    *,
    every: bool,
) -> int:
    """Make the table of candidate pairs (``join_key_l`` < ``join_key_r``) of ``records``; return how many.

    Of the table ``records``, ``fresh`` says whether a record is new: unless ``every``, a pair has
    one that is.
    """
    new = "" if every else " AND (l.fresh OR r.fresh)"
    if records * (records - 1) // 2 <= _ALL:
        run(connection, f"CREATE TABLE {PAIRS} AS SELECT l.rid AS join_key_l, r.rid AS join_key_r, "
            f"'0' AS match_key FROM records l JOIN records r ON l.rid < r.rid{new}")  # fmt: skip
    else:
        keys = _keys(fields)
        budget = max(_LEAST, _EACH * records) // len(keys)
        run(connection, "CREATE TABLE blocked (join_key_l BIGINT, join_key_r BIGINT)")
        for key in keys:
            _add(connection, key, settings.block, budget, new)
        run(connection, f"CREATE TABLE {PAIRS} AS SELECT DISTINCT join_key_l, join_key_r, '0' AS match_key "
            "FROM blocked")  # fmt: skip
        run(connection, "DROP TABLE blocked")
    return int(run(connection, f"SELECT count(*) FROM {PAIRS}")[0][0])


def _keys(fields: Sequence[MatchField]) -> list[tuple[str, ...]]:
    numbered = sorted(enumerate(fields), key=lambda one: (_ORDER.index(one[1].kind), one[0]))
    single = [(f"f{number}",) for number, _ in numbered]
    coarse = [(f"f{n}_k" if field.kind in _COARSE else f"f{n}") for n, field in numbered]
    return [*single, *combinations(coarse, 2)][:_MOST]


def _add(
    connection: duckdb.DuckDBPyConnection, key: tuple[str, ...], most: int, budget: int, new: str
) -> None:
    """Add the pairs of one key, of blocks as large as the budget allows."""
    columns = ", ".join(key)
    known = " AND ".join(f"{column} IS NOT NULL" for column in key)
    sizes = run(
        connection,
        f"SELECT size, count(*) * (size * (size - 1) // 2) FROM "
        f"(SELECT count(*) AS size FROM records WHERE {known} GROUP BY {columns}) "
        f"WHERE size BETWEEN 2 AND {most} GROUP BY size ORDER BY size",
    )
    largest = spent = 0
    for size, pairs in sizes:
        spent += pairs
        if spent > budget:
            break
        largest = size
    if not largest:
        return
    same = " AND ".join(f"l.{column} = r.{column}" for column in key)
    run(
        connection,
        f"INSERT INTO blocked WITH few AS (SELECT rid, fresh, {columns} FROM records WHERE {known} "
        f"QUALIFY count(*) OVER (PARTITION BY {columns}) BETWEEN 2 AND {largest}) "
        f"SELECT l.rid, r.rid FROM few l JOIN few r ON {same} AND l.rid < r.rid{new}",
    )
