"""``python -m benchmarks.privacy``: who may go to a destination, and what a candidate policy would change.

For each store, over so many people: 1. the permission set of everybody, with nothing in memory; 2. again
after a commit about nobody, and after one that says something of one person; 3. the difference that a
candidate makes whose consents to e-mail marketing hold half as long.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from pyroaring import BitMap

from benchmarks.databases import fresh_databases
from benchmarks.scale import PURPOSE, populate
from cdp import app
from cdp.api import Services
from cdp.gate import bind
from cdp.gate.compile import compile_sets
from cdp.gate.facts import FactReader
from cdp.gate.opening import Opener
from cdp.identity.tables import profile_members
from cdp.settings import Settings
from cdp.store import insert_many

_DESTINATION = "mailer"


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.privacy", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--clear", action="store_true", help="without the sealed traits, which take longest")
    arguments = parser.parse_args()
    print(json.dumps({store: _run(store, arguments) for store in arguments.stores}, indent=2))


def _run(store: str, arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as name:
        folder = Path(name)
        with fresh_databases(store, folder) as (database, keys):
            settings = Settings(data_dir=folder, database_url=database, keys_database_url=keys)
            app.initialise(settings)
            platform = app.build(settings)
            try:
                populate(platform.services, arguments.people, sealed=not arguments.clear)
                return _measure(platform.services)
            finally:
                platform.writer.stop()
                platform.close()


def _measure(services: Services) -> dict[str, Any]:
    reader = FactReader(services.ledger, services.segments, Opener(services.keyring))
    people, cold = _permission_set(services, reader)
    with services.committer.batch():
        pass
    _, quiet = _permission_set(services, reader)
    number = services.committer.reserve("identity_no", 1)[0]
    with services.committer.batch() as batch:
        columns = ("identity_no", "profile_no", "cluster_no", "batch")
        insert_many(batch.connection, profile_members, columns, [(number, number, number, batch.id)])
    _, after = _permission_set(services, reader)
    held = services.bundle
    days = (held.purposes[PURPOSE].validity_days or 730) // 2
    shorter = msgspec.structs.replace(held.purposes[PURPOSE], validity_days=days)
    candidate = msgspec.structs.replace(held, sha256="0" * 64, purposes={**held.purposes, PURPOSE: shorter})
    started = time.perf_counter()
    found = services.review.difference("system", candidate)
    return {
        "permitted": people,
        "permission_set_cold_ms": cold,
        "after_a_commit_about_nobody_ms": quiet,
        "after_a_commit_about_one_ms": after,
        "difference_ms": round(1000 * (time.perf_counter() - started)),
        "flows": len(found.flows),
    }


def _permission_set(services: Services, reader: FactReader) -> tuple[int, int]:
    """Return (how many may go, milliseconds); who belongs to whom is read before."""
    bundle = services.bundle
    destination, purpose = bundle.destinations[_DESTINATION], bundle.purposes[PURPOSE]
    terms = bind(bundle, destination, purpose, frozenset(), None)
    with services.store.reading() as connection:
        members = services.identity.everybody(connection)
        started = time.perf_counter()
        facts = reader.read(
            connection, members, BitMap(), terms, bundle, destination, purpose, services.clock.now()
        )
        permitted = compile_sets(terms, facts).permitted()
    return len(permitted), round(1000 * (time.perf_counter() - started))


if __name__ == "__main__":
    main()
