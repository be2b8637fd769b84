"""Processes beside this one that run the stages which write nothing, so that storing has a core of its own.

Invariants: whatever goes wrong with them, a delivery is prepared: where none can be asked, or one ends,
fails, does not answer or judges by other policies, this process prepares it itself. What they count is
fetched every second; of one that is killed, what it counted since is lost. Calls of few events are not worth
the way there and back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import structlog
from prometheus_client import Counter

from cdp.ingest import Delivery, Judges, Prepared, Shapes, apart
from cdp.pipeline import Pipeline
from cdp.worker.answering import Answering

log = structlog.get_logger()
FEW = 20
_APART = Counter("cdp_ingest_prepared_apart", "Events that processes beside this one prepared for it")
Done = Callable[[Callable[[], Prepared]], None]
"""Is told how to get at what was prepared."""


class Preparing:
    """Asks them.

    :param epoch: returns that of erasures.
    """

    def __init__(
        self,
        processes: Sequence[Answering],
        pipeline: Pipeline,
        epoch: Callable[[], int],
        shapes: Shapes,
        judges: Judges,
    ) -> None:
        self.processes = processes
        self._pipeline = pipeline
        self._epoch = epoch
        self._shapes = shapes
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
        try:
            frame = self._frame(delivery)
        except Exception as error:  # noqa: BLE001  # a context that JSON can hold and a frame cannot
            log.warning("a delivery cannot be asked for", error=type(error).__name__)
            return False
        return chosen.ask(frame, partial(self._answered, delivery, generation, done))

    def collect(self) -> None:
        """Fetch what was counted; what is not heard of within a turn comes with a later one."""
        for process in self.processes:
            process.ask(self._frame(None), self._brought)

    def _frame(self, delivery: Delivery | None) -> bytes:
        return apart.write(apart.Ask(self._pipeline.policies, self._judges.version, self._epoch(), delivery))

    def _answered(self, delivery: Delivery, generation: int, done: Done, frame: bytes | None) -> None:
        def prepared() -> Prepared:
            found = None if frame is None else _unpacked(frame, delivery, generation)
            if found is None:
                return self._pipeline.prepare([delivery])
            _APART.inc(found.size)
            return found

        done(prepared)

    def _brought(self, frame: bytes | None) -> None:
        grown = None if frame is None else apart.read_answer(frame).grown
        if grown is not None:
            apart.bring(grown, self._shapes, self._judges)


def _unpacked(frame: bytes, delivery: Delivery, generation: int) -> Prepared | None:
    try:
        packed = apart.read_answer(frame).packed
        return None if packed is None else apart.unpack(packed, delivery, generation)
    except Exception as error:  # noqa: BLE001  # whatever came back, the delivery is here
        log.warning("what was prepared cannot be read", error=type(error).__name__)
        return None
