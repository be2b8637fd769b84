"""Refresh of five segments, next to the same five as hand-written DuckDB SQL over the same Parquet.

Ours includes what makes it a use of data: consent exclusions, the stored members, the audit entries, one
commit. The hand-written side has the identity→profile map ready in a table, as the platform has, and counts
distinct profiles; both sides must agree on every count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import msgspec

from cdp.api import Services
from cdp.clock import parse_rfc3339

_ROUNDS = 7
YEAR = {"from": "2011-01-01T00:00:00Z", "to": "2011-10-01T00:00:00Z"}
ADDED = "Product Added"


def _at(text: str) -> int:
    return parse_rfc3339(text + "T00:00:00Z")


_PROFILE = "coalesce(m.profile_no, e.identity_no)"
_FROM = f"FROM events e LEFT JOIN map m USING (identity_no) WHERE e.name = '{ADDED}'"
_IN_YEAR = f"AND e.occurred_at >= {_at('2011-01-01')} AND e.occurred_at < {_at('2011-10-01')}"
_COUNTRY = """SELECT profile_no FROM (
    SELECT coalesce(m.profile_no, t.identity_no) AS profile_no,
           arg_max(t.value_text, t.observed_at) AS country
    FROM traits t LEFT JOIN map m USING (identity_no) WHERE t.name = 'country' GROUP BY 1)
    WHERE country = 'Germany'"""

SEGMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "often": (
        {"event": ADDED, "count": {"gte": 10}, **YEAR},
        f"SELECT {_PROFILE} {_FROM} {_IN_YEAR} GROUP BY 1 HAVING count(*) >= 10",
    ),
    "much": (
        {"event": ADDED, "sum": {"property": "value", "gte": 500}, **YEAR},
        f"SELECT {_PROFILE} {_FROM} {_IN_YEAR} GROUP BY 1 HAVING sum(e.p_value) >= 500",
    ),
    "german-cake-stand": (
        {
            "all": [
                {"trait": "country", "op": "eq", "value": "Germany"},
                {"event": ADDED, "where": [{"property": "product_id", "op": "eq", "value": "22423"}]},
            ]
        },
        f"{_COUNTRY} INTERSECT SELECT {_PROFILE} {_FROM} AND e.p_product_id = '22423'",
    ),
    "lapsed": (
        {
            "all": [
                {"event": ADDED, "from": YEAR["from"], "to": "2011-06-01T00:00:00Z"},
                {"not": {"event": ADDED, "from": "2011-07-01T00:00:00Z", "to": YEAR["to"]}},
            ]
        },
        f"""SELECT {_PROFILE} {_FROM} AND e.occurred_at >= {_at("2011-01-01")}
            AND e.occurred_at < {_at("2011-06-01")} EXCEPT
            SELECT {_PROFILE} {_FROM} AND e.occurred_at >= {_at("2011-07-01")}
            AND e.occurred_at < {_at("2011-10-01")}""",
    ),
    "broad-and-dear": (
        {
            "any": [
                {"event": ADDED, "distinct": {"property": "product_id", "gte": 50}},
                {"event": ADDED, "avg": {"property": "price", "gte": 10}},
            ]
        },
        f"""SELECT {_PROFILE} {_FROM} GROUP BY 1 HAVING count(DISTINCT e.p_product_id) >= 50 UNION
            SELECT {_PROFILE} {_FROM} GROUP BY 1 HAVING avg(e.p_price) >= 10""",
    ),
}


def measure(services: Services, mirror: Path) -> dict[str, Any]:
    """Return milliseconds of each segment both ways and their ratio."""
    connection = _by_hand(mirror)
    names = [f"benchmark-{name}" for name in SEGMENTS]
    for name, (where, _) in zip(names, SEGMENTS.values(), strict=True):
        services.segments.apply("system", {"name": name, "where": where})
    ours, people = _time(lambda: [len(members.bitmap) for members in services.segments.refresh(names)])
    theirs, counted = _time(lambda: [len(connection.execute(sql).fetchall()) for _, sql in SEGMENTS.values()])
    if people != counted:
        raise AssertionError(f"{people} here, {counted} by hand")
    return {
        "people": dict(zip(SEGMENTS, people, strict=True)),
        "refresh_ms": round(ours, 1),
        "sql_ms": round(theirs, 1),
        "ratio": round(ours / theirs, 2),
    }


def _by_hand(mirror: Path) -> duckdb.DuckDBPyConnection:
    files = msgspec.json.decode((mirror / "manifest.json").read_bytes())["files"]
    connection = duckdb.connect()
    for dataset in ("events", "traits", "members"):
        names = [str(mirror / file["name"]) for file in files[dataset]]
        source = f"read_parquet({names!r}, union_by_name = true)"
        connection.execute(f"CREATE VIEW {dataset} AS SELECT * FROM {source}")  # noqa: S608  # our own files
    connection.execute(
        "CREATE TABLE map AS SELECT identity_no, arg_max(profile_no, commit_no) AS profile_no "
        "FROM members GROUP BY 1 HAVING arg_max(profile_no, commit_no) <> identity_no"
    )
    return connection


def _time(work: Callable[[], list[int]]) -> tuple[float, list[int]]:
    """Return (median milliseconds, result) after one warm-up."""
    result = work()
    taken = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        result = work()
        taken.append(1000 * (time.perf_counter() - started))
    return median(taken), result
