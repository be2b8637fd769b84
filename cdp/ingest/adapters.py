"""adapt: messages of another form → Segment messages, or rejects (``adapter_failure``).

One adapter a form, and nothing else knows the forms. What an adapter makes bears the message that was sent
(``Message.origin``): whatever fails later, that is what quarantine keeps, and a replay adapts it again. Its
message ids are the same every time, so what was taken before counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import structlog

from cdp.ingest.imports import Imports, from_row
from cdp.ingest.model import Delivery, Indexed, Message, Reject
from cdp.ingest.sources import from_cloudevent

log = structlog.get_logger()
CLOUDEVENT = "cloudevent"
_IMPORT = "import:"
Adapter = Callable[[Message], list[Message | Reject]]
"""What a message is made into: at least one, unless its mapping leaves it out."""


def import_form(import_no: int) -> str:
    """Return the form of the rows of an import."""
    return f"{_IMPORT}{import_no}"


class Adapters:
    """Knows the adapter of each form.

    :param imports: know how the rows of each import are read.
    """

    def __init__(self, imports: Imports) -> None:
        self._imports = imports

    def __call__(
        self,
        delivery: Delivery,
        messages: Iterable[Message],
        prepare: Callable[[Message], Indexed | Reject],
    ) -> Iterator[Indexed | Reject]:
        """Yield what messages of a delivery of another form become.

        :param prepare: makes what a Segment message becomes.
        """
        made = self._made(delivery, messages)
        return _one_reject_each(one if isinstance(one, Reject) else prepare(one) for one in made)

    def _made(self, delivery: Delivery, messages: Iterable[Message]) -> Iterator[Message | Reject]:
        adapt = self._of(delivery)
        for message in messages:
            try:
                yield from adapt(message)
            except Exception as error:  # noqa: BLE001  # a poison event must not harm its neighbours
                name = type(error).__name__
                log.warning("an adapter failed", error=name)
                yield Reject(message, "unexpected", f"the adapter failed on it: {name}")

    def _of(self, delivery: Delivery) -> Adapter:
        if delivery.form == CLOUDEVENT:
            return from_cloudevent
        number = int(delivery.form.removeprefix(_IMPORT))
        return partial(from_row, self._imports.mapping(number, replayed=delivery.replayed_at is not None))


def _one_reject_each(items: Iterable[Indexed | Reject]) -> Iterator[Indexed | Reject]:
    """Yield items, of each message that was sent one reject, which is enough to have it replayed.

    Another one comes only for what it says to restrain somebody.
    """
    failed: Message | None = None
    for item in items:
        if isinstance(item, Reject):
            sent = item.message.origin or item.message
            if sent is failed and item.heard is None:
                continue
            failed = sent
        yield item
