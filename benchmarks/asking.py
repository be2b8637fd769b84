"""``python -m benchmarks.asking``: how long a page of the audit log takes, its exact total included.

Entries are written past the log's appender, in bulk; the index is made by the product's own code. Each
question is asked several times; the figures are the median and the worst, in milliseconds, of a page of 100.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator

from sqlalchemy import Connection, update

from benchmarks.databases import fresh_platform
from cdp.api import Services
from cdp.audit import AuditFilter, asking
from cdp.audit.tables import audit_entries, audit_head, audit_subjects
from cdp.clock import DAY, SECOND, rfc3339
from cdp.store import insert_many

CHUNK = 50_000
BEGUN = 19_000 * DAY
HEAVY, LIGHT = 1, 77
ACTIONS = (
    "profile.lookup",
    "profile.read",
    "ingest.batch",
    "segment.evaluate",
    "export.fetch",
    "consent.record",
)
PURPOSES = ("compliance_review", "data_quality", "marketing.communications.email", "segmentation", "")
COLUMNS = (
    "leaf_index", "entry", "commit_no", "at", "actor", "action", "outcome", "purpose", "destination",
    "subject_refs", "segment",
)  # fmt: skip


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.asking", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite"])
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--times", type=int, default=15)
    arguments = parser.parse_args()
    for store in arguments.stores:
        with fresh_platform(store) as platform:
            figures = _run(platform.services, arguments.entries, arguments.times)
        print(json.dumps({store: figures}, indent=2), flush=True)


def _run(services: Services, entries: int, times: int) -> dict[str, object]:
    started = time.perf_counter()
    with services.store.writing() as connection, connection.begin():
        first = services.audit.size(connection)
    _fill(services, first, entries)
    filled = time.perf_counter()
    while asking.fold(services.committer):
        pass
    folded = time.perf_counter()
    with services.store.reading() as connection:
        pages = {name: _measured(connection, services, wanted, times) for name, wanted in questions()}
        days = _timed(lambda: services.audit.uses_by_day(connection, AuditFilter(), 19_000, 19_400), times)
    return {
        "entries": entries,
        "fill_seconds": round(filled - started),
        "index_seconds": round(folded - filled),
        "page_ms": pages,
        "uses_of_400_days_ms": days,
    }


def _fill(services: Services, first: int, entries: int) -> None:
    chance = random.Random(6)
    for start in range(first, first + entries, CHUNK):
        rows, subjects = [], []
        for index in range(start, min(start + CHUNK, first + entries)):
            row, concerned = _drawn(index, entries, chance)
            rows.append(row)
            subjects += [(number, index) for number in concerned]
        with services.store.writing() as connection, connection.begin():
            insert_many(connection, audit_entries, COLUMNS, rows)
            insert_many(connection, audit_subjects, ("identity_no", "leaf_index"), sorted(set(subjects)))
            size = min(start + CHUNK, first + entries)
            connection.execute(update(audit_head).values(size=size))


def _drawn(index: int, entries: int, chance: random.Random) -> tuple[tuple[object, ...], list[int]]:
    """Return a row and whom it concerns; ``key:rare`` only ever looks people up."""
    at = BEGUN + index * (365 * DAY // entries) + chance.randrange(SECOND)
    action = chance.choice(ACTIONS)
    rare = action == "profile.lookup" and chance.random() < 0.0001
    actor = "key:rare" if rare else f"key:{chance.randrange(200)}"
    purpose = chance.choice(PURPOSES)
    destination = f"d{chance.randrange(20)}" if purpose else ""
    segment = f"segment-{chance.randrange(500)}" if action in {"segment.evaluate", "export.fetch"} else None
    outcome = "denied" if chance.random() < 0.02 else "allowed"
    named = f'"segment":"{segment}",' if segment else ""
    entry = (
        f'{{"action":"{action}","actor":"{actor}","commit_no":{index},"counts":{{"messages":12}},'
        f'"destination":"{destination}","nonce":"{index:032x}","object":{{"bundle":"{index:064x}",{named}'
        f'"version":3}},"outcome":"{outcome}","people":{{}},"purpose":"{purpose}",'
        f'"time":"{rfc3339(at)}","v":1}}'
    ).encode()
    concerned = [chance.randrange(2, 100_000)] if action.startswith("profile") else []
    if chance.random() < 0.002:
        concerned.append(HEAVY)
    references = bytes(32 * len(concerned)) or None
    row = (index, entry, index, at, actor, action, outcome, purpose, destination, references, segment)
    return row, concerned


def questions() -> Iterator[tuple[str, AuditFilter]]:
    """Yield what is asked, by name."""
    day = BEGUN + 200 * DAY + 5 * 3600 * SECOND
    yield "nothing asked", AuditFilter()
    yield "common action", AuditFilter(action="profile.lookup")
    yield "rare actor", AuditFilter(actor="key:rare")
    yield "pair that never meets", AuditFilter(actor="key:rare", action="export.fetch")
    yield "segment", AuditFilter(segment="segment-7")
    yield "actor and purpose", AuditFilter(actor="key:7", purpose="data_quality")
    everything = AuditFilter(
        actor="key:7", action="export.fetch", outcome="allowed", purpose="data_quality", destination="d3"
    )
    yield "five conditions", everything
    yield "a day", AuditFilter(from_=day, to=day + DAY)
    yield (
        "three months, action, outcome",
        AuditFilter(action="profile.read", outcome="denied", from_=day, to=day + 90 * DAY),
    )
    yield "light profile", AuditFilter(identity_nos=(LIGHT,))
    yield "heavy profile and action", AuditFilter(identity_nos=(HEAVY,), action="segment.evaluate")
    yield (
        "heavy profile, segment, time",
        AuditFilter(identity_nos=(HEAVY,), segment="segment-7", from_=day, to=day + 90 * DAY),
    )


def _measured(
    connection: Connection, services: Services, wanted: AuditFilter, times: int
) -> dict[str, float]:
    found = services.audit.page(connection, wanted, 100)
    middle = None if not found.entries else found.entries[-1].index // 2
    first = _timed(lambda: services.audit.page(connection, wanted, 100), times)
    later = _timed(lambda: services.audit.page(connection, wanted, 100, middle, found.size), times)
    return {
        "total": found.total,
        "median": first["median"],
        "worst": first["worst"],
        "later_median": later["median"],
        "later_worst": later["worst"],
    }


def _timed(work: Callable[[], object], times: int) -> dict[str, float]:
    took = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        took.append((time.perf_counter() - started) * 1000)
    return {"median": round(statistics.median(took), 1), "worst": round(max(took), 1)}


if __name__ == "__main__":
    main()
