"""The plans of sources held against each event, and followed as they change.

Invariants: what a plan turns away is still heard where it restrains somebody (``prepare.py`` sees to it), and
what the consent API is told is no event of a source: no plan is held against it. A message that lay in
quarantine stays there while it does not fit, whatever the mode is by then: nothing that was kept is dropped.
A plan that no longer compiles (another version of the validator) turns nothing away.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import structlog
from prometheus_client import Counter

from cdp.access import Source
from cdp.errors import DefinitionError
from cdp.ingest.model import Event, Reject
from cdp.ingest.plans import queries
from cdp.ingest.plans.judge import UNPLANNED, Judge, Verdict
from cdp.ingest.plans.model import Held
from cdp.ingest.plans.queries import ViolationKey
from cdp.ingest.plans.read import read_plan
from cdp.store import Store

log = structlog.get_logger()
_IN_MEMORY = 5_000
_CAUSES = 5
VIOLATIONS = Counter(
    "cdp_plan_violations",
    "Ways in which events did not fit the tracking plan of their source",
    ["source", "event", "kind"],
)


class Judges:
    """The newest plan of each source, and what did not fit since it was asked last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._adopting = threading.Lock()
        self._counting = threading.Lock()
        self._versions: dict[int, int] = {}
        self._judges: dict[int, Judge] = {}
        self._counts: dict[ViolationKey, int] = {}
        self.refresh()

    def __call__(self, event: Event) -> Event | Reject:
        """Return the event, or the reject that it becomes under the plan of its source."""
        delivery = event.message.delivery
        judge = self._judges.get(delivery.source.source_id)
        if judge is None or delivery.statements:
            return event
        verdict = judge(event)
        if verdict is None:
            return event
        replayed = delivery.replayed_at is not None
        if not replayed:
            self._count(delivery.source, judge.version, verdict)
        if verdict.mode == "observe":
            return event
        kept = replayed or verdict.mode == "quarantine"
        return Reject(event.message, "schema_violation", _cause(judge.version, verdict), kept=kept)

    def _count(self, source: Source, version: int, verdict: Verdict) -> None:
        for kind in {violation.kind for violation in verdict.violations}:
            VIOLATIONS.labels(source.name, verdict.event, kind).inc()
        keys = ((source.source_id, version, verdict.event, violation) for violation in verdict.violations)
        self.add((key, 1) for key in keys)

    @property
    def version(self) -> int:
        """How many versions of plans there were when it looked last: more with every change of one."""
        return sum(self._versions.values())

    def add(self, counts: Iterable[tuple[ViolationKey, int]]) -> None:
        """Count violations, as far as there is room for them."""
        with self._counting:
            for key, count in counts:
                if key in self._counts or len(self._counts) < _IN_MEMORY:
                    self._counts[key] = self._counts.get(key, 0) + count

    def take(self) -> dict[ViolationKey, int]:
        """Return what was counted since the last time, and begin anew."""
        with self._counting:
            counts, self._counts = self._counts, {}
        return counts

    def refresh(self) -> None:
        """Adopt the plans that are stored now."""
        with self._adopting, self._store.reading() as connection:
            versions = queries.versions(connection)
            if versions == self._versions:
                return
            judges = {}
            for source_id, version in versions.items():
                known = self._judges.get(source_id)
                if known is None or known.version != version:
                    known = _judge(queries.newest(connection, source_id))
                if known is not None:
                    judges[source_id] = known
            self._judges, self._versions = judges, versions


def _judge(held: Held | None) -> Judge | None:
    if held is None or held.source is None:
        return None
    try:
        return Judge(read_plan(held.source), held.version)
    except DefinitionError:
        log.exception(
            "a tracking plan does not compile any more: it is held against nothing", version=held.version
        )
        return None


def _cause(version: int, verdict: Verdict) -> str:
    """Return why an event is turned away: places and keywords, never a value."""
    if verdict.event == UNPLANNED:
        return f"version {version} of the tracking plan of its source does not name this event"
    told = [f"{one.place}: {one.kind}" for one in verdict.violations[:_CAUSES]]
    more = len(verdict.violations) - len(told)
    rest = f" and {more} more" if more else ""
    return f"it does not fit version {version} of the tracking plan of its source: {', '.join(told)}{rest}"
