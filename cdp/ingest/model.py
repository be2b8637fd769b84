"""The records between the stages of the pipeline, one per boundary.

``Delivery`` —decode→ ``Message`` —validate→ ``Event`` | ``Reject`` —classify→ ``Classified``
—index→ ``Indexed``; from there identity and protection take over (``cdp/pipeline.py``).

Everything here may hold clear personal data and lives in memory only: no record prints its content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from secrets import randbits
from typing import Any, Literal

import msgspec

from cdp.access import Source
from cdp.clock import DAY, Micros
from cdp.consent import Statement
from cdp.store import Batch

EventType = Literal["identify", "track", "page", "screen", "group", "alias"]
RejectKind = Literal[
    "tracker_protocol_violation",
    "adapter_failure",  # what an adapter of a format cannot turn into an event
    "schema_violation",  # it does not fit the tracking plan of its source
    "size_violation",
    "enrichment_failure",  # a stage of ours could not do its part
    "generic_error",
]
"""What failed, in the words of Snowplow's failed events."""
RejectReason = Literal[
    "malformed",  # not a JSON object, or a field of the wrong type
    "unknown_type",
    "no_identifier",
    "bad_identifier",
    "bad_name",
    "timestamp_out_of_range",
    "adapter_failure",
    "schema_violation",
    "size_violation",
    "key_lost",  # the key of the person it is about is not there, or does not open
    "unexpected",  # our own failure on this one event
]
KIND_OF: dict[RejectReason, RejectKind] = {
    "malformed": "tracker_protocol_violation",
    "unknown_type": "tracker_protocol_violation",
    "no_identifier": "tracker_protocol_violation",
    "bad_identifier": "tracker_protocol_violation",
    "bad_name": "tracker_protocol_violation",
    "timestamp_out_of_range": "tracker_protocol_violation",
    "adapter_failure": "adapter_failure",
    "schema_violation": "schema_violation",
    "size_violation": "size_violation",
    "key_lost": "enrichment_failure",
    "unexpected": "generic_error",
}
"""Which kind each reason is of; a new reason goes here and needs nothing else."""


Sender = tuple[int, int]
"""(number of a source, day of receipt since 1970)."""


