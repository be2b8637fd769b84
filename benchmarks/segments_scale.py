"""``python -m benchmarks.segments_scale EVENTS PEOPLE``: segments over many events; prints one table.

Steps: 1. Write people and a year of their events straight into the tables of a store, and mirror and merge
them. 2. A segment of two conditions in windows, beside hand-written DuckDB SQL over the same files, taken in
turns. 3. A hundred assorted segments, all of everybody. 4. A funnel of four steps. 5. The same hundred,
followed: turns after commits of ``TRICKLE`` events of as many people. 6. A preview while editing: a condition
that nobody asked before.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import msgspec

from benchmarks.databases import fresh_platform
from cdp.api import Services
from cdp.clock import DAY
from cdp.identity.tables import identifier_index, profile_members
from cdp.ingest.tables import events
from cdp.profiles.tables import trait_observations
from cdp.segments import queries
from cdp.store import insert_many

BATCH, TRICKLE, ROUNDS = 50_000, 2_000, 7
NAMES = [
    "Product Viewed",
    "Product Added",
    "Order Completed",
    "Email Opened",
    "Cart Viewed",
    "Coupon Applied",
]
_WEIGHTS = [45, 20, 12, 15, 6, 2]
_COUNTRIES = ["DE", "FR", "GB", "US", "CN", "JP", "BR", "IN"]
_EVENT = (
    "batch", "seq", "identity_no", "event_id", "source_id", "type", "name",
    "occurred_at", "stamped_at", "received_at", "properties", "sealed",
)  # fmt: skip
_TRAIT = (
    "batch", "seq", "identity_no", "name", "value", "sealed", "source_id", "observed_at", "event_id",
)  # fmt: skip


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.segments_scale", description=__doc__)
    parser.add_argument("events", type=int)
    parser.add_argument("people", type=int)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    arguments = parser.parse_args()
    with fresh_platform(arguments.store) as platform:
        print(json.dumps(measure(platform.services, arguments.events, arguments.people), indent=2))


def measure(services: Services, count: int, people: int) -> dict[str, Any]:
    """Return the figures; seconds unless the name says otherwise."""
    draw = random.Random(7)
    found: dict[str, Any] = {"events": count, "people": people}
    found["fill"] = timed(lambda: fill(services, count, people, draw))
    found["mirror"] = timed(services.mirror.refresh) + timed(services.mirror.compact)
    found |= _beside_sql(services)
    segments = list(assorted(draw))
    for number, where in enumerate(segments):
        definition = {"name": f"s{number}", "where": where}
        parsed = services.segments.parse(definition)
        with services.committer.batch() as batch:  # stored without being evaluated one by one
            stored = queries.Stored(parsed.name, 1, parsed.source, services.clock.now(), "system")
            queries.add_version(batch.connection, stored, batch.id)
    names = [f"s{number}" for number in range(len(segments))]
    found["refresh_100_first"] = timed(lambda: services.segments.refresh(names))
    found["refresh_100"] = median(lambda: services.segments.refresh(names), 3)
    found["funnel_4"] = median(lambda: services.segments.preview({"where": FUNNEL}), 3)
    found["follow_first"] = timed(services.segments.follow.turn)
    turns = []
    for _ in range(ROUNDS):
        _commit(services, [draw.randrange(1, people) for _ in range(TRICKLE)], draw, services.clock.now())
        turns.append(timed(services.segments.follow.turn))
    found |= {"follow_turn": round(statistics.median(turns), 3), "follow_turn_max": max(turns)}
    found["follow_slide"] = timed(lambda: services.segments.follow.turn(slide=True))
    amounts = iter(range(10, 1000))

    def edit() -> None:
        where = {
            "event": "Order Completed",
            "sum": {"property": "revenue", "gte": next(amounts)},
            "within": "90d",
        }
        services.segments.preview(
            {"where": {"all": [where, {"trait": "country", "op": "eq", "value": "DE"}]}}
        )

    found["preview_new"] = median(edit, ROUNDS)
    return found


FUNNEL = {
    "sequence": [
        {"event": "Product Viewed"},
        {"event": "Product Added", "within": "1d"},
        {"event": "Cart Viewed", "within": "7d"},
        {"event": "Order Completed", "within": "7d"},
    ],
    "within": "90d",
}
TWO: dict[str, Any] = {
    "all": [
        {"event": "Order Completed", "count": {"gte": 2}, "within": "60d"},
        {"not": {"event": "Product Viewed", "within": "14d"}},
    ]
}


def assorted(draw: random.Random) -> Iterator[dict[str, Any]]:
    """Yield a hundred definitions of one to three conditions of all kinds."""
    for number in range(100):
        parts = [_leaf(draw) for _ in range(draw.randint(1, 3))]
        if number % 10 == 0:
            parts.append({**FUNNEL, "within": f"{draw.choice([7, 14, 30])}d"})
        yield {draw.choice(["all", "any"]): parts}


def _leaf(draw: random.Random) -> dict[str, Any]:
    within = {"within": f"{draw.choice([1, 3, 7, 14, 30, 60, 90, 180])}d"}
    event = {"event": draw.choice(NAMES), **within}
    return draw.choice(
        [
            {"trait": "country", "op": "eq", "value": draw.choice(_COUNTRIES)},
            {**event, "sum": {"property": "revenue", "gte": draw.randint(20, 400)}},
            {**event, "count": {"gte": draw.randint(2, 5)}},
            {"not": event},
            {**event, "where": [{"property": "currency", "op": "eq", "value": draw.choice(["EUR", "USD"])}]},
            {**event, "max": {"property": "revenue", "gte": draw.randint(20, 90)}},
            event,
        ]
    )


def fill(services: Services, count: int, people: int, draw: random.Random) -> None:
    """Write people, one in ten of them with two identities, and their events."""
    now = services.clock.now()
    for start in range(1, people + 1, BATCH):
        numbers = range(start, min(people, start + BATCH - 1) + 1)
        with services.committer.batch() as batch:
            rows = [(no, no - 1 if no % 11 == 0 else no, no, batch.id) for no in numbers]
            columns = ("identity_no", "profile_no", "cluster_no", "batch")
            insert_many(batch.connection, profile_members, columns, rows)
            indexes = [(no.to_bytes(16), no, 2) for no in numbers]
            insert_many(
                batch.connection, identifier_index, ("blind_index", "identity_no", "version"), indexes
            )
            traits = [
                (
                    batch.id,
                    place,
                    no,
                    "country",
                    json.dumps(draw.choice(_COUNTRIES)),
                    None,
                    1,
                    now,
                    no.to_bytes(16),
                )
                for place, no in enumerate(numbers)
            ]
            insert_many(batch.connection, trait_observations, _TRAIT, traits)
    for start in range(0, count, BATCH):
        several = min(BATCH, count - start)
        _commit(
            services,
            [draw.randint(1, people) for _ in range(several)],
            draw,
            now - 365 * DAY * start // count,
        )


def _commit(services: Services, whose: list[int], draw: random.Random, at: int) -> None:
    names = draw.choices(NAMES, _WEIGHTS, k=len(whose))
    with services.committer.batch() as batch:
        rows = [
            (
                batch.id, place, number, batch.id.to_bytes(8) + place.to_bytes(8), 1, "track", name,
                at - draw.randrange(DAY), at, at, _properties(name, draw), b"",
            )
            for place, (number, name) in enumerate(zip(whose, names, strict=True))
        ]  # fmt: skip
        insert_many(batch.connection, events, _EVENT, rows)


def _properties(name: str, draw: random.Random) -> str | None:
    if name == "Order Completed":
        return (
            f'{{"revenue": {draw.randrange(500, 20_000) / 100}, "currency": "{draw.choice(["EUR", "USD"])}"}}'
        )
    return f'{{"product_id": "p{draw.randrange(5000)}"}}' if name.startswith("Product") else None


def _beside_sql(services: Services) -> dict[str, Any]:
    """Take the segment of two conditions and the same as hand-written SQL in turns."""
    mirror = services.settings.mirror_dir
    files = msgspec.json.decode((mirror / "manifest.json").read_bytes())["files"]
    connection = duckdb.connect()
    for dataset in ("events", "members"):
        paths = [str(mirror / file["name"]) for file in files[dataset]]
        source = f"read_parquet({paths!r}, union_by_name = true)"
        connection.execute(f"CREATE VIEW {dataset} AS SELECT * FROM {source}")  # noqa: S608  # our own files
    connection.execute(
        "CREATE TABLE map AS SELECT identity_no, arg_max(profile_no, commit_no) AS profile_no "
        "FROM members GROUP BY 1 HAVING arg_max(profile_no, commit_no) <> identity_no"
    )
    who = "coalesce(m.profile_no, e.identity_no)"

    def by_hand() -> int:
        now = services.clock.now()
        source = "FROM events e LEFT JOIN map m USING (identity_no)"
        rows = connection.execute(
            f"SELECT {who} {source} WHERE e.name = 'Order Completed' AND e.type = 'track' "
            f"AND e.occurred_at BETWEEN {now - 60 * DAY} AND {now} GROUP BY 1 HAVING count(*) >= 2 "
            f"EXCEPT SELECT {who} {source} WHERE e.name = 'Product Viewed' AND e.type = 'track' "
            f"AND e.occurred_at BETWEEN {now - 14 * DAY} AND {now}"
        ).fetchnumpy()
        (column,) = rows.values()
        return len(column)

    def ours() -> int:
        return services.segments.preview({"where": TWO}).count

    counts = [ours(), by_hand()]
    if abs(counts[0] - counts[1]) > counts[1] // 100 + 1:  # windows end a moment apart
        raise AssertionError(f"{counts[0]} here, {counts[1]} by hand")
    here, there = zip(*((timed(ours), timed(by_hand)) for _ in range(ROUNDS)), strict=True)
    ratio = round(statistics.median(here) / statistics.median(there), 2)
    return {"two": statistics.median(here), "two_by_hand": statistics.median(there), "two_ratio": ratio}


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes."""
    started = time.perf_counter()
    work()
    return round(time.perf_counter() - started, 3)


def median(work: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of some rounds, after one that does not count."""
    work()
    return round(statistics.median(timed(work) for _ in range(rounds)), 3)


if __name__ == "__main__":
    main()
