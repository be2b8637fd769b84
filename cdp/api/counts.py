"""Counts of people, as exact as the caller's role allows (privacy.md, "Counts").

An officer sees the number. Everybody else sees it with noise, a bounded number of times a day, and not at
all for a definition that would turn the count into a look-up (``cdp/segments/counting.py``). Showing one is a
use, recorded together with what the key has used up.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from pyroaring import BitMap

from cdp.api.auth import Caller
from cdp.api.services import Services
from cdp.audit import Entry
from cdp.errors import NotPermittedError, OverloadedError
from cdp.segments import PURPOSE, Definition


def shown_count(
    services: Services,
    caller: Caller,
    definition: Definition,
    members: BitMap,
    target: Mapping[str, str | int],
) -> int:
    """Return how many ``members`` of a definition are, as this caller may see it.

    :param target: what was counted, for the audit log.
    :raises OverloadedError: the key has used up its counts for today; that is on record, too.
    """
    entry = Entry(
        action="segment.count",
        actor=caller.actor,
        purpose=PURPOSE,
        object=dict(target),
        people={"members": len(members)},
    )
    officer = caller.has("officer")
    try:
        with services.committer.batch(head_first=not officer) as batch:
            batch.record(entry)
            if officer:
                return len(members)
            return services.counting.noised(batch, caller.actor, definition, members)
    except OverloadedError:  # a key that runs out may be one that tries to find somebody
        refused = msgspec.structs.replace(
            entry, outcome="denied", object={**target, "reason": "count_budget"}, people={}
        )
        with services.committer.batch() as batch:
            batch.record(refused)
        raise


def charge_figures(services: Services, caller: Caller, export: str, figures: int) -> None:
    """Charge whoever sees an export's noised counts for each of them; the last one may overdraw.

    :param export: stands for this answer.
    """
    with services.committer.batch(head_first=True) as batch:
        services.counting.charge(batch, caller.actor, [f"{export} {number}" for number in range(figures)])


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