class _Silent(msgspec.Struct, frozen=True, gc=False):
    """A record that never prints what it holds; none is part of a cycle, so none is tracked."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Delivery(_Silent, frozen=True, kw_only=True, gc=False):
    """One call of a source: the raw messages and what goes for all of them.

    :param messages: each message's own JSON bytes.
    :param type: the event type that the path implies; empty for a batch.
    :param sent_at: the batch's ``sentAt`` as the client wrote it.
    :param context: the batch's ``context``, merged under each message's own.
    :param statements: consent statements of the consent API, instead of those in the messages.
    :param identifiers: (type, value) pairs of the consent API, instead of those in the messages.
    :param sec_gpc: the request carried the Global Privacy Control (``Sec-GPC: 1``).
    :param address: where the call came from, for events of browsers and those that say ``context.direct``.
    :param replayed_at: when it was taken out of quarantine, for a message that lay there.
    :param row: the number of its row there.
    :param form: in what form its messages are; empty for Segment's, else an adapter makes those of them
        (``adapters.py``).
    :param nonce: 63 bits drawn at receipt. Its messages are numbered from it, which tells those without an
        id of their own apart, and stays theirs through retries, quarantine and replay.
    :param nonces: the number of each message of a part of a delivery, ascending; empty for a whole one.
    """

    source: Source
    messages: tuple[bytes, ...]
    received_at: Micros
    type: str = ""
    sent_at: Any = None
    context: Any = None
    statements: tuple[Statement, ...] = ()
    identifiers: tuple[tuple[str, str], ...] = ()
    sec_gpc: bool = False
    address: str = ""
    replayed_at: Micros | None = None
    row: int | None = None
    form: str = ""
    nonce: int = msgspec.field(default_factory=lambda: randbits(63))
    nonces: tuple[int, ...] = ()

    def each(self) -> list[Message]:
        """Return its messages one by one."""
        if self.nonces:
            return [Message(self, raw, nonce) for raw, nonce in zip(self.messages, self.nonces, strict=True)]
        return [Message(self, raw, nonce) for nonce, raw in enumerate(self.messages, self.nonce)]

    def part(self, places: Sequence[int]) -> Delivery:
        """Return it with the messages at these places alone, ascending, each numbered as it was."""
        each = self.each()
        return msgspec.structs.replace(
            self,
            messages=tuple(each[place].raw for place in places),
            nonces=tuple(each[place].nonce for place in places),
        )

    @property
    def sender(self) -> Sender:
        """Whose it is, and of which day, where events are counted."""
        return self.source.source_id, self.received_at // DAY

    @property
    def landed_at(self) -> Micros:
        """When its word counts from: a message that lay in quarantine says nothing about the past."""
        return self.received_at if self.replayed_at is None else self.replayed_at


class Message(_Silent, frozen=True, gc=False):
    """One message on its own.

    :param nonce: below 2⁶⁴; what tells it from the same bytes received at another time or place.
    :param origin: the message of another form that it was made from, which is what quarantine keeps.
    """

    delivery: Delivery
    raw: bytes
    nonce: int
    origin: Message | None = None


class Reject(_Silent, frozen=True, gc=False):
    """A message that cannot become an event; goes to quarantine with its cause.

    :param reason: why, in one word; its kind follows from it.
    :param cause: names fields, types and limits, never a value.
    :param heard: what it says that restrains somebody whom it names, which counts all the same.
    :param kept: False for one that its source is not to send: it is counted as refused, and kept nowhere.
    """

    message: Message
    reason: RejectReason
    cause: str
    heard: Indexed | None = None
    kept: bool = True

    @property
    def kind(self) -> RejectKind:
        """What failed, as quarantine names it."""
        return KIND_OF[self.reason]

    @property
    def as_sent(self) -> Reject:
        """It with the message that was sent, where an adapter made another of that."""
        sent = self.message.origin
        return self if sent is None else msgspec.structs.replace(self, message=sent)


class Event(_Silent, frozen=True, kw_only=True, gc=False):
    """A valid event.

    :param event_id: 16 bytes, keyed hash of source and message id; without one, see ``Validator``.
    :param day: day number of the raw client timestamp (−1 when it had none), for de-duplication.
    :param identifiers: (type, normalised value), highest priority first, at least one.
    :param occurred_at: corrected for clock skew; ``stamped_at`` is the client's own.
    :param rest: what belongs to no other field and is sealed with the event.
    :param signed: whether the signature of its user id is right; None where none was looked at: it
        counts only for what a browser says about consent.
    :param earlier: (place in ``identifiers``, another value that the version of the normaliser before made of
        the same text).
    :param unnamed: types of identifiers of which it gives a value that names nobody (``recognise.py``).
    :param also: (type, value) of whom it restrains beside those it names; each is a word of its own.
    """

    message: Message
    event_id: bytes
    day: int
    type: EventType
    name: str
    identifiers: tuple[tuple[str, str], ...]
    occurred_at: Micros
    stamped_at: Micros
    properties: dict[str, Any]
    traits: dict[str, Any]
    context: dict[str, Any]
    rest: dict[str, Any]
    statements: tuple[Statement, ...]
    signed: bool | None = None
    earlier: tuple[tuple[int, str], ...] = ()
    unnamed: frozenset[str] = frozenset()
    also: tuple[tuple[str, str], ...] = ()

    @property
    def source(self) -> Source:
        """Who sent it."""
        return self.message.delivery.source

    @property
    def received_at(self) -> Micros:
        """When it arrived."""
        return self.message.delivery.received_at

    @property
    def landed_at(self) -> Micros:
        """When its word counts from (see ``Delivery``)."""
        return self.message.delivery.landed_at


class Trait(_Silent, frozen=True, gc=False):
    """One observed trait: JSON of its value, to be stored in clear or sealed.

    :param of: the identifier type whose value it is, or validates; empty for what tells of the person.
    """

    name: str
    value: bytes
    clear: bool
    of: str = ""


class Classified(_Silent, frozen=True, gc=False):
    """An event cut into what may stay clear and what must be sealed.

    :param clear: JSON of declared, clear properties, None when there are none.
    :param sealed: JSON of all the rest, None when nothing is left.
    """

    event: Event
    clear: bytes | None
    sealed: bytes | None
    traits: tuple[Trait, ...]


class Indexed(_Silent, frozen=True, gc=False):
    """A classified event with the blind index of each identifier, in the same order.

    :param earlier: (place, blind index of an earlier value), as ``Event.earlier``.
    :param also: what it restrains of others (``Event.also``), so that nothing links them to it.
    """

    classified: Classified
    indexes: tuple[bytes, ...]
    earlier: tuple[tuple[int, bytes], ...] = ()
    also: tuple[Indexed, ...] = ()


class Replay(msgspec.Struct, frozen=True):
    """Who has messages of the quarantine go through again.

    :param dry: only to see what would become of them: nothing is stored.
    """

    actor: str
    dry: bool = False


Note = Callable[[Batch, Mapping[str, int], bool], None]
"""(batch, what became of how many of its events, whether these are the last ones) → nothing."""


class Prepared(msgspec.Struct, frozen=True):
    """Deliveries after the pure stages.

    :param generation: under which policies, as the pipeline counts them; others make it stale.
    :param unsealable: events for the quarantine: the keys of their people are lost.
    :param received: how many messages it was made from, by sender, as they arrived.
    :param replay: for messages of the quarantine; they come alone.
    :param note: told, in the transaction that stores it, what became of how many.
    """

    events: list[Indexed]
    rejects: list[Reject]
    generation: int = 0
    unsealable: list[Indexed] = []
    received: Counter[Sender] = msgspec.field(default_factory=Counter)
    replay: Replay | None = None
    note: Note | None = None

    @property
    def messages(self) -> list[Message]:
        """The messages that are in it."""
        found = [item.classified.event.message for part in (self.events, self.unsealable) for item in part]
        return found + [reject.message for reject in self.rejects]

    @property
    def size(self) -> int:
        """The number of messages it was made from."""
        return len(self.events) + len(self.rejects)

    @property
    def earlier_note(self) -> Note | None:
        """Its note for a part that is stored before the rest."""
        note = self.note
        return None if note is None else lambda batch, counts, _: note(batch, counts, False)

    @property
    def words(self) -> list[Indexed]:
        """What is said to restrain somebody and is no event: by rejects, and by events of others."""
        heard = [reject.heard for reject in self.rejects if reject.heard is not None]
        return heard + [
            word for item in (*heard, *self.events, *self.unsealable) if item.also for word in item.also
        ]

    def part(
        self,
        events: list[Indexed],
        rejects: list[Reject],
        unsealable: list[Indexed],
        *,
        last: bool = True,
    ) -> Prepared:
        """Return a part of it, of which the last is stored last."""
        note = self.note if last else self.earlier_note
        found = Prepared(events, rejects, self.generation, unsealable, replay=self.replay, note=note)
        return msgspec.structs.replace(found, received=senders(found.messages))

    def anew(self, events: list[Indexed], rejects: list[Reject], generation: int) -> Prepared:
        """Return it as other policies have it."""
        return msgspec.structs.replace(
            self, events=events, rejects=rejects, generation=generation, unsealable=[]
        )

    def once_each(self, rejects: list[Reject]) -> tuple[Prepared, list[Reject]]:
        """Return it and these rejects, in a replay one of each row: of it several messages may be made."""
        if self.replay is None:
            return self, rejects
        once = list({reject.message.delivery.row: reject for reject in reversed(rejects)}.values())[::-1]
        messages = [*(item.classified.event.message for item in self.events), *(one.message for one in once)]
        return msgspec.structs.replace(self, received=senders(messages)), once

    def deaf(self) -> Prepared:
        """Return it without its words, for a store that fails on them."""
        rejects = [msgspec.structs.replace(reject, heard=None) for reject in self.rejects]
        events, unsealable = (
            [msgspec.structs.replace(item, also=()) for item in items]
            for items in (self.events, self.unsealable)
        )
        return msgspec.structs.replace(self, events=events, rejects=rejects, unsealable=unsealable)

    @staticmethod
    def of(parts: Iterable[Prepared]) -> Prepared:
        """Return several as one."""
        held = list(parts)
        events = [event for part in held for event in part.events]
        rejects = [reject for part in held for reject in part.rejects]
        received: Counter[Sender] = Counter()
        for part in held:
            received.update(part.received)
        generation = min((part.generation for part in held), default=0)
        return Prepared(events, rejects, generation, received=received)

    def without(self, event_ids: Container[bytes]) -> Prepared:
        """Return it with these events set aside as unsealable."""
        lost = [item for item in self.events if item.classified.event.event_id in event_ids]
        kept = [item for item in self.events if item.classified.event.event_id not in event_ids]
        return msgspec.structs.replace(self, events=kept, unsealable=[*self.unsealable, *lost])

    def __repr__(self) -> str:
        return f"<prepared {len(self.events)} events, {len(self.rejects)} rejects>"


def senders(messages: Iterable[Message]) -> Counter[Sender]:
    """Return of how many messages each source is the sender, by day of receipt."""
    return Counter(message.delivery.sender for message in messages)
