"""``python -m benchmarks.warehouse EVENTS``: the mirror over many events; prints one table.

Steps: 1. Write the events straight into the tables of a SQLite store, ``BATCH`` to a commit, over two years,
by a fifth as many people. 2. Mirror them, in a process of its own whose memory is measured. 3. Merge until
there is nothing to merge, counting what is written. 4. Run one window condition. 5. Add commits of
``TRICKLE`` events and refresh after each, as the worker does: how long a refresh takes while merging goes on.
6. Erase some people.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from cdp.clock import DAY, SECOND, SystemClock
from cdp.identity.tables import identifier_index, profile_members
from cdp.ingest.tables import events
from cdp.policy import FieldCatalogue, FieldRule
from cdp.profiles.tables import trait_observations
from cdp.store import Committer, Store, initialise, insert_many, metadata
from cdp.warehouse import Mirror, rewrite
from cdp.warehouse.model import Manifest

BATCH, TRICKLE, COMMITS, RARE = 20_000, 2_000, 120, 2_000
NAMES = [f"Event {number}" for number in range(40)]
NOW = 20_000 * DAY
_EVENT = (
    "batch", "seq", "identity_no", "event_id", "source_id", "type", "name",
    "occurred_at", "stamped_at", "received_at", "properties", "sealed",
)  # fmt: skip


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warehouse", description=__doc__)
    parser.add_argument("events", type=int)
    parser.add_argument("--folder", type=Path, help="keep the store here, or take the one that is there")
    parser.add_argument("--mirror", action="store_true", help=argparse.SUPPRESS)  # the process of step 2
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="cdp-bench-"))
    if arguments.mirror:
        print(json.dumps(_mirror(folder)))
        return
    try:
        print(json.dumps(_run(folder, arguments.events), indent=2))
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


def _run(folder: Path, count: int) -> dict[str, Any]:
    fresh = not (folder / "cdp.sqlite").exists()
    store = Store(f"sqlite:///{folder / 'cdp.sqlite'}")
    committer = Committer(store, lambda _c, _n, _now, _entries: [], SystemClock())
    found: dict[str, Any] = {}
    if fresh:
        with store.writing() as connection, connection.begin():
            metadata.create_all(connection)
            initialise(connection)
        started = time.perf_counter()
        fill(committer, count, count // 5)
        found["fill_s"] = round(time.perf_counter() - started)
    shutil.rmtree(folder / "warehouse", ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.warehouse", str(count), "--folder", str(folder), "--mirror"]
    found |= json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)  # ours
    mirror = Mirror(store, folder / "warehouse", fields(), SystemClock())
    found |= _trickle(committer, mirror, count // 5)
    found |= _erase(mirror, count // 5)
    store.close()
    return found


def fields() -> FieldCatalogue:
    """Return what is declared: a dozen properties, of which an event has three, and one trait."""
    number = [_rule(f"number_{place}", "number") for place in range(4)]
    text = [_rule(f"text_{place}", "string") for place in range(7)]
    properties = {rule.name: rule for rule in [*number, *text, _rule("at", "time")]}
    traits = {"country": _rule("country", "string")}
    return FieldCatalogue(events={}, traits=traits, properties=properties, context={}, identifiers={})


def _rule(name: str, kind: Any) -> FieldRule:
    return FieldRule(name=name, category="user.behavior", protection="clear", type=kind)


def fill(committer: Committer, count: int, people: int, size: int = BATCH) -> None:
    """Write events, oldest first, and everybody's identity with the first of them."""
    chance = random.Random(1)  # no secret
    made = 0
    for start in range(0, count, size):
        at = NOW - 730 * DAY + 730 * DAY * start // count
        with committer.batch() as batch:
            upto = min(people, (start + size) * people // count + 1)
            numbers = range(made + 1, upto + 1)
            made = upto
            insert_many(
                batch.connection, identifier_index, ("blind_index", "identity_no"),
                [(no.to_bytes(16), no) for no in numbers],
            )  # fmt: skip
            insert_many(
                batch.connection, profile_members, ("identity_no", "profile_no", "cluster_no", "batch"),
                [(no, no - no % 2 or 1, no, batch.id) for no in numbers],
            )  # fmt: skip
            insert_many(
                batch.connection, trait_observations,
                ("batch", "seq", "identity_no", "name", "value", "source_id", "observed_at", "event_id"),
                [(batch.id, seq, no, "country", '"X"', 1, at, no.to_bytes(16))
                 for seq, no in enumerate(numbers)],
            )  # fmt: skip
            rows = list(_events(chance, batch.id, at, start, min(size, count - start), made))
            insert_many(batch.connection, events, _EVENT, rows)


def _events(
    chance: random.Random, batch: int, at: int, start: int, size: int, people: int
) -> Iterator[tuple[Any, ...]]:
    for seq in range(size):
        name = "Rare" if (start + seq) % RARE == 0 else NAMES[min(39, int(chance.expovariate(0.15)))]
        when = at + seq * SECOND // 10
        place = chance.randrange(4)
        text = (
            f'{{"number_{place}":{chance.randrange(10_000) / 100},'
            f'"text_{place}":"value {chance.randrange(1000)}","text_5":"shop"}}'
        )
        no = chance.randrange(people) + 1
        yield (batch, seq, no, (start + seq).to_bytes(16), 1, "track", name, when, when, when, text, b"x")


def _mirror(folder: Path) -> dict[str, Any]:
    store = Store(f"sqlite:///{folder / 'cdp.sqlite'}")
    mirror = Mirror(store, folder / "warehouse", fields(), SystemClock())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    mirror.refresh()
    took = time.perf_counter() - started
    rows = sum(file.rows for file in mirror.directory.read().files["events"])
    filled, window = mirror.directory.read(), _window(mirror)
    written = _Written(mirror)
    started = time.perf_counter()
    while mirror.refresh() and (mirror.directory.read().merge or _due(mirror)):
        pass  # as the worker does
    merging = time.perf_counter() - started
    manifest = mirror.directory.read()
    return {
        "events": rows,
        "rows_per_s": round(rows / took),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "peak_before_mib": before // 1024,
        "files": {dataset: len(files) for dataset, files in filled.files.items()},
        "window_ms": window,
        "merging_s": round(merging, 1),
        "merged_files": {dataset: len(files) for dataset, files in manifest.files.items()},
        "merged_runs": len({file.run for file in manifest.files["events"]}),
        "merged_window_ms": _window(mirror),
        "written_again": {name: round(n / max(1, rows), 2) for name, n in written.rows.items()},
        "longest_piece_s": round(written.longest, 2),
        "mib": sum(path.stat().st_size for path in (folder / "warehouse").glob("*.parquet")) >> 20,
        "row_groups": _groups(mirror),
    }


def _due(mirror: Mirror) -> bool:
    return any(rewrite.choose(files) for files in mirror.directory.read().files.values())


class _Written:
    """Counts the rows that are written again, and how long a turn takes."""

    def __init__(self, mirror: Mirror) -> None:
        self.rows: dict[str, int] = {}
        self.longest = 0.0
        write, turn = mirror.directory.write, mirror._turn  # noqa: SLF001  # what is measured

        def counted(dataset: str, table: Any, **given: Any) -> Any:
            self.rows[dataset] = self.rows.get(dataset, 0) + table.num_rows
            return write(dataset, table, **given)

        def timed(manifest: Manifest, **given: Any) -> Manifest:
            started = time.perf_counter()
            try:
                return turn(manifest, **given)
            finally:
                self.longest = max(self.longest, time.perf_counter() - started)

        mirror.directory.write = counted  # type: ignore[method-assign]  # as above
        mirror._turn = timed  # type: ignore[method-assign]  # noqa: SLF001  # as above


def _sql(mirror: Mirror, name: str) -> str:
    paths = [str(mirror.directory.path / file) for file in mirror.directory.read().names("events")]
    source = f"read_parquet({paths!r}, union_by_name = true)"
    window = f"occurred_at BETWEEN {NOW - 90 * DAY} AND {NOW - 30 * DAY}"
    return f"SELECT count(DISTINCT identity_no) FROM {source} WHERE name = '{name}' AND {window}"  # noqa: S608  # ours


def _window(mirror: Mirror) -> dict[str, float]:
    """Return the milliseconds of one window condition on a common and on a rare event, warm."""
    with duckdb.connect() as connection:
        connection.execute("SET parquet_metadata_cache = true")
        queries = {name: _sql(mirror, name) for name in (NAMES[1], "Rare")}
        return {name: _median(partial(connection.execute, sql)) for name, sql in queries.items()}


def _median(work: Callable[[], Any]) -> float:
    taken = []
    for _ in range(6):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return round(statistics.median(taken[1:]) * 1000, 1)


def _groups(mirror: Mirror) -> dict[str, int]:
    """Return how many row groups there are, and how many the window condition on a name may not skip."""
    found = {"all": 0, NAMES[1]: 0, "Rare": 0}
    for file in filter(lambda file: file.rows, mirror.directory.read().files["events"]):
        metadata = pq.read_metadata(mirror.directory.path / file.name)
        columns = [metadata.schema.column(place).name for place in range(metadata.num_columns)]
        for place in range(metadata.num_row_groups):
            group = metadata.row_group(place)
            name = group.column(columns.index("name")).statistics
            time_ = group.column(columns.index("occurred_at")).statistics
            found["all"] += 1
            if time_.max >= NOW - 90 * DAY and time_.min <= NOW - 30 * DAY:
                for wanted in (NAMES[1], "Rare"):
                    found[wanted] += name.min <= wanted <= name.max
    return found


def _trickle(committer: Committer, mirror: Mirror, people: int) -> dict[str, Any]:
    written = _Written(mirror)
    taken = []
    chance = random.Random(2)  # no secret
    for number in range(COMMITS):
        with committer.batch() as batch:
            start = 10**9 + number * TRICKLE
            insert_many(
                batch.connection, events, _EVENT,
                list(_events(chance, batch.id, NOW + number * SECOND, start, TRICKLE, people)),
            )  # fmt: skip
        started = time.perf_counter()
        mirror.refresh()
        taken.append(time.perf_counter() - started)
    return {
        "trickle_refresh_ms": round(statistics.median(taken) * 1000),
        "trickle_slowest_ms": round(max(taken) * 1000),
        "trickle_written": round(written.rows["events"] / (COMMITS * TRICKLE), 2),
    }


def _erase(mirror: Mirror, people: int) -> dict[str, Any]:
    written = _Written(mirror)
    started = time.perf_counter()
    mirror.forget([people // 2])
    one = time.perf_counter() - started
    started = time.perf_counter()
    mirror.forget(range(people // 3, people // 3 + 1000))
    return {
        "erase_one_s": round(one, 1),
        "erase_thousand_s": round(time.perf_counter() - started, 1),
        "erase_longest_turn_s": round(written.longest, 2),
    }


if __name__ == "__main__":
    main()
