"""``python -m benchmarks.replay``: what it costs to be able to decide an export again, and to do it.

For each store, over so many people: 1. authorising an export of everybody; 2. how large its record is beside
its manifest; 3. replaying it, in this process, with the memory that this takes at most on top; 4. again after
one in a hundred was erased.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from typing import Any

import msgspec
from sqlalchemy import func, select, update

from benchmarks.databases import fresh_platform
from benchmarks.scale import PURPOSE, populate
from cdp.access import Principal
from cdp.api import Services
from cdp.consent.tables import consent_records
from cdp.gate import Request
from cdp.gate.tables import export_records, exports
from cdp.store import chunks

_EVERYBODY = {"where": {"trait": "country", "op": "exists"}}


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--people", type=int, default=1_000_000)
    arguments = parser.parse_args()
    print(json.dumps({store: _run(store, arguments.people) for store in arguments.stores}, indent=2))


def _run(store: str, people: int) -> dict[str, Any]:
    with fresh_platform(store) as platform:
        services = platform.services
        populate(services, people)
        _derive(services)
        services.mirror.refresh()
        services.segments.apply("system", _EVERYBODY, "everybody")
        return _measure(services)


def _derive(services: Services) -> None:
    """Have the states follow from the records, which ``populate`` writes beside them: in all they tell."""
    notice = services.bundle.purposes[PURPOSE].notices[-1]
    told = {"notice_id": notice.id, "notice_version": notice.version, "event_type": "separate"}
    with services.committer.batch() as batch:
        batch.connection.execute(update(consent_records).values(told))
    with services.store.reading() as connection:
        everybody = services.identity.profile_page(connection, 1 << 40, 0)
    for page in chunks(everybody, 5_000):
        with services.committer.batch() as batch:
            members = services.identity.consent_members(batch.connection, page)
            services.ledger.refresh(batch, members, ())


def _measure(services: Services) -> dict[str, Any]:
    officer = Principal(key_id=1, name="officer", roles=frozenset({"officer"}), purposes=frozenset({"*"}))
    asked = Request(segment="everybody", destination="mailer", purpose=PURPOSE, principal=officer)
    services.gate.authorise(asked, dry_run=True)  # what is known of everybody is in memory from here on
    started = time.perf_counter()
    given = services.gate.authorise(asked)
    found: dict[str, Any] = {"authorise_s": round(time.perf_counter() - started, 2)}
    found |= {"members": given.counts.members, "released": given.counts.released}
    with services.store.reading() as connection:
        found["record_bytes"] = connection.execute(select(func.length(export_records.c.record))).scalar_one()
        found["manifest_bytes"] = connection.execute(select(func.length(exports.c.manifest))).scalar_one()
    found["replay"] = _replayed(services, given.export_id)
    gone = range(1, given.counts.members, 100)
    services.keyring.destroy(gone)
    services.keyring.destroy(gone, "proof")
    with services.committer.batch() as batch:
        batch.erase()
    found["replay_after_erasures"] = _replayed(services, given.export_id)
    return found


def _replayed(services: Services, export_id: str) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    begun = services.replays.start("system", export_id)
    services.replays.wait()
    took = time.perf_counter() - started
    replay, _ = services.replays.get(export_id, begun.replay_no)
    assert replay.report is not None  # noqa: S101  # a benchmark that failed measures nothing
    return {
        "verdict": replay.report.verdict(),
        "problems": msgspec.to_builtins(replay.report.problems),
        "seconds": round(took, 2),
        "memory_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10,
    }


if __name__ == "__main__":
    main()
