"""Processes beside this one that run the stages which write nothing, so that storing has a core of its own.

Invariants: whatever goes wrong with them, a delivery is prepared: where none can be asked, or one ends or
judges by other policies, this process prepares it itself. What they count is fetched every second. Calls of
few events are not worth the way there and back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from cdp.ingest import DataCatalogue, Delivery, Judges, Prepared, apart
from cdp.pipeline import Pipeline
from cdp.worker.answering import Answering

FEW = 20
Done = Callable[[Callable[[], Prepared]], None]
"""Is told how to get at what was prepared."""


class Preparing:
    """Asks them.

    :param now: returns (version of the policies in force, epoch of erasures).
    """

    def __init__(
        self,
        processes: Sequence[Answering],
        pipeline: Pipeline,
        now: Callable[[], tuple[int, int]],
        catalogue: DataCatalogue,
        judges: Judges,
    ) -> None:
        self.processes = processes
        self._pipeline = pipeline
        self._now = now
        self._catalogue = catalogue
        self._judges = judges

    def ask(self, delivery: Delivery, done: Done) -> bool:
        """Have a delivery prepared, and ``done`` told by another thread; False where that is not to be."""
        if len(delivery.messages) < FEW or delivery.form or delivery.statements:
            return False
        ready = [(waiting, one) for one in self.processes if (waiting := one.waiting) is not None]
        if not ready:
            return False
        _, chosen = min(ready, key=lambda pair: pair[0])
        generation = self._pipeline.generation  # before the policies are looked at: never newer than they are
        frame = apart.write(apart.Ask(*self._now(), delivery))
        return chosen.ask(frame, partial(self._answered, delivery, generation, done))

    def collect(self) -> None:
        """Fetch what was counted; what is not heard of within a turn comes with a later one."""
        frame = apart.write(apart.Ask(*self._now(), None))
        for process in self.processes:
            process.ask(frame, self._brought)

    def _answered(self, delivery: Delivery, generation: int, done: Done, frame: bytes | None) -> None:
        def prepared() -> Prepared:
            packed = None if frame is None else apart.read_answer(frame).packed
            if packed is None:
                return self._pipeline.prepare([delivery])
            return apart.unpack(packed, delivery, generation)

        done(prepared)

    def _brought(self, frame: bytes | None) -> None:
        grown = None if frame is None else apart.read_answer(frame).grown
        if grown is not None:
            apart.bring(grown, self._catalogue, self._judges)
