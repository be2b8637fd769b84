"""What became of a micro-batch, for whoever sent it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from cdp.ingest.model import Indexed

Unheard = Literal["suppressed", "repeated"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one micro-batch: received = stored + duplicates + quarantined + refused + suppressed.

    :param refused: of a kind that their source is not to send; kept nowhere.
    :param suppressed: dropped, because they name somebody who was erased and may not come back, or who
        refused their collection (``policies/intake.yaml``).
    :param records: event id → the consent records made of what it said, whom it names first; the ledger
        holds what stands here without any from before.
    :param unheard: event id → why nothing was taken of a consent that was told: its person was erased, or
        the very message came before.
    :param failed: reason → how many messages are in quarantine for it.
    """

    commit_no: int
    received: int
    stored: int
    duplicates: int
    quarantined: int
    refused: int = 0
    suppressed: int = 0
    records: dict[bytes, tuple[int, ...]] = {}
    unheard: dict[bytes, Unheard] = {}
    failed: Counter[str] = msgspec.field(default_factory=Counter)

    @property
    def counts(self) -> dict[str, int]:
        """What became of all that was received."""
        return {
            "stored": self.stored,
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
            "refused": self.refused,
            "suppressed": self.suppressed,
        }

    def plus(self, later: Outcome) -> Outcome:
        """Return both together, standing where the later one was committed."""
        return Outcome(
            commit_no=later.commit_no,
            received=self.received + later.received,
            stored=self.stored + later.stored,
            duplicates=self.duplicates + later.duplicates,
            quarantined=self.quarantined + later.quarantined,
            refused=self.refused + later.refused,
            suppressed=self.suppressed + later.suppressed,
            records={**self.records, **later.records},
            unheard={**self.unheard, **later.unheard},
            failed=self.failed + later.failed,
        )


class Replayed(msgspec.Struct, frozen=True):
    """What became of messages of the quarantine.

    :param unreadable: their source is gone, or they cannot be opened; they stay.
    :param next: after which row to go on; None when that was all.
    """

    outcome: Outcome
    unreadable: int
    next: int | None


def unheard(
    events: Sequence[Indexed], erased: Collection[int], new: Sequence[Indexed]
) -> dict[bytes, Unheard]:
    """Return what came of consents that were told and of which nothing was taken."""
    if not erased and len(new) == len(events):
        return {}
    told = {
        item.classified.event.event_id: place
        for place, item in enumerate(events)
        if item.classified.event.message.delivery.statements
    }
    for item in new if told else ():
        told.pop(item.classified.event.event_id, None)
    return {event_id: "suppressed" if place in erased else "repeated" for event_id, place in told.items()}
