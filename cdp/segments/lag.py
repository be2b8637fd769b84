"""lag: how far followed segments are behind the store, as whoever can read the store sees it.

Only commits that brought facts count: events, observations, changed profiles. The others, the following's
own among them, change nothing that a segment says.
"""

from __future__ import annotations

import msgspec
from prometheus_client import Gauge

from cdp.clock import SECOND, Clock
from cdp.segments import queries
from cdp.store import Store
from cdp.warehouse import factual_since

_COUNTED = 10_000
_SECONDS = Gauge(
    "cdp_segments_lag_seconds", "How old the oldest commit is that followed segments do not show yet"
)
_COMMITS = Gauge(
    "cdp_segments_lag_commits", f"Commits that followed segments do not show yet, up to {_COUNTED}"
)


class Lag(msgspec.Struct, frozen=True):
    """What followed segments do not show yet.

    :param seconds: how old the oldest of those commits is.
    :param commits: how many, at most ``_COUNTED``.
    """

    seconds: float
    commits: int

    def describe(self) -> str:
        """Return it in a line, for whoever looks after it."""
        if not self.commits:
            return "followed up to the newest commit"
        return f"{self.commits} commits behind, the oldest {self.seconds:.1f} s old"


def lag(store: Store, clock: Clock) -> Lag:
    """Return how far the followed segments are behind; nothing where there are none.

    :raises StoreError: the store does not answer.
    """
    with store.reading() as connection:
        held = queries.newest(connection).values()
        if not any(one.source is not None and "schedule" not in one.source for one in held):
            return Lag(0.0, 0)  # what is scheduled is not followed
        known = queries.following(connection)
        found = factual_since(connection, 0 if known is None else known.as_of, _COUNTED)
    return Lag(max(0, clock.now() - found[0]) / SECOND if found else 0.0, len(found))


def observe(store: Store, clock: Clock) -> None:
    """Bring the figures that ``/metrics`` shows up to date, whichever process follows."""
    found = lag(store, clock)
    _SECONDS.set(found.seconds)
    _COMMITS.set(found.commits)
