"""``python -m benchmarks.identity``: what resolution costs, a burst of merges, the split of a large profile.

Steps for each store, in one process and without HTTP: 1. Store events of people with a user id and a device,
in turns with the same events that name just one of the two: as many identities, no links. Where the time of
the former goes is measured at the verbs of identity. 2. Make pairs of profiles known, which said nothing
about consent or each something, then store an event for each that joins the two. 3. Give one profile many
events, plan its split, do it, and merge it again.

``cpu`` is the time of this process alone, what PostgreSQL does not included; on a machine that does other
things, too, trust it and the ratios.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from benchmarks.databases import fresh_platform
from cdp.access import Source
from cdp.api import Services
from cdp.clock import rfc3339
from cdp.identity import IdentityService
from cdp.ingest import Delivery

_BATCH = 1000
_VERBS = ("_identities", "_candidates", "lock", "decide", "refresh_consent")
_CONSENT = {"consent": {"categoryPreferences": {"Email": True}}}
Message = dict[str, Any]


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.identity", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--people", type=int, default=1000, help="of whom events are stored (1)")
    parser.add_argument("--events", type=int, default=16, help="for each of them")
    parser.add_argument("--merges", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=10_000, help="events of the profile that is split")
    arguments = parser.parse_args()
    print(json.dumps({store: _run(store, arguments) for store in arguments.stores}, indent=2))


def _run(store: str, arguments: argparse.Namespace) -> dict[str, Any]:
    with fresh_platform(store) as platform:
        bench = _Bench(platform.services)
        return {
            "ingest": bench.ingest(arguments.people, arguments.events),
            "burst": {
                "of_silent": bench.burst(arguments.merges, spoken=False),
                "of_spoken": bench.burst(arguments.merges, spoken=True),
            },
            "split": bench.split(arguments.large),
        }


class _Bench:
    """A source of one platform."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._source: Source = services.access.create_source("system", "bench", "server")[0]
        self._sent = 0
        self._random = random.Random(4)

    # -- measures -------------------------------------------------------------------------------

    def ingest(self, people: int, events: int) -> dict[str, Any]:
        """Store linking events and the same with one identifier each, in turns."""
        spent = {True: _Time(), False: _Time()}
        parts: dict[str, float] = defaultdict(float)
        batches = {linking: list(self._visits(people, events, linking=linking)) for linking in (True, False)}
        for linking in (True, False):  # warm: statements are compiled, keys are at hand
            self.store(batches[linking].pop(0))
        for pair in zip(batches[True], batches[False], strict=True):
            for linking, batch in zip((True, False), pair, strict=True):
                with spent[linking], _timed(parts if linking else defaultdict(float)):
                    self.store(batch)
        count = sum(map(len, batches[True]))
        return {
            "events": count,
            "events_per_s": round(count / spent[True].wall),
            "events_per_s_without_links": round(count / spent[False].wall),
            "ratio": round(spent[True].wall / spent[False].wall, 2),
            "ratio_cpu": round(spent[True].cpu / spent[False].cpu, 2),
            "share_of": {verb: round(seconds / spent[True].wall, 3) for verb, seconds in parts.items()},
        }

    def burst(self, merges: int, *, spoken: bool) -> dict[str, Any]:
        """Join pairs of profiles that are known.

        :param spoken: whether each of them has said something about consent before.
        """
        name = "spoken" if spoken else "silent"
        said = {"context": _CONSENT} if spoken else {}
        users = [{**_track(userId=f"{name}-{n}"), **said} for n in range(merges)]
        devices = [{**_track(anonymousId=f"{name}-{n}"), **said} for n in range(merges)]
        self._random.shuffle(devices)
        for batch in _batches([*users, *devices]):
            self.store(batch)
        spent, parts = _Time(), defaultdict[str, float](float)
        with _timed(parts):
            for batch in _batches(
                [_track(userId=f"{name}-{n}", anonymousId=f"{name}-{n}") for n in range(merges)]
            ):
                with spent:
                    self.store(batch)
        return {
            "merges": merges,
            "seconds": round(spent.wall, 1),
            "seconds_cpu": round(spent.cpu, 1),
            "share_of": {verb: round(seconds / spent.wall, 3) for verb, seconds in parts.items()},
        }

    def split(self, events: int) -> dict[str, Any]:
        """Take the device of a profile with many events out of it, and merge the two again."""
        named = {"userId": "large", "anonymousId": "large"}
        messages = [{**_track(**named), "type": "identify", "traits": {"email": "large@people.example"}}]
        messages += [_track(**(named if n % 2 else {"anonymousId": "large"})) for n in range(events - 1)]
        for batch in _batches(messages):
            self.store(batch)
        services = self._services
        with services.store.reading() as connection:
            number = services.identity.find(connection, "anonymous_id", "large")
            home = services.identity.find(connection, "user_id", "large")
        ids = [services.profile_ids.encode(one or 0) for one in (home, number)]
        steward, spent = services.steward, {name: _Time() for name in ("plan", "split", "merge")}
        with spent["plan"]:
            steward.split("bench", "data_quality", ids[1], dry_run=True)
        with spent["split"]:
            done = steward.split("bench", "data_quality", ids[1], dry_run=False)
        with spent["merge"]:
            steward.merge("bench", "data_quality", ids, dry_run=False)
        if sum(side.events for side in done.after.values()) != events:
            raise RuntimeError("the split lost events")
        walls = {f"{name}_s": round(one.wall, 3) for name, one in spent.items()}
        return {"events": events, **walls, "split_s_cpu": round(spent["split"].cpu, 3)}

    # -- events ---------------------------------------------------------------------------------

    def _visits(self, people: int, events: int, *, linking: bool) -> Iterator[Sequence[Message]]:
        mark = "both" if linking else "one"
        found = []
        for person in range(people):
            both = {"userId": f"{mark}-{person}", "anonymousId": f"{mark}-{person}"}
            for visit in range(events):
                one = dict([list(both.items())[visit % 2]])
                found.append(_track(**(both if linking else one)))
        self._random.shuffle(found)
        return _batches(found)

    def store(self, messages: Sequence[Message]) -> None:
        """Take a micro-batch as the writer does."""
        services = self._services
        now = services.clock.now()
        raw = []
        for message in messages:
            self._sent += 1
            raw.append(
                msgspec.json.encode({**message, "messageId": f"m{self._sent}", "timestamp": rfc3339(now)})
            )
        delivery = Delivery(source=self._source, messages=tuple(raw), received_at=now)
        outcome = services.pipeline.store(services.pipeline.prepare([delivery]))
        if outcome.stored != len(messages):
            raise RuntimeError("an event was not stored")


class _Time:
    """Seconds on the wall and of this process, summed up over the blocks it is used for."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self.wall -= time.perf_counter()
        self.cpu -= time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.cpu += time.process_time()


@contextmanager
def _timed(parts: dict[str, float]) -> Iterator[None]:
    """Add the seconds that verbs of identity take while the block runs."""
    originals = {verb: getattr(IdentityService, verb) for verb in _VERBS}

    def measured(verb: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return original(*arguments, **named)
            finally:
                parts[verb] += time.perf_counter() - started

        return run

    try:
        for verb, original in originals.items():
            setattr(IdentityService, verb, measured(verb, original))
        yield
    finally:
        for verb, original in originals.items():
            setattr(IdentityService, verb, original)


def _track(**named: str) -> Message:
    return {
        "type": "track",
        "event": "Product Viewed",
        "properties": {"product_id": "p-1", "price": 12.5, "category": "tea"},
        **named,
    }


def _batches(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    for start in range(0, len(messages), _BATCH):
        yield messages[start : start + _BATCH]


if __name__ == "__main__":
    main()
