"""Pairs that a steward rejected, rejected again in a database that came out of a backup."""

from __future__ import annotations

from collections.abc import Collection

from cdp.clock import Micros
from cdp.identity import Pair
from cdp.matching import queries
from cdp.matching.runs import Evidence, Proposal
from cdp.store import Batch

_WHY = "rejected"


def reject_again(batch: Batch, pairs: Collection[Pair], actor: str, now: Micros) -> int:
    """Reject pairs that no steward decided, or that no run found yet; returns how many those are.

    What a run saw in them is lost where the backup does not know the pair.
    """
    rows = []
    for low, high in sorted(pairs):
        found = queries.pair(batch.connection, low, high)
        if found is None or found.state in ("open", "linked"):
            seen = (found.run_no, found.weight, found.evidence) if found else (0, 0, Evidence(_WHY, ()))
            run_no, weight, evidence = seen
            rows.append(
                Proposal(
                    low=low,
                    high=high,
                    run_no=run_no,
                    state="rejected",
                    weight=weight,
                    evidence=evidence,
                    actor=actor,
                    decided_at=now,
                )
            )
    queries.put_pairs(batch.connection, rows, batch.id)
    return len(rows)
