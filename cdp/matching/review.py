"""The review queue: pairs that a run found likely and not certain, for a steward to decide.

Invariants:

1. A steward sees which pair, how likely, and how each field adds to it: opaque ids, levels of agreement and
   weights, no value. Who needs one reveals it, which is a use of its own.
2. Nobody is shown who is restrained now; nor a pair that is one already, is gone, or was taken apart.
3. A pair is decided once, in one transaction that holds the components of its ends: whoever comes second is
   told so, and nothing of what they asked is done.
4. Accepting is a merge of the two identities of the pair by the steward's word, under the rules of every
   merge, and is undone by a split. Rejecting holds the two profiles apart for matching, whatever any later
   run thinks, until a steward merges them; what a source states of both still links them, as a rejected guess
   says nothing of it. The journal is told, so a restore does not bring the guess back.
5. Every look and every decision is on record, with the people whom it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import msgspec

from cdp.audit import Entry
from cdp.clock import Clock, Micros
from cdp.crypto import ProfileIds
from cdp.errors import ConflictError, NotFoundError
from cdp.gate import CONTROLLER
from cdp.journal import kept_apart
from cdp.matching import queries
from cdp.matching.choose import MATCHING
from cdp.matching.outcome import Settler
from cdp.matching.runs import PairState, Proposal
from cdp.store import Batch, Committer, Connection, retrying

Decision = Literal["accept", "reject"]
Claim = Callable[[Batch], None]
Merge = Callable[[str, str, Sequence[str], Claim], object]
"""(actor, purpose, ids, claim) → links two identities, or raises what stands against it.

What ``claim`` writes, under the locks of both, is stored with the link; what it raises stands against it.
"""
Place = tuple[int, str]
"""Where a pair stands in the queue: (weight, id)."""
_APART = "."
_ACTION = "identity.review"
_NONE = "no such pair waits for a decision; `cdp identity review` lists those that do"


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
        self._settler.admit(actor, _ACTION)
        first = None if after is None else (after[0], *self._ends(after[1]))

        def find(connection: Connection) -> list[Reviewed]:
            shown, behind = list[Reviewed](), first
            while len(shown) < limit:
                found = queries.open_pairs(connection, limit, behind)
                shown += self._shown(connection, found)
                if len(found) < limit:
                    break
                behind = (found[-1].weight, found[-1].low, found[-1].high)
            return shown[:limit]

        return self._settler.look(find, lambda shown: _entry(actor, {}, [pair.found for pair in shown]))

    def show(self, actor: str, pair_id: str) -> Reviewed:
        """Return one pair that waits.

        :raises NotFoundError: the id is none, or the pair waits no longer.
        """
        self._settler.admit(actor, _ACTION)
        ends = self._ends(pair_id)

        def find(connection: Connection) -> Reviewed:
            found = queries.pair(connection, *ends)
            if found is None or found.state != "open":
                raise NotFoundError(_NONE)
            return self._open(connection, found)

        return self._settler.look(find, lambda shown: _entry(actor, {"pair": pair_id}, [shown.found]))

    def decide(self, actor: str, pair_id: str, decision: Decision) -> tuple[PairState, Micros]:
        """Accept a pair, which links its identities, or reject it, which keeps it from being proposed again.

        :return: how it stands now, and since when.
        :raises NotFoundError: the id is none, or the pair does not wait.
        :raises ConflictError: the rules refuse the link, or somebody else decided meanwhile.
        :raises NotPermittedError: the policies, or the controller's switch, stand against it.
        """
        self._settler.admit(actor, _ACTION)
        ends, at = self._ends(pair_id), self._clock.now()
        state: PairState = "accepted" if decision == "accept" else "rejected"
        claim = partial(self._claim, actor, pair_id, ends, state, at)
        if decision == "accept":
            self._merge(actor, MATCHING, pair_id.split(_APART), claim)
        else:
            retrying(partial(self._reject, ends, claim))
        return state, at

    def _reject(self, ends: tuple[int, int], claim: Claim) -> None:
        with self._committer.batch() as batch:
            self._settler.lock(batch.connection, ends)
            claim(batch)

    def _claim(
        self, actor: str, pair_id: str, ends: tuple[int, int], state: PairState, at: Micros, batch: Batch
    ) -> None:
        """Decide a pair whose components are locked."""
        found = queries.pair(batch.connection, *ends)
        if found is None:
            raise NotFoundError(_NONE)
        if found.state == "open":
            self._open(batch.connection, found)
        if not queries.settle(batch.connection, ends, state, actor, at, batch.id):
            raise ConflictError(
                "this pair was decided already, by a steward or a run; `cdp identity review` lists what waits"
            )
        if state == "rejected":
            batch.facts += kept_apart([ends], guess=True)
        about: dict[str, str | int] = {"pair": pair_id, "decision": state, "run": found.run_no}
        batch.record(_entry(actor, about, [found]))

    def _open(self, connection: Connection, found: Proposal) -> Reviewed:
        """Return a pair as it is shown.

        :raises NotFoundError: something stands against it, which nobody is told.
        """
        for shown in self._shown(connection, [found]):
            return shown
        raise NotFoundError(_NONE)

    def _shown(self, connection: Connection, found: Sequence[Proposal]) -> list[Reviewed]:
        ends = {number for pair in found for number in (pair.low, pair.high)}
        standing = self._settler.standing(connection, ends)
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
        try:
            return self._ids.decode(low), self._ids.decode(high)
        except NotFoundError:
            raise NotFoundError(_NONE) from None


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
