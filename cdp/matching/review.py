"""The review queue: pairs that a run found likely and not certain, for a steward to decide.

Invariants:

1. A steward sees which pair, how likely, and how each field adds to it: opaque ids, levels of agreement and
   weights, no value. Who needs one reveals it, which is a use of its own.
2. Nobody is shown who is restrained now; nor a pair that is one already, is gone, or was taken apart.
3. Accepting is a merge by the steward's word, under the rules of every merge, and is undone by a split.
   Rejecting holds the two profiles apart for matching, whatever any later run thinks, until a steward merges
   them; what a source states of both still links them, as a rejected guess says nothing of it.
4. Every look and every decision is on record, with the people whom it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.crypto import ProfileIds
from cdp.errors import ConflictError, NotFoundError
from cdp.gate import CONTROLLER
from cdp.matching import queries
from cdp.matching.choose import MATCHING
from cdp.matching.outcome import Settler
from cdp.matching.runs import Proposal
from cdp.store import Batch, Committer, retrying

Decision = Literal["accept", "reject"]
Merge = Callable[[str, str, Sequence[str]], object]
"""(actor, purpose, ids) → links two profiles, or raises what stands against it."""
Place = tuple[int, str]
"""Where a pair stands in the queue: (weight, id)."""
_APART = "."
_ACTION = "identity.review"


class Reviewed(msgspec.Struct, frozen=True):
    """A pair as a steward sees it.

    :param id: names the pair. ``profiles``: the ids of the two profiles that it is about now.
    """

    id: str
    profiles: tuple[str, str]
    found: Proposal


class ReviewQueue:
    """Lists pairs and decides them."""

    def __init__(
        self, committer: Committer, settler: Settler, ids: ProfileIds, merge: Merge, clock: Clock
    ) -> None:
        self._committer = committer
        self._settler = settler
        self._ids = ids
        self._merge = merge
        self._clock = clock

    def waiting(self, actor: str, limit: int, after: Place | None = None) -> list[Reviewed]:
        """Return up to ``limit`` pairs that wait, the likeliest first, behind ``after``."""
        return retrying(lambda: self._waiting(actor, limit, after))

    def _waiting(self, actor: str, limit: int, after: Place | None) -> list[Reviewed]:
        shown: list[Reviewed] = []
        behind = None if after is None else (after[0], *self._ends(after[1]))
        self._settler.admit(actor, _ACTION)
        with self._committer.batch() as batch:
            while len(shown) < limit:
                found = queries.open_pairs(batch.connection, limit, behind)
                shown += self._shown(batch, found)
                if len(found) < limit:
                    break
                behind = (found[-1].weight, found[-1].low, found[-1].high)
            shown = shown[:limit]
            batch.record(_entry(actor, {}, [pair.found for pair in shown]))
        return shown

    def _shown(self, batch: Batch, found: Sequence[Proposal]) -> list[Reviewed]:
        ends = {number for pair in found for number in (pair.low, pair.high)}
        standing = self._settler.standing(batch.connection, ends)
        encode, home = self._ids.encode, standing.home
        return [
            Reviewed(
                encode(one.low) + _APART + encode(one.high),
                (encode(home[one.low]), encode(home[one.high])),
                one,
            )
            for one in found
            if not standing.against(one.low, one.high)
        ]

    def _ends(self, pair_id: str) -> tuple[int, int]:
        low, _, high = pair_id.partition(_APART)
        return self._ids.decode(low), self._ids.decode(high)

    def show(self, actor: str, pair_id: str) -> Reviewed:
        """Return one pair that waits.

        :raises NotFoundError: the id is none, or the pair waits no longer.
        """
        return retrying(lambda: self._show(actor, pair_id))

    def _show(self, actor: str, pair_id: str) -> Reviewed:
        self._settler.admit(actor, _ACTION)
        with self._committer.batch() as batch:
            found = self._open(batch, pair_id)
            batch.record(_entry(actor, {"pair": pair_id}, [found.found]))
        return found

    def _open(self, batch: Batch, pair_id: str) -> Reviewed:
        found = queries.pair(batch.connection, *self._ends(pair_id))
        shown = [] if found is None or found.state != "open" else self._shown(batch, [found])
        if not shown:
            raise NotFoundError(
                "no such pair waits for a decision; `cdp identity review` lists those that do"
            )
        return shown[0]

    def decide(self, actor: str, pair_id: str, decision: Decision) -> Proposal:
        """Accept a pair, which links its profiles, or reject it, which keeps it from being proposed again.

        :raises NotFoundError: the id is none, or the pair waits no longer.
        :raises ConflictError: the rules refuse the link, or somebody else decided meanwhile.
        :raises NotPermittedError: one of them is restrained.
        """
        if decision == "accept":
            found = self.show(actor, pair_id)
            self._merge(actor, MATCHING, found.profiles)
        return retrying(lambda: self._settle(actor, pair_id, decision))

    def _settle(self, actor: str, pair_id: str, decision: Decision) -> Proposal:
        self._settler.admit(actor, _ACTION)
        with self._committer.batch(head_first=True) as batch:
            found = queries.pair(batch.connection, *self._ends(pair_id))
            if found is None or found.state != "open":
                raise ConflictError("this pair was decided meanwhile")
            if decision == "reject":
                self._open(batch, pair_id)
            decided = msgspec.structs.replace(
                found,
                state="accepted" if decision == "accept" else "rejected",
                actor=actor,
                decided_at=self._clock.now(),
            )
            queries.put_pairs(batch.connection, [decided], batch.id)
            about: dict[str, str | int] = {"pair": pair_id, "decision": decision, "run": found.run_no}
            batch.record(_entry(actor, about, [found]))
        return decided


def _entry(actor: str, about: dict[str, str | int], pairs: Sequence[Proposal]) -> Entry:
    subjects = sorted({number for pair in pairs for number in (pair.low, pair.high)})
    return Entry(
        action=_ACTION,
        actor=actor,
        purpose=MATCHING,
        destination=CONTROLLER,
        object=about,
        people={"pairs": len(pairs)},
        subjects=tuple(subjects),
    )
