"""``python -m benchmarks.activation``: how long policies that change consent take to come in force.

For each store, over so many people of whom four in five agreed to e-mail marketing: 1. their states under a
candidate, made ahead while the policies of now go on being served; 2. the switch: from the activation until
consent is served again; 3. some of these people derived one by one, as those are whose history is intricate,
and not stored. Processor time is given beside the clock's, as other work may share the machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks.databases import fresh_platform
from benchmarks.scale import PURPOSE, populate
from cdp.api import Services
from cdp.consent.derive import derive

_SAMPLE = 20_000


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.activation", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--people", type=int, default=1_000_000)
    arguments = parser.parse_args()
    print(json.dumps({store: _run(store, arguments.people) for store in arguments.stores}, indent=2))


def _run(store: str, people: int) -> dict[str, Any]:
    with fresh_platform(store) as platform:
        populate(platform.services, people, sealed=False)
        return measure(platform.services)


def measure(services: Services) -> dict[str, Any]:
    """Return the figures of a populated platform, whose ledger works under other policies afterwards."""
    held = services.bundle
    shorter = msgspec.structs.replace(held.purposes[PURPOSE], validity_days=30)
    candidate = msgspec.structs.replace(held, sha256="0" * 64, purposes={**held.purposes, PURPOSE: shorter})
    ahead = _timed(lambda: services.deriving.prepare(candidate))
    with services.store.reading() as connection:
        members = services.identity.consent_members(connection, range(1, _SAMPLE + 1))
        rules, now = services.ledger.rules, services.clock.now()
        singly = _timed(lambda: derive(connection, rules, members, now, [PURPOSE]))
    services.ledger.adopt(candidate)
    switch = _timed(services.deriving.settle)
    with services.store.reading() as connection:
        stale = services.ledger.stale(connection)
    return {"ahead": ahead, "switch": switch, f"one_by_one_{_SAMPLE}": singly, "stale": stale}


def _timed(work: Callable[[], object]) -> dict[str, int]:
    started, used = time.perf_counter(), time.process_time()
    work()
    return {
        "ms": round(1000 * (time.perf_counter() - started)),
        "processor_ms": round(1000 * (time.process_time() - used)),
    }


if __name__ == "__main__":
    main()
