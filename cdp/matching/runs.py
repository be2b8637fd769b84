"""What is kept of matching: runs, and pairs with the evidence for them. None of it holds a value."""

from __future__ import annotations

from typing import Literal

import msgspec

from cdp.clock import Micros
from cdp.errors import ConflictError
from cdp.matching.model import Pair, Step

PairState = Literal["open", "accepted", "rejected", "linked"]
"""Of a pair: waits for a steward, who linked or rejected it, or it was linked by the run."""
RunState = Literal["running", "done", "rehearsed", "failed", "interrupted", "policies_changed", "denied"]
_PARTS = 1000  # a weight is kept in thousandths


class Run(msgspec.Struct, frozen=True):
    """One run, in the order of its table's columns.

    :param state: ``rehearsed`` of a dry run that ended; what else ended before its end was ``interrupted``
        with its process, ended by a change of the policies, ``denied`` by them or the controller's switch, or
        it ``failed``.
    :param model_no: the model that it used; None before it is known, and of a dry run that made one.
    :param upto: the commit of what it read.
    :param excluded: people whom it left alone.
    """

    run_no: int
    state: RunState
    actor: str
    model_no: int | None
    upto: int
    records: int
    excluded: int
    pairs: int
    linked: int
    queued: int
    started_at: Micros
    finished_at: Micros | None


class StoppedError(ConflictError):
    """A run of matching ended between two commits, in a state that says why."""

    def __init__(self, state: RunState) -> None:
        super().__init__(f"the run of matching ended early ({state})")
        self.state = state


class Evidence(msgspec.Struct, frozen=True):
    """Why a pair is thought to be one person, by field; ``why`` it waits for a steward (``model.Pair``)."""

    why: str
    steps: tuple[Step, ...]


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of identities that may be one person.

    :param weight: log2 of the odds, in thousandths.
    :param actor: who decided it; empty of one that is open.
    """

    low: int
    high: int
    run_no: int
    state: PairState
    weight: int
    evidence: Evidence
    actor: str = ""
    decided_at: Micros | None = None

    @property
    def probability(self) -> float:
        """The probability that they are one."""
        return float(1 / (1 + 2.0 ** -max(-500.0, min(500.0, self.weight / _PARTS))))


def proposal(
    pair: Pair, run_no: int, state: PairState, actor: str = "", decided_at: Micros | None = None
) -> Proposal:
    """Return what is kept of a pair that a run found."""
    return Proposal(
        low=min(pair.low, pair.high),
        high=max(pair.low, pair.high),
        run_no=run_no,
        state=state,
        weight=round(pair.weight * _PARTS),
        evidence=Evidence(pair.why, pair.steps),
        actor=actor,
        decided_at=decided_at,
    )


class Progress(msgspec.Struct, frozen=True):
    """How far a run has come in the step at hand.

    :param step: choosing | reading | comparing | linking | queueing.
    """

    step: str
    done: int = 0
    total: int = 0
