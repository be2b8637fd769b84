"""The tracking plans of sources: stored, followed by every process, held against each event.

Invariants: a version never changes; every change is an audit entry in its own transaction. A process follows
within a second (``refresh``). What a plan turns away is still heard where it restrains somebody (the pipeline
sees to that), and what the consent API is told is no event of a source: no plan is held against it. A message
that lay in quarantine stays there while it does not fit, whatever the mode is by then: nothing that was kept
is dropped. A plan that no longer compiles (another version of the validator) turns nothing away.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from prometheus_client import Counter

from cdp.access import Source
from cdp.audit import Entry
from cdp.clock import Clock
from cdp.errors import DefinitionError, NotFoundError
from cdp.ingest.model import Event, Reject
from cdp.ingest.plans import queries
from cdp.ingest.plans.judge import UNPLANNED, Judge, Verdict
from cdp.ingest.plans.model import Held, SeenViolation
from cdp.ingest.plans.queries import ViolationKey
from cdp.ingest.plans.read import read_plan
from cdp.store import Committer, retrying

log = structlog.get_logger()
_IN_MEMORY = 5_000
_CAUSES = 5
_VIOLATIONS = Counter(
    "cdp_plan_violations",
    "Ways in which events did not fit the tracking plan of their source",
    ["source", "event", "kind"],
)


class Plans:
    """Holds events against the plans of their sources."""

    def __init__(self, committer: Committer, clock: Clock) -> None:
        self._committer = committer
        self._clock = clock
        self._adopting = threading.Lock()
        self._counting = threading.Lock()
        self._versions: dict[int, int] = {}
        self._judges: dict[int, Judge] = {}
        self._counts: dict[ViolationKey, int] = {}
        self.refresh()

    # -- on the way of each event -----------------------------------------------------------------

    def judge(self, event: Event) -> Event | Reject:
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
            _VIOLATIONS.labels(source.name, verdict.event, kind).inc()
        with self._counting:
            for violation in verdict.violations:
                key = source.source_id, version, verdict.event, violation
                if key in self._counts or len(self._counts) < _IN_MEMORY:
                    self._counts[key] = self._counts.get(key, 0) + 1

    def flush(self) -> None:
        """Add what was counted to the table."""
        with self._counting:
            counts, self._counts = self._counts, {}

        def run() -> None:
            with self._committer.batch(head_first=True) as batch:  # so that processes add to one another
                queries.add_violations(batch.connection, counts, self._clock.now())

        if counts:
            retrying(run)

    # -- following --------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Adopt the plans that are stored now."""
        with self._adopting, self._committer.store.reading() as connection:
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

    # -- the operator's verbs ---------------------------------------------------------------------

    def apply(self, actor: str, source: Source, given: Mapping[str, Any]) -> Held:
        """Store a plan as the newest one of a source, unless it is that already.

        :raises DefinitionError: it is wrong; the message begins with the place.
        """
        read_plan(given)
        return self._put(actor, source, dict(given))

    def remove(self, actor: str, source: Source) -> None:
        """Let a source have no plan from now on; its versions stay on record.

        :raises NotFoundError: it has none.
        """
        self.of(source)
        self._put(actor, source, None)

    def of(self, source: Source) -> Held:
        """Return the plan of a source.

        :raises NotFoundError: it has none.
        """
        with self._committer.store.reading() as connection:
            held = queries.newest(connection, source.source_id)
        if held is None or held.source is None:
            raise NotFoundError("this source has no tracking plan")
        return held

    def violations(self, source: Source) -> list[SeenViolation]:
        """Return what did not fit the plan that a source has now, what came most often first.

        :raises NotFoundError: it has none.
        """
        self.flush()
        held = self.of(source)
        with self._committer.store.reading() as connection:
            return queries.violations(connection, source.source_id, held.version)

    def _put(self, actor: str, source: Source, plan: dict[str, Any] | None) -> Held:
        def run() -> Held:
            with self._committer.batch(head_first=True) as batch:
                before = queries.newest(batch.connection, source.source_id)
                if before is not None and before.source == plan:
                    return before
                held = Held(
                    source_id=source.source_id,
                    version=1 if before is None else before.version + 1,
                    source=plan,
                    created_at=self._clock.now(),
                    created_by=actor,
                )
                queries.add_version(batch.connection, held, batch.id)
                about: dict[str, str | int] = {"id": source.source_id, "version": held.version}
                if plan is not None:
                    about["sha256"] = hashlib.sha256(msgspec.json.encode(plan, order="sorted")).hexdigest()
                action = "plan.remove" if plan is None else "plan.apply"
                batch.record(Entry(action=action, actor=actor, object=about))
            return held

        held = retrying(run)
        self.refresh()
        return held


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
