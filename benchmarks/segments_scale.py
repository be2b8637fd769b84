"""``python -m benchmarks.segments_scale EVENTS PEOPLE``: segments over many events; prints one table.

Steps: 1. Make a crowd (``crowd.py``), in a process of its own. 2. A segment of two conditions in windows,
beside hand-written DuckDB SQL over the same files, taken in turns: both must find the same people. 3. A
hundred assorted segments, all of everybody. 4. A funnel of four steps. 5. The same hundred, followed: turns
after commits of ``TRICKLE`` events of as many people, and one in which windows slide by half a minute. 6.
Previews while editing: conditions that nobody asked before.

The clock stands still, or is moved by hand, so that windows end alike. Of each step the most memory that the
process held is told.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import msgspec
import numpy as np
from pyroaring import BitMap

from benchmarks.crowd import COUNTRIES, CURRENCIES, NAMES, Crowd
from cdp import app
from cdp.api import Services
from cdp.clock import DAY, SECOND, FixedClock
from cdp.segments import queries
from cdp.settings import Settings
from cdp.warehouse import bitmap

NOW = 20_500 * DAY
TRICKLE, ROUNDS = 2_000, 7


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.segments_scale", description=__doc__)
    parser.add_argument("events", type=int)
    parser.add_argument("people", type=int)
    parser.add_argument("--one-in", type=int, default=1, help="keep one in so many profiles in the store")
    parser.add_argument("--rounds", type=int, default=3, help="of what takes long")
    parser.add_argument("--folder", type=Path, help="keep the crowd here, or take the one that is there")
    parser.add_argument("--step", choices=["fill", "measure"], help=argparse.SUPPRESS)  # of a process
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="cdp-bench-"))
    crowd = Crowd(given.events, given.people, NOW, given.one_in)
    if given.step:
        work = _fill if given.step == "fill" else partial(measure, rounds=given.rounds)
        print(json.dumps(_on_platform(folder, crowd, work)))
        return
    command = [sys.executable, "-m", "benchmarks.segments_scale", str(given.events), str(given.people)]
    command += [
        "--one-in",
        str(given.one_in),
        "--rounds",
        str(given.rounds),
        "--folder",
        str(folder),
        "--step",
    ]
    try:
        steps = ["fill", "measure"] if not (folder / "warehouse").exists() else ["measure"]
        found = {"events": given.events, "people": given.people}
        for step in steps:
            done = subprocess.run([*command, step], check=True, stdout=subprocess.PIPE)  # ours
            found |= json.loads(done.stdout.splitlines()[-1])  # the others are a log
        print(json.dumps(found, indent=2))
    finally:
        if given.folder is None:
            shutil.rmtree(folder)


def _on_platform(
    folder: Path, crowd: Crowd, work: Callable[[Services, Crowd, FixedClock], dict[str, Any]]
) -> dict[str, Any]:
    settings, clock = Settings(data_dir=folder), FixedClock(NOW)
    app.initialise(settings, clock)
    platform = app.build(settings, clock)
    with closing(platform):
        return work(platform.services, crowd, clock)


def _fill(services: Services, crowd: Crowd, _clock: FixedClock) -> dict[str, Any]:
    return _step("fill", lambda: crowd.fill(services), rounds=1)


def measure(services: Services, crowd: Crowd, clock: FixedClock, rounds: int) -> dict[str, Any]:
    """Return by step the median and the least seconds of its rounds, those of our processors, and memory."""
    draw, chance = random.Random(7), np.random.default_rng(7)
    found = _step("open", lambda: services.segments.preview({"where": {"sample": 0.01}}), rounds=1)
    found |= _beside_sql(services)
    names = define(services, assorted(draw))
    found |= _step("refresh_100_first", lambda: services.segments.refresh(names), rounds=1)
    found |= _step("refresh_100", lambda: services.segments.refresh(names), rounds)
    found |= _step("funnel_4", lambda: services.segments.preview({"where": FUNNEL}), rounds)
    follow = services.segments.follow
    found |= _step("follow_first", follow.turn, rounds=1)

    def happen() -> None:
        clock.advance(SECOND)
        crowd.happen(services, TRICKLE, chance)

    found |= _step("follow_turn", follow.turn, ROUNDS, before=happen)
    services.mirror.refresh()
    clock.advance(30 * SECOND)
    found |= _step("follow_slide", lambda: follow.turn(slide=True), rounds=1)
    return found | _previews(services)


def define(services: Services, wheres: Iterable[dict[str, Any]]) -> list[str]:
    """Store segments, without evaluating them one by one, and return their names."""
    names = []
    with services.store.reading() as connection:
        there = queries.versions(connection)
    for number, where in enumerate(wheres):
        parsed = services.segments.parse({"name": f"s{number}", "where": where})
        names.append(parsed.name)
        if parsed.name in there:
            continue
        with services.committer.batch() as batch:
            stored = queries.Stored(parsed.name, 1, parsed.source, services.clock.now(), "system")
            queries.add_version(batch.connection, stored, batch.id)
    return names


def _previews(services: Services) -> dict[str, Any]:
    """Ask conditions that differ in an amount, each for the first time."""
    amounts = iter(range(10, 1000))
    german = {"trait": "country", "op": "eq", "value": "DE"}

    def edit() -> None:
        revenue = {"property": "revenue", "gte": next(amounts)}
        bought = {"event": "Order Completed", "sum": revenue, "within": "90d"}
        services.segments.preview({"where": {"all": [bought, german]}})

    def widest() -> None:
        often = {"event": "Product Viewed", "count": {"gte": next(amounts)}}
        services.segments.preview({"where": {"all": [often, german]}})

    return _step("preview", edit, ROUNDS) | _step("preview_of_all_time", widest, ROUNDS)


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


class Words(NamedTuple):
    """What definitions are made of.

    :param amount: a property that is a number.
    :param chosen: one that is a text, with some of its values; ``trait`` alike.
    """

    events: Sequence[str]
    amount: str
    chosen: tuple[str, Sequence[str]]
    trait: tuple[str, Sequence[str]]
    funnel: dict[str, Any]


CROWD = Words(NAMES, "revenue", ("currency", CURRENCIES), ("country", COUNTRIES), FUNNEL)


def assorted(draw: random.Random, words: Words = CROWD) -> Iterator[dict[str, Any]]:
    """Yield a hundred definitions of one to three conditions of all kinds."""
    for number in range(100):
        parts = [_leaf(draw, words) for _ in range(draw.randint(1, 3))]
        if number % 10 == 0:
            parts.append({**words.funnel, "within": f"{draw.choice([7, 14, 30])}d"})
        yield {draw.choice(["all", "any"]): parts}


def _leaf(draw: random.Random, words: Words) -> dict[str, Any]:
    within = {"within": f"{draw.choice([1, 3, 7, 14, 30, 60, 90, 180])}d"}
    event = {"event": draw.choice(words.events), **within}
    (chosen, values), (trait, told) = words.chosen, words.trait
    return draw.choice(
        [
            {"trait": trait, "op": "eq", "value": draw.choice(told)},
            {**event, "sum": {"property": words.amount, "gte": draw.randint(20, 400)}},
            {**event, "count": {"gte": draw.randint(2, 5)}},
            {"not": event},
            {**event, "where": [{"property": chosen, "op": "eq", "value": draw.choice(values)}]},
            {**event, "max": {"property": words.amount, "gte": draw.randint(20, 90)}},
            {**event, "distinct": {"property": "product_id", "gte": draw.randint(2, 4)}},
            {"event": event["event"], "from": draw.choice(["this_month", "today-7d", "this_quarter-1q"])},
            event,
        ]
    )


def _beside_sql(services: Services) -> dict[str, Any]:
    """Take the segment of two conditions and the same as hand-written SQL in turns."""
    mirror = services.settings.mirror_dir
    files = msgspec.json.decode((mirror / "manifest.json").read_bytes())["files"]
    connection = duckdb.connect(config={"preserve_insertion_order": "false"})
    connection.execute("SET parquet_metadata_cache = true")
    for dataset in ("events", "members"):
        paths = [str(mirror / file["name"]) for file in files[dataset]]
        source = f"read_parquet({paths!r}, union_by_name = true)"
        connection.execute(f"CREATE VIEW {dataset} AS SELECT * FROM {source}")  # noqa: S608  # our own files
    connection.execute(
        "CREATE TABLE map AS SELECT identity_no, arg_max(profile_no, commit_no) AS profile_no "
        "FROM members GROUP BY 1 HAVING arg_max(profile_no, commit_no) <> identity_no"
    )
    who = "coalesce(m.profile_no, e.identity_no)"
    source = "FROM events e LEFT JOIN map m USING (identity_no) WHERE e.type = 'track' AND e.name ="
    sql = (
        f"SELECT {who} AS profile_no {source} 'Order Completed' "
        f"AND e.occurred_at BETWEEN {NOW - 60 * DAY} AND {NOW} GROUP BY 1 HAVING count(*) >= 2 "
        f"EXCEPT SELECT {who} {source} 'Product Viewed' "
        f"AND e.occurred_at BETWEEN {NOW - 14 * DAY} AND {NOW}"
    )

    def by_hand() -> BitMap:
        return bitmap(connection.execute(sql).fetchnumpy()["profile_no"])

    def ours() -> BitMap:
        return services.segments.preview({"where": TWO}).members

    if ours() != by_hand():
        raise AssertionError(f"{len(ours())} here, {len(by_hand())} by hand")
    here, there = zip(*((timed(ours), timed(by_hand)) for _ in range(ROUNDS)), strict=True)
    ratio = round(statistics.median(here) / statistics.median(there), 2)
    return {
        "two": round(statistics.median(here), 3),
        "two_by_hand": round(statistics.median(there), 3),
        "two_ratio": ratio,
        "two_found": len(ours()),
    }


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes."""
    started = time.perf_counter()
    work()
    return round(time.perf_counter() - started, 3)


def _step(
    name: str, work: Callable[[], object], rounds: int, *, before: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """Return what some rounds took, and the most memory meanwhile; one round more to warm up.

    Linux only: what the process held at most is set back before, and read after.

    :param before: done before each round, and not measured.
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    taken, own = [], 0.0
    for warm in range(rounds + (rounds > 1)):
        before()
        began = time.process_time()
        took = timed(work)
        if warm or rounds == 1:
            taken.append(took)
            own += time.process_time() - began
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (most,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    figures = {"median": statistics.median(taken), "least": min(taken), "cpu": own / rounds}
    found = {name: {**{key: round(value, 3) for key, value in figures.items()}, "mib": int(most) >> 10}}
    print(json.dumps(found), file=sys.stderr, flush=True)  # large ones take long
    return found


if __name__ == "__main__":
    main()
