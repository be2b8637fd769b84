"""Counts of people, as exact as the caller's role allows (privacy.md, "Counts").

An officer sees the number. All others see it with noise, together a bounded number of times a day, and not at
all for a definition that would turn the count into a look-up (``cdp/segments/counting/``). Showing one is a
use, recorded together with what it used up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
from pyroaring import BitMap

from cdp.api.auth import Caller
from cdp.api.services import Services
from cdp.audit import Entry
from cdp.clock import random_id
from cdp.errors import NotPermittedError, OverloadedError
from cdp.segments import PURPOSE, Definition, Show
from cdp.store import Batch

LEAST_FIGURES = 3
"""Members, released and one reason for absence: what the counts of an export show at least."""


def shown_count(
    services: Services,
    caller: Caller,
    definition: Definition,
    members: BitMap,
    target: Mapping[str, str | int],
) -> int:
    """Return how many ``members`` of a definition are, as this caller may see it.

    :param target: what was counted, for the audit log.
    :raises OverloadedError: the counts of today are used up; that is on record, too.
    """
    with _counted(services, caller, target, {"members": len(members)}) as batch:
        if caller.has("officer"):
            return len(members)
        return services.counting.noised(batch, caller.actor, definition, members)


@contextmanager
def showing(services: Services, caller: Caller, target: Mapping[str, str | int]) -> Iterator[Show]:
    """Give what makes numbers of tables, as this caller may see them; all of it is charged, or nothing.

    Whom the tables are about is on record already (``segments.explore``); here it is that numbers were shown.

    :param target: what was counted, for the audit log.
    :raises OverloadedError: the counts of today are used up; that is on record, too.
    """
    if caller.has("officer"):
        yield lambda tables: [[len(cell.members) for cell in table] for table in tables]
        return
    with _counted(services, caller, target, {}) as batch:
        yield lambda tables: services.counting.shown(batch, caller.actor, tables)


@contextmanager
def _counted(
    services: Services, caller: Caller, target: Mapping[str, str | int], people: dict[str, int]
) -> Iterator[Batch]:
    """Record that counts are shown, or that the day's are used up."""
    entry = Entry(
        action="segment.count", actor=caller.actor, purpose=PURPOSE, object=dict(target), people=people
    )
    try:
        with services.committer.batch(head_first=not caller.has("officer")) as batch:
            batch.record(entry)
            yield batch
    except OverloadedError:  # a key that runs out may be one that tries to find somebody
        refused = msgspec.structs.replace(
            entry, outcome="denied", object={**target, "reason": "count_budget"}, people={}
        )
        with services.committer.batch() as batch:
            batch.record(refused)
        raise


class Bill:
    """What an export's noised counts cost: each figure one answer, the least ones in advance."""

    def __init__(self, services: Services, actor: str) -> None:
        self._services = services
        self._actor = actor
        self._name = f"export {random_id():x}"
        self._least = [f"{self._name} {number}" for number in range(LEAST_FIGURES)]

    def advance(self) -> None:
        """Pay for an answer before it is there: refused or not, it tells something.

        :raises OverloadedError: the counts of today are used up; that is on record.
        """
        entry = Entry(action="export.authorise", actor=self._actor, outcome="denied")
        try:
            with self._services.committer.batch(head_first=True) as batch:
                self._services.counting.advance(batch, self._actor, self._least)
        except OverloadedError:
            with self._services.committer.batch() as batch:
                batch.record(msgspec.structs.replace(entry, object={"reason": "count_budget"}))
            raise

    def settle(self, figures: int) -> None:
        """Pay for what the answer shows beyond the least."""
        more = [f"{self._name} {number}" for number in range(LEAST_FIGURES, figures)]
        if more:
            with self._services.committer.batch(head_first=True) as batch:
                self._services.counting.charge(batch, self._actor, more)

    def cancel(self) -> None:
        """Take back what was paid for an answer that was not given."""
        with self._services.committer.batch(head_first=True) as batch:
            self._services.counting.give_back(batch, self._actor, self._least)


@contextmanager
def billed(services: Services, caller: Caller) -> Iterator[Bill]:
    """Let a key pay for an export's counts.

    A refusal costs what an answer does; a mistake of the caller's, or a failure of ours, nothing.

    :raises OverloadedError: the counts of today are used up.
    """
    bill = Bill(services, caller.actor)
    bill.advance()
    try:
        yield bill
    except NotPermittedError:
        raise
    except Exception:
        bill.cancel()
        raise


def check_countable(services: Services, caller: Caller, definition: Definition) -> None:
    """Refuse a count that would be a look-up to all but officers.

    :raises NotPermittedError: the definition names a person or stands on a short list, itself or through
        another segment.
    """
    if not caller.has("officer"):
        services.counting.check(definition)


def is_countable(services: Services, caller: Caller, definition: Definition) -> bool:
    """Tell whether ``check_countable`` would allow it."""
    try:
        check_countable(services, caller, definition)
    except NotPermittedError:
        return False
    return True
