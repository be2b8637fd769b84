"""Links that a steward revoked, revoked again in a database that came out of a backup."""

from __future__ import annotations

from collections.abc import Collection

from cdp.clock import Micros
from cdp.identity import queries
from cdp.identity.linker import Linker
from cdp.identity.model import RULES, Pair
from cdp.store import Batch


def note_apart(
    batch: Batch, numbers: Collection[int], pairs: Collection[Pair], actor: str, now: Micros
) -> set[Pair]:
    """Record pairs as revoked, before anybody decides them; returns those that were not.

    :param numbers: identities among which the lower end of each pair is.
    """
    by_whom = queries.suppressed_by(batch.connection, numbers)
    new = {pair for pair in pairs if by_whom.get(pair, RULES) == RULES}
    queries.add_suppressions(batch.connection, new, batch.id, actor, now, suppressed=True)
    return new


def keep_apart(linker: Linker, batch: Batch, pairs: Collection[Pair], actor: str, now: Micros) -> int:
    """Revoke pairs, and decide the links of everybody concerned anew; returns how many were not revoked.

    A pair that nothing told yet is revoked, too: whatever tells it later finds it so.
    """
    ends = {number for pair in pairs for number in pair}
    held = linker.lock(batch.connection, ends)
    new = note_apart(batch, ends, pairs, actor, now)
    if new:
        relinked, gone, *_ = linker.decide(batch, held, {number for pair in new for number in pair}, ())
        linker.refresh_consent(batch, relinked, gone)
    return len(new)
