"""``python -m benchmarks.privacy``: who may go to a destination, and what a candidate policy would change.

For each store, over so many people: 1. the permission set of everybody, with nothing in memory; 2. again
after a commit about nobody, and after one that says something of one person; 3. the difference that a
candidate makes whose consents to e-mail marketing hold half as long, and one with a material new notice.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from pyroaring import BitMap

from benchmarks.databases import fresh_platform
from benchmarks.scale import PURPOSE, populate
from cdp.api import Services
from cdp.gate import bind
from cdp.gate.compile import compile_sets
from cdp.gate.facts import FactReader
from cdp.gate.opening import Opener
from cdp.identity.tables import profile_members
from cdp.policy import Notice, Purpose
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
    with fresh_platform(store) as platform:
        populate(platform.services, arguments.people, sealed=not arguments.clear)
        return _measure(platform.services)


def _measure(services: Services) -> dict[str, Any]:
    reader = FactReader(services.ledger, services.segments.blocked, Opener(services.keyring))
    people, cold = _permission_set(services, reader)
    with services.committer.batch():
        pass
    _, quiet = _permission_set(services, reader)
    number = services.committer.reserve("identity_no", 1)[0]
    with services.committer.batch() as batch:
        columns = ("identity_no", "profile_no", "cluster_no", "batch")
        insert_many(batch.connection, profile_members, columns, [(number, number, number, batch.id)])
    _, after = _permission_set(services, reader)
    stated = services.bundle.purposes[PURPOSE]
    shorter = msgspec.structs.replace(stated, validity_days=(stated.validity_days or 730) // 2)
    notice = Notice(id="mailings", version=1000, material=True, text="What was asked is asked anew.")
    asked_anew = msgspec.structs.replace(stated, notices=(*stated.notices, notice))
    return {
        "permitted": people,
        "permission_set_cold": cold,
        "after_a_commit_about_nobody": quiet,
        "after_a_commit_about_one": after,
        "difference_of_validity": _difference(services, shorter),
        "difference_of_a_material_notice": _difference(services, asked_anew),
    }


def _difference(services: Services, purpose: Purpose) -> dict[str, float]:
    held = services.bundle
    candidate = msgspec.structs.replace(
        held, sha256="0" * 64, purposes={**held.purposes, purpose.key: purpose}
    )
    with _timed() as took:
        found = services.review.difference("system", candidate)
    return {**took, "lost": sum(flow.lost for flow in found.flows)}


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    """Yield what becomes the seconds that the block takes, and those of this process's CPU."""
    took: dict[str, float] = {}
    started, used = time.perf_counter(), time.process_time()
    yield took
    took["seconds"] = round(time.perf_counter() - started, 3)
    took["cpu_seconds"] = round(time.process_time() - used, 3)


def _permission_set(services: Services, reader: FactReader) -> tuple[int, dict[str, float]]:
    """Return (how many may go, what it took); who belongs to whom is read before."""
    bundle = services.bundle
    destination, purpose = bundle.destinations[_DESTINATION], bundle.purposes[PURPOSE]
    terms = bind(bundle, destination, purpose, frozenset(), None)
    with services.store.reading() as connection:
        members = services.identity.everybody(connection)
        with _timed() as took:
            facts = reader.read(
                connection, members, BitMap(), terms, bundle, destination, purpose, services.clock.now()
            )
            permitted = compile_sets(terms, facts).permitted()
    return len(permitted), took


if __name__ == "__main__":
    main()
