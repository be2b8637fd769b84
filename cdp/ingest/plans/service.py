"""The tracking plans of sources: stored, and changed by operators.

Invariants: a version never changes; every change is an audit entry in its own transaction. Every process
follows within a second (``Judges.refresh``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from cdp.access import Source
from cdp.audit import Entry
from cdp.clock import Clock
from cdp.errors import NotFoundError
from cdp.ingest.plans import queries
from cdp.ingest.plans.judges import Judges
from cdp.ingest.plans.model import Held, SeenViolation
from cdp.ingest.plans.read import read_plan
from cdp.store import Committer, retrying

log = structlog.get_logger()


class Plans:
    """Keeps the plans of sources.

    :ivar judges: hold events against them.
    """

    def __init__(self, committer: Committer, clock: Clock) -> None:
        self._committer = committer
        self._clock = clock
        self.judges = Judges(committer.store)

    def flush(self) -> None:
        """Add what was counted to the table."""
        counts = self.judges.take()

        def run() -> None:
            with self._committer.batch(head_first=True) as batch:  # so that processes add to one another
                queries.add_violations(batch.connection, counts, self._clock.now())

        if counts:
            retrying(run)

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
        self.judges.refresh()
        return held
