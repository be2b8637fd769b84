"""counted: what stages that write nothing count, carried from who ran them to who asked.

Each count is told once: ``take`` begins anew.
"""

from __future__ import annotations

import msgspec
from prometheus_client import Counter

from cdp.ingest.catalogue import Shapes, Taken
from cdp.ingest.classify import MISTYPED
from cdp.ingest.clocks import UNUSED
from cdp.ingest.plans import VIOLATIONS, Judges
from cdp.ingest.plans.queries import ViolationKey
from cdp.ingest.validate import ODD_SIGNALS, SELF_ALIASES

_METRICS: tuple[Counter, ...] = (MISTYPED, UNUSED, VIOLATIONS, ODD_SIGNALS, SELF_ALIASES)


class Grown(msgspec.Struct, frozen=True, array_like=True):
    """What one process counted.

    :param metrics: (place in the list of metrics, labels, by how much it grew).
    """

    shapes: list[Taken]
    violations: list[tuple[ViolationKey, int]]
    metrics: list[tuple[int, dict[str, str], float]]


class Counting:
    """The counting side."""

    def __init__(self, shapes: Shapes, judges: Judges) -> None:
        self._shapes = shapes
        self._judges = judges
        self._told: dict[tuple[int, tuple[str, ...]], float] = {}

    def take(self) -> Grown:
        """Return what was counted since the last time."""
        return Grown(self._shapes.take(), list(self._judges.take().items()), self._grown())

    def _grown(self) -> list[tuple[int, dict[str, str], float]]:
        grown = []
        for place, metric in enumerate(_METRICS):
            for family in metric.collect():
                for sample in family.samples:
                    key = place, tuple(sample.labels.values())
                    if sample.name.endswith("_total") and sample.value != self._told.get(key, 0.0):
                        grown.append((place, sample.labels, sample.value - self._told.get(key, 0.0)))
                        self._told[key] = sample.value
        return grown


def bring(counted: Grown, shapes: Shapes, judges: Judges) -> None:
    """Take over what another process counted."""
    shapes.bring(counted.shapes)
    judges.add(counted.violations)
    for place, labels, count in counted.metrics:
        metric = _METRICS[place]
        (metric.labels(**labels) if labels else metric).inc(count)
