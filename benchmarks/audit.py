"""``python -m benchmarks.audit``: what the log costs those who write it, and how fast a stranger verifies it.

Steps for each store, in one process and without HTTP: 1. Store events in micro-batches, decide and fetch an
export of many, and measure the time that the appender takes of each. 2. Append entries, one in ten about
somebody, until there are so many, and bundle them. 3. Unpack it and run its ``verify.py`` as a stranger
does (``python3 -I``). Beside it, the least: a loop that reads the files and hashes each entry.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.databases import fresh_platform
from benchmarks.export import FIELDS
from benchmarks.scale import PURPOSE, populate
from cdp.access import Principal
from cdp.api import Services
from cdp.audit import Entry
from cdp.clock import rfc3339
from cdp.ingest import Delivery
from cdp.store import Committer

_BATCH = 1000
_SEGMENT = {"where": {"trait": "country", "op": "exists"}}


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--people", type=int, default=100_000)
    arguments = parser.parse_args()
    for store in arguments.stores:
        with fresh_platform(store) as platform:
            figures = {
                "ingest": _ingest(platform.services, arguments.events),
                "export": _export(platform.services, arguments.people),
                **_verify(platform.services, arguments.entries),
            }
        print(json.dumps({store: figures}, indent=2), flush=True)


def _ingest(services: Services, events: int) -> dict[str, Any]:
    source = services.access.create_source("system", "bench", "server")[0]

    def store(first: int) -> None:
        now = services.clock.now()
        given = {"type": "track", "event": "Product Viewed", "properties": {"price": 12.5}}
        raw = tuple(
            msgspec.json.encode(
                {**given, "messageId": f"m{n}", "userId": f"u{n % 5000}", "timestamp": rfc3339(now)}
            )
            for n in range(first, first + _BATCH)
        )
        delivery = Delivery(source=source, messages=raw, received_at=now)
        services.pipeline.store(services.pipeline.prepare([delivery]))

    store(0)  # warm: statements are compiled
    with _appending(services.committer) as spent:
        started = time.perf_counter()
        for first in range(_BATCH, _BATCH + events, _BATCH):
            store(first)
        return _shares(spent, time.perf_counter() - started)


def _export(services: Services, people: int) -> dict[str, Any]:
    populate(services, people)
    services.mirror.refresh()
    services.segments.apply("system", _SEGMENT, "everybody")
    everything = frozenset({"*"})
    officer = Principal(key_id=1, name="officer", roles=frozenset({"officer"}), purposes=everything)
    mailer, _ = services.access.create_key(
        None, "bench", {"destination"}, purposes=everything, destination="mailer"
    )
    with _appending(services.committer) as spent:
        started = time.perf_counter()
        decided = services.exports.request(
            officer, segment="everybody", destination="mailer", purpose=PURPOSE, fields=FIELDS
        )
        authorised = time.perf_counter() - started
        if decided.id is None:
            raise RuntimeError(decided.reason)
        rows = sum(piece.count(b"\n") for piece in services.exports.data(mailer, decided.id)[1])
        shares = _shares(spent, time.perf_counter() - started)
    return {"members": decided.members, "rows": rows, "authorise_s": round(authorised, 2), **shares}


def _verify(services: Services, entries: int) -> dict[str, Any]:
    numbers = services.committer.reserve("identity_no", _BATCH)
    services.keyring.create(numbers)
    with services.store.reading() as connection:
        size = services.audit.size(connection)
    started = time.perf_counter()
    for first in range(size, entries, _BATCH):
        with services.committer.batch() as batch:
            for place in range(min(_BATCH, entries - first)):
                batch.record(
                    Entry(
                        action="profile.read",
                        actor=f"key:{place % 50}",
                        purpose="compliance_review",
                        object={"fields": 3},
                        subjects=(numbers[place],) if place % 10 == 0 else (),
                    )
                )
    appended = time.perf_counter() - started
    with tempfile.TemporaryDirectory(prefix="cdp-bench-") as name:
        folder, archive = Path(name, "bundle"), Path(name, "bundle.zip")
        started = time.perf_counter()
        with archive.open("wb") as file:
            for piece in services.bundles.write(services.bundles.request("system", None, None)):
                file.write(piece)
        bundled = time.perf_counter() - started
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)  # made here
        key = services.audit.key.verifier_text()
        started = time.perf_counter()
        said = subprocess.run(  # the file that was just made
            [sys.executable, "-I", "verify.py", "--key", key], cwd=folder, capture_output=True, check=False
        )
        verified = time.perf_counter() - started
        bare = min(_bare(folder) for _ in range(3))
        megabytes = archive.stat().st_size / 1e6
    if said.returncode:
        raise RuntimeError(said.stdout.decode()[-2000:])
    return {
        "entries": entries,
        "appended_per_s": round(entries / appended),
        "bundle_s": round(bundled, 1),
        "bundle_mb": round(megabytes),
        "verify_s": round(verified, 2),
        "bare_sha256_s": round(bare, 2),
        "ratio": round(verified / bare, 1),
    }


def _bare(folder: Path) -> float:
    """Return the seconds that it takes to read the entries and to hash each one."""
    started = time.perf_counter()
    for path in sorted((folder / "entries").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            end = at + 2 + int.from_bytes(data[at : at + 2])
            hashlib.sha256(data[at + 2 : end]).digest()
            at = end
    return time.perf_counter() - started


@contextmanager
def _appending(committer: Committer) -> Iterator[list[float]]:
    """Yield the seconds that each append takes while the block runs."""
    spent = list[float]()
    original = committer._append  # noqa: SLF001  # the seam at which the log stands

    def measured(*given: Any) -> Any:
        started = time.perf_counter()
        try:
            return original(*given)
        finally:
            spent.append(time.perf_counter() - started)

    committer._append = measured  # noqa: SLF001  # for the time of the block
    try:
        yield spent
    finally:
        committer._append = original  # noqa: SLF001  # as it was


def _shares(spent: list[float], whole: float) -> dict[str, Any]:
    return {"seconds": round(whole, 2), "appends": len(spent), "append_share": round(sum(spent) / whole, 4)}


if __name__ == "__main__":
    main()
