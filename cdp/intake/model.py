"""What an intake is: where deliveries of sources go, and what is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import msgspec

from cdp.clock import Micros
from cdp.ingest import Delivery
from cdp.policy import Bundle
from cdp.worker import Writer

URGENT = "urgent"
PARTITIONS = ("0", "1", "2", "3")
LANES = (URGENT, *PARTITIONS)
"""What restrains somebody has a lane of its own; everything else is in one of the partitions."""


class Carried(msgspec.Struct, frozen=True):
    """A sealed delivery, as it lies in a stream.

    :param number: below 2⁶⁴: the nonce of its first message, under which the stream knows it when it comes
        again.
    :param at: when it was sealed; names the key.
    :param sealed: the envelope.
    """

    number: int
    at: Micros
    sealed: bytes

    def __repr__(self) -> str:
        return "<carried>"


class Backlog(msgspec.Struct, frozen=True):
    """What lies in a stream.

    :param messages: sealed deliveries, those that workers have in hand included.
    :param in_hand: given to a worker and not committed yet.
    :param redelivered: of those, given out more than once.
    :param oldest_at: when the oldest was sealed; None for an empty stream.
    """

    messages: int
    in_hand: int
    redelivered: int
    oldest_at: Micros | None


class Intake(Protocol):
    """Takes what sources deliver."""

    def submit(self, delivery: Delivery) -> Future[Any]:
        """Take a delivery; the future is done once it is safe, which is when its sender may be answered.

        :raises UnavailableError: it is not taken.
        """

    async def deliver(self, delivery: Delivery) -> Any:
        """Take a delivery and wait until it is safe: ``submit`` in an event loop."""

    def check(self) -> None:
        """Let pass while deliveries can be taken.

        :raises UnavailableError: they cannot.
        """

    def observe(self) -> None:
        """Say in the metrics what waits."""

    def over(self, buckets: Sequence[str]) -> list[str]:
        """Return those of some buckets, past their time, whose key nothing here needs any more."""

    def adopt(self, bundle: Bundle) -> None:
        """Work under these policies."""

    def close(self) -> None:
        """End; what was taken stays taken."""


class Direct:
    """The writer of this process: an answer means committed."""

    def __init__(self, writer: Writer) -> None:
        self.submit = writer.submit
        self.deliver = writer.deliver

    def check(self) -> None:
        """Nothing stands between a delivery and the store."""

    def observe(self) -> None:
        """Nothing waits elsewhere than in the writer."""

    def over(self, buckets: Sequence[str]) -> list[str]:
        """Return all of them."""
        return list(buckets)

    def adopt(self, bundle: Bundle) -> None:
        """It knows no policies."""

    def close(self) -> None:
        """It holds nothing."""
