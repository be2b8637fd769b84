"""A consent that somebody told us, by API or by a confirmation link: into the pipeline, and what came of it.

Steps: make the one message that it is → refuse it, with nothing stored, when it is no event or could be held
to nobody → submit it → answer what the ledger holds now. It goes the way of every event, so the same rules
decide whose it is.

Invariant: nobody is told that a consent is recorded unless the ledger holds it.
"""

from __future__ import annotations

import msgspec

from cdp.access import Source
from cdp.clock import Micros, rfc3339
from cdp.consent import Statement
from cdp.errors import UnavailableError
from cdp.ingest import Delivery, Unheard
from cdp.pipeline import Pipeline
from cdp.worker import Writer

API_SOURCE = Source(source_id=0, name="api", kind="server", enabled=True)
"""The source of what officers record by API key."""
_WAIT_SECONDS = 60.0


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """A consent that was told.

    :param event: name of the event that it is stored as.
    :param message_id: the same for the same word: it counts once.
    :param identifiers: (type, value) of whom it is about.
    :param stamped_at: when it was said; None for a time that nobody told, which is when it was received.
    :param signature: proves a browser's user id; None where none was sent.
    :param sec_gpc: it came with ``Sec-GPC: 1``.
    """

    source: Source
    event: str
    message_id: str
    identifiers: tuple[tuple[str, str], ...]
    statement: Statement
    received_at: Micros
    stamped_at: Micros | None = None
    signature: str | None = None
    sec_gpc: bool = False

    def __repr__(self) -> str:
        return f"<word on {self.statement.purpose}>"

    def delivery(self) -> Delivery:
        """Return it as the pipeline takes it."""
        message: dict[str, object] = {"type": "track", "event": self.event, "messageId": self.message_id}
        if self.stamped_at is not None:
            message["timestamp"] = rfc3339(self.stamped_at)
        if self.signature is not None:
            message["context"] = {"userIdSignature": self.signature}
        return Delivery(
            source=self.source,
            messages=(msgspec.json.encode(message),),
            received_at=self.received_at,
            identifiers=self.identifiers,
            statements=(self.statement,),
            sec_gpc=self.sec_gpc,
        )


class Taken(msgspec.Struct, frozen=True):
    """What came of a word.

    :param unheard: why nothing was taken of it; None when the ledger holds it.
    :param proven: everybody whom it names is known to be there; whoever told another's may not learn from
        ``unheard`` that somebody was erased.
    :param records: those made of it, of whom it names first; none when it was no news.
    """

    unheard: Unheard | None
    proven: bool
    records: tuple[int, ...] = ()


class ConsentIntake:
    """Takes what people tell."""

    def __init__(self, writer: Writer, pipeline: Pipeline) -> None:
        self._writer = writer
        self._pipeline = pipeline

    def take(self, word: Word) -> Taken:
        """Record a word and wait for its commit.

        :raises InvalidInputError: it is no event, or could be held to nobody; nothing is stored.
        :raises UnavailableError: it could not be stored and lies in quarantine, or the server is behind.
        """
        delivery = word.delivery()
        proven = self._pipeline.weigh(delivery)
        try:
            outcome = self._writer.submit(delivery).result(_WAIT_SECONDS)
        except TimeoutError:
            raise UnavailableError(
                "the consent is not recorded yet: the server is behind; tell it again"
            ) from None
        event_id = self._pipeline.event_id(word.source, word.message_id)
        if event_id in outcome.records:
            return Taken(None, proven, outcome.records[event_id])
        if event_id in outcome.unheard:
            return Taken(outcome.unheard[event_id], proven)
        raise UnavailableError(
            "the consent is not recorded: the platform failed on it, and it lies in quarantine, from where "
            "a steward replays it"
        )
