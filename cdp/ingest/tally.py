"""What became of what each source sent: received = stored + duplicates + quarantined + refused + suppressed.

Invariants:

1. What arrives is counted as it arrives, what becomes of it where that happens; neither is worked out from
   the other. Each batch that commits is weighed: one that does not add up raises ``cdp_ingest_unbalanced``
   and a line in the log, and loses nothing.
2. The counts of a batch lie in the database in the transaction that stores what they count, by source and day
   of receipt. So they hold after a crash, a retry and a rollback.
3. A message is received once. A replay moves it, from ``quarantined`` to what becomes of it then. What waits
   is ``quarantined`` − ``discarded`` − ``expired`` − ``erased``.
4. Each batch writes rows of its own, so no writer waits for another; ``fold`` adds them up later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import structlog
from prometheus_client import Counter as Metric

from cdp.ingest import queries
from cdp.ingest.model import Indexed, Prepared, Reject, Sender, senders
from cdp.store import Batch, Committer

log = structlog.get_logger()
OUTCOMES = ("stored", "duplicates", "quarantined", "refused", "suppressed")
"""What an event that was received may become."""
_RECEIVED = Metric("cdp_ingest_received_events", "Events received, counted as they arrive")
_EVENTS = Metric("cdp_ingest_events", "Events received, by what became of them", ["outcome"])
_REPLAYED = Metric("cdp_ingest_replayed_events", "Events replayed, by what became of them", ["outcome"])
_UNBALANCED = Metric("cdp_ingest_unbalanced", "Batches whose events do not add up; anything but 0 is a fault")


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of what one source sent on one day.

    :param day: of receipt, since 1970.
    :param replayed: events taken out of quarantine again; each counts as what it became then.
    :param expired: messages whose time in quarantine ended, as those that a steward ``discarded`` or that
        were ``erased`` with whom they named: they stay among the ``quarantined``.
    :param waiting: messages that lie in quarantine, as counted there.
    """

    source_id: int
    day: int
    received: int = 0
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    refused: int = 0
    suppressed: int = 0
    replayed: int = 0
    expired: int = 0
    discarded: int = 0
    erased: int = 0
    waiting: int = 0

    @property
    def balanced(self) -> bool:
        """Whether everything received is accounted for, and what waits really lies there."""
        became = sum(getattr(self, outcome) for outcome in OUTCOMES)
        gone = self.expired + self.discarded + self.erased
        return self.received == became and self.waiting == self.quarantined - gone


class Tally:
    """The counts of one micro-batch.

    :param prepared: what arrived.
    :param counts: what became of it, by ``OUTCOMES``.
    """

    def __init__(self, prepared: Prepared, **counts: int) -> None:
        self._prepared = prepared
        self._replayed = prepared.replay is not None
        taken = prepared.messages if self._replayed else []
        self._taken = Counter({sent.delivery.row: sent.delivery.sender for sent in taken}.values())
        self.counts = counts

    def write(
        self,
        batch: Batch,
        living: Sequence[Indexed],
        new: Sequence[Indexed],
        kept: Sequence[Indexed],
        rejects: Sequence[Reject],
        again: Sequence[Reject],
    ) -> None:
        """Store the counts in this batch.

        :param living: the events of nobody who was erased; ``new``: those of them that came for the first
            time; ``kept``: those of them that were stored.
        :param again: rejects that a stream delivered before, beside the others.
        """
        arrived = self._prepared.received
        if len(arrived) == 1:
            (sender,) = arrived
            rows = Counter({(*sender, outcome): count for outcome, count in self.counts.items()})
        else:
            rows = self._spread(living, new, kept, rejects, again)
        for sender, count in arrived.items():
            if not self._replayed:
                rows[(*sender, "received")] = count
                continue
            taken = self._taken[sender]
            rows[(*sender, "replayed")] = taken
            rows[(*sender, "quarantined")] -= taken
            rows[(*sender, "received")] = count - taken  # of one message of another form several are made
        written = [(batch.id, day, source, what, n) for (source, day, what), n in sorted(rows.items()) if n]
        queries.add_counts(batch.connection, written)

    def _spread(
        self,
        living: Sequence[Indexed],
        new: Sequence[Indexed],
        kept: Sequence[Indexed],
        rejects: Sequence[Reject],
        again: Sequence[Reject],
    ) -> Counter[tuple[int, int, str]]:
        """Return the counts by sender: each stage lets fewer pass."""
        passed = [_sent(items) for items in (self._prepared.events, living, new, kept)]
        sent, alive, fresh, stored = passed
        spread = {
            "stored": stored,
            "duplicates": alive - fresh + senders(reject.message for reject in again),
            "quarantined": senders(reject.message for reject in rejects if reject.kept),
            "refused": senders(reject.message for reject in rejects if not reject.kept),
            "suppressed": sent - alive + (fresh - stored),
        }
        return Counter({(*sender, what): n for what, of in spread.items() for sender, n in of.items()})

    def publish(self) -> None:
        """Show the counts of a batch that has committed, and weigh them."""
        metric, arrived = (_REPLAYED if self._replayed else _EVENTS), self._prepared.received.total()
        if not self._replayed:
            _RECEIVED.inc(arrived)
        for outcome, count in self.counts.items():
            metric.labels(outcome).inc(count)
        weigh(arrived, self.counts)


class Counts:
    """The counts of all batches."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer

    def fold(self) -> int:
        """Add up the rows of batches; returns how many there were. Two processes may do so at once."""
        with self._committer.store.writing() as connection, connection.begin():
            return queries.fold_counts(connection)

    def of(self, source_id: int | None = None, first: int = 0, last: int | None = None) -> list[Counted]:
        """Return the counts of a source, or of all, by day of receipt from ``first`` to ``last``."""
        with self._committer.store.reading() as connection:
            rows = queries.counts(connection, source_id, first, last)
        found: dict[Sender, dict[str, int]] = {}
        for source, day, outcome, count in rows:
            found.setdefault((source, day), {})[outcome] = count
        return [Counted(source_id=source, day=day, **given) for (source, day), given in sorted(found.items())]


def _sent(items: Iterable[Indexed]) -> Counter[Sender]:
    return senders(item.classified.event.message for item in items)


def weigh(received: int, counts: Mapping[str, int]) -> None:
    """Raise the alarm where what was received did not become as much."""
    became = sum(counts.values())
    if became != received:
        _UNBALANCED.inc()
        log.error("events do not add up", received=received, became=became, **counts)
