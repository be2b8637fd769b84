"""prepare: deliveries → what a transaction stores; reads no event and writes nothing.

decode → adapt (other forms) → validate → inspect → classify → index

Invariants: one bad message becomes a reject with its cause, and its neighbours are prepared; what it
restrains is heard all the same. Policies that come in force make what was prepared before stale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import msgspec
import structlog

from cdp.ingest.adapters import Adapters
from cdp.ingest.classify import Classifier
from cdp.ingest.model import (
    Classified,
    Delivery,
    Event,
    Indexed,
    Message,
    Prepared,
    Reject,
    Replay,
    Sender,
)
from cdp.ingest.validate import Validator

log = structlog.get_logger()


class Preparer:
    """The stages in their order.

    :param index: gives an event its blind indexes.
    :param inspect: counts its shape, and holds it against the plan of its source.
    :param adapters: None where no messages of other forms come.
    :ivar generation: how often other policies came in force.
    """

    def __init__(
        self,
        validator: Validator,
        classifier: Classifier,
        index: Callable[[Classified], Indexed],
        inspect: Callable[[Event], Event | Reject],
        adapters: Adapters | None = None,
    ) -> None:
        self.generation = -1
        self.adopt(validator, classifier)
        self._index = index
        self._inspect = inspect
        self._adapters = adapters

    def adopt(self, validator: Validator, classifier: Classifier) -> None:
        """Judge and cut events by these from now on."""
        self._validate = validator
        self._classify = classifier
        self.generation += 1

    @property
    def policies(self) -> str:
        """The SHA-256 of the bundle that events are judged by.

        Where ``generation`` is looked at first, it is never newer than this.
        """
        return self._validate.policies

    def event_id(self, source_id: int, message_id: str) -> bytes:
        """Return the id of the event that a source sends under ``message_id``."""
        return self._validate.event_id(source_id, message_id)

    def __call__(self, deliveries: Iterable[Delivery], replay: Replay | None = None) -> Prepared:
        """Run the stages.

        :param replay: of messages of the quarantine, which come alone.
        """
        generation = self.generation
        events: list[Indexed] = []
        rejects: list[Reject] = []
        received: Counter[Sender] = Counter()
        for delivery in deliveries:
            items = list(self._adapted(delivery, delivery.each()))
            received[delivery.sender] += len(items) if delivery.form else len(delivery.messages)
            events += [item for item in items if isinstance(item, Indexed)]
            rejects += [item for item in items if isinstance(item, Reject)]
        return Prepared(events, rejects, generation, received=received, replay=replay)

    def _adapted(self, delivery: Delivery, messages: Iterable[Message]) -> Iterator[Indexed | Reject]:
        """Yield what becomes of messages of a delivery, which may be of another form."""
        one = self._one
        if delivery.form and self._adapters is not None:
            return self._adapters(delivery, messages, one)
        return map(one, messages)

    def again(self, prepared: Prepared) -> Prepared:
        """Return what was prepared under other policies as those of now prepare it."""
        generation = self.generation
        if prepared.generation == generation:
            return prepared
        held = [item.classified.event.message for item in (*prepared.events, *prepared.unsealable)]
        again = [item for message in held for item in self._adapted(message.delivery, [message])]
        events = [item for item in again if isinstance(item, Indexed)]
        rejects = [item for item in again if isinstance(item, Reject)]
        return prepared.anew(events, [*prepared.rejects, *rejects], generation)

    def _one(self, message: Message) -> Indexed | Reject:
        try:
            event = self._validate(message)
            if isinstance(event, Event):
                event = self._inspect(event)
            if isinstance(event, Reject):
                return self.heard(event)
            return self._indexed(self._classify(event))
        except Exception as error:  # noqa: BLE001  # a poison event must not harm its neighbours
            log.warning("event failed", error=type(error).__name__)
            cause = f"the platform failed on it: {type(error).__name__}"
            return self.heard(Reject(message, "unexpected", cause))

    def heard(self, reject: Reject) -> Reject:
        """Return a reject with what it restrains, which counts although its message is no event."""
        try:
            event = self._validate.restraints(reject.message)
            if event is not None:
                said = self._indexed(Classified(event, None, None, ()))
                return msgspec.structs.replace(reject, heard=said)
        except Exception as error:  # noqa: BLE001  # a poison event must not harm its neighbours
            log.warning("what an event restrains could not be read", error=type(error).__name__)
        return reject

    def _indexed(self, classified: Classified) -> Indexed:
        """Return an event with its blind indexes, and with what it restrains of others."""
        item = self._index(classified)
        if not classified.event.also:
            return item
        words = (Classified(word, None, None, ()) for word in self._validate.words(classified.event))
        return msgspec.structs.replace(item, also=tuple(map(self._index, words)))
