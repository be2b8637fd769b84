"""The outbox: what destinations are told of recalls, kept until they acknowledge it.

1. ``issue`` turns recalls into messages of at most 250 people, sealed each under a bucket key of its own, and
   stores them in the transaction that takes those people out of the deliveries.
2. A message waits (``queued``) to be sent to the endpoint or to be read (``waiting``); ``sent`` says that the
   endpoint took it, ``acknowledged`` that the destination has done what it says.
3. Not acknowledged by its deadline it is *late*, which is shown until it is acknowledged.
4. Acknowledged, or 30 days old, its key is destroyed and its payload deleted: then nobody can say any more of
   whom it told.

Invariants: a message says profile_ref and reason, no field; it is stored sealed; only what the gate released
goes in; an id is never used twice, and a repeated attempt has the same one.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

import msgspec
import structlog
from prometheus_client import Gauge

from cdp.access import Principal
from cdp.audit import Entry
from cdp.clock import DAY, SECOND, Clock, Micros, rfc3339
from cdp.crypto import Keyring, Place, open_sealed, seal
from cdp.errors import NotFoundError
from cdp.export import queries
from cdp.export.model import Message, MessageCount
from cdp.export.names import segment_id
from cdp.gate import Gate, Recall, Released
from cdp.policy import Bundle
from cdp.store import Batch, Committer, Connection, Store, chunks, retrying

log = structlog.get_logger()
_PEOPLE = 250  # of one message: below the 20 kB that Standard Webhooks advises
_KEPT = 30 * DAY
_HOUR = 3600 * SECOND
_HOURS = 24  # for a destination that the policies do not name any more
_AT_ONCE = 1000
_MESSAGES = Gauge("cdp_recall_messages", "Recall messages by state", ["destination", "state"])
_LATE = Gauge("cdp_recall_messages_late", "Recall messages not acknowledged in time", ["destination"])


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A message as its destination reads it.

    :param body: what the endpoint is sent: ``{"type","timestamp","data"}``.
    """

    id: str
    state: str
    late: bool
    body: msgspec.Raw


Sent = tuple[Message, Mapping[int, Released]]
"""A message, and the people whom it names by their anchors."""


class Outbox:
    """Recalls on their way.

    ``on_issue`` is called with the messages of a recall in the batch that stores them.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        keyring: Keyring,
        gate: Gate,
        policy: Callable[[Connection], Bundle],
        clock: Clock,
    ) -> None:
        self._store = store
        self._committer = committer
        self._keyring = keyring
        self._gate = gate
        self._policy = policy
        self._clock = clock
        self._turn = threading.Lock()
        self.on_issue: list[Callable[[Batch, Sequence[Sent]], None]] = []
        self._prefix = Place(keyring.workspace, "outbox", "payload").prefix()

    # -- in -------------------------------------------------------------------------------------

    def issue(self) -> int:
        """Issue what is due; returns of how many people.

        An audience of which that fails stops no other; it is taken again at the next turn.
        """
        people = 0
        with self._turn:
            self._gate.deliveries.settle_abandoned()
            for audience in self._gate.recalls.due():
                try:
                    people += self._issue(audience, "system")
                except Exception as error:  # noqa: BLE001  # one audience's failure is not another's
                    log.warning("recalling failed", error=type(error).__name__)
        return people

    def recall_everything(self, actor: str, destination: str) -> int:
        """Recall all that a destination holds: an officer's decision; returns of how many people."""
        return self._issue(self._gate.recalls.of_everything(destination), actor)

    def correct(self, identity_nos: Collection[int], fields: frozenset[str]) -> int:
        """Tell whoever was given some fields of people that they have other values now; returns how many."""
        return self._issue(self._gate.recalls.of_corrected(identity_nos, fields), "system")

    def materialise_removals(self, batch: Batch, identity_nos: Iterable[int]) -> int:
        """Store the recalls of people whose keys this batch is about to destroy; returns how many messages.

        The references in them cannot be made again; only the key of their message opens them.
        """
        made = 0
        for recall in self._gate.recalls.of_erased(batch, identity_nos):
            sealed = self._sealed(recall, self._within(batch.connection, recall.audience.destination))
            refs = {
                anchor: (self._seal_ref(message.message_id, anchor, released), message.message_id)
                for message, people in sealed
                for anchor, released in people.items()
                if message.kind == "recall.remove"
            }
            self._store_recall(batch, recall, sealed, "system", refs)
            made += len(sealed)
        return made

    def _issue(self, recalls: Iterable[Recall], actor: str) -> int:
        people = 0
        for recall in recalls:
            with self._store.reading() as connection:
                within = self._within(connection, recall.audience.destination)
            retrying(partial(self._commit, recall, self._sealed(recall, within), actor))
            people += len(recall.removals) + len(recall.corrections)
        return people

    def _commit(self, recall: Recall, sent: Sequence[Sent], actor: str) -> None:
        with self._committer.batch() as batch:
            self._store_recall(batch, recall, sent, actor, {})

    def _store_recall(
        self,
        batch: Batch,
        recall: Recall,
        sent: Sequence[Sent],
        actor: str,
        refs: Mapping[int, tuple[bytes, str]],
    ) -> None:
        self._gate.recalls.settle(batch, recall, refs)
        queries.add_messages(batch.connection, batch.id, [message for message, _ in sent])
        for listener in self.on_issue:
            listener(batch, sent)
        audience = recall.audience
        batch.record(
            Entry(
                action="recall.issue",
                actor=actor,
                purpose=audience.purpose,
                destination=audience.destination,
                object={"segment": audience.segment, "reason": recall.reason},
                counts={"messages": len(sent)},
                people={
                    "removed": len(recall.removals),
                    "corrected": len(recall.corrections),
                    "lost": len(recall.lost),
                },
                subjects=(*recall.removals, *recall.corrections),
            )
        )

    def _within(self, connection: Connection, destination: str) -> Micros:
        found = self._policy(connection).destinations.get(destination)
        return (_HOURS if found is None else found.recall_within_hours) * _HOUR

    def _sealed(self, recall: Recall, within: Micros) -> list[tuple[Message, dict[int, Released]]]:
        """Return the messages of a recall with the people of each; their keys are committed."""
        parts = (
            ("recall.remove", "removals", recall.removals),
            ("recall.correct", "corrections", recall.corrections),
        )
        return [
            (self._message(recall, kind, name, dict(chunk), within), dict(chunk))
            for kind, name, people in parts
            for chunk in chunks(people.items(), _PEOPLE)
        ]

    def _message(
        self, recall: Recall, kind: str, name: str, people: Mapping[int, Released], within: Micros
    ) -> Message:
        message_id, now, audience = "msg_" + secrets.token_hex(16), self._clock.now(), recall.audience
        body = msgspec.json.encode(
            {
                "type": kind,
                "timestamp": rfc3339(now),
                "data": {
                    "destination": audience.destination,
                    "purpose": audience.purpose,
                    "segment": segment_id(self._keyring, audience.segment),
                    "deadline": rfc3339(now + within),
                    name: [_said(released) for released in people.values()],
                },
            }
        )
        key = self._keyring.bucket(_bucket(message_id))
        return msgspec.convert(
            {
                "message_id": message_id,
                "destination": audience.destination,
                "purpose": audience.purpose,
                "segment": audience.segment,
                "kind": kind,
                "people": len(people),
                "payload": seal(key, self._prefix, message_id.encode(), 0, body),
                "state": "queued",
                "created_at": now,
                "deadline": now + within,
                "expires_at": now + max(within, _KEPT),
                "attempts": 0,
                "next_attempt_at": now,
            },
            Message,
            builtin_types=(bytes,),
        )

    def _seal_ref(self, message_id: str, anchor: int, released: Released) -> bytes:
        key = self._keyring.bucket(_bucket(message_id))
        return seal(key, self._prefix, anchor.to_bytes(8), 0, released.profile_ref.encode())

    # -- out ------------------------------------------------------------------------------------

    def opened(self, message: Message) -> bytes:
        """Return the body of a message that still has one.

        :raises KeyAccessError: its key is destroyed.
        """
        key = self._keyring.bucket(_bucket(message.message_id))
        return open_sealed(key, self._prefix, message.message_id.encode(), 0, message.payload or b"")

    def opened_ref(self, message_id: str, anchor: int, sealed: bytes) -> str:
        """Return the reference of somebody erased, as long as their message lives.

        :raises KeyAccessError: its key is destroyed.
        """
        key = self._keyring.bucket(_bucket(message_id))
        return open_sealed(key, self._prefix, anchor.to_bytes(8), 0, sealed).decode()

    def waiting(self, principal: Principal, *, after: str, limit: int) -> list[Waiting]:
        """Return the messages that a destination has not acknowledged, by id; reading them is recorded."""
        now = self._clock.now()
        with self._store.reading() as connection:
            found = queries.waiting(connection, principal.destination, after, limit)
        answer = [
            Waiting(
                id=message.message_id,
                state=message.state,
                late=message.deadline < now,
                body=msgspec.Raw(self.opened(message)),
            )
            for message in found
        ]
        if answer:
            self._record(principal, "recall.read", found)
        return answer

    def acknowledge(self, principal: Principal, message_ids: Collection[str]) -> int:
        """Record that a destination has done what messages say; returns how many were new.

        The keys go first: what is acknowledged is over, also when the commit has to be repeated.

        :raises NotFoundError: one of them is no message to this destination; nothing is acknowledged.
        """

        def work() -> int:
            with self._committer.batch() as batch:
                found = queries.lock_messages(batch.connection, principal.destination, message_ids)
                if len(found) != len(set(message_ids)):
                    raise NotFoundError("one of the ids is no message to this destination")
                fresh = [message for message in found if message.state != "acknowledged"]
                ids = [message.message_id for message in fresh]
                if ids:
                    self._keyring.destroy_buckets([_bucket(message_id) for message_id in ids])
                    queries.mark_acknowledged(batch.connection, ids, self._clock.now())
                    self._gate.recalls.forget(batch, ids)
                    batch.record(_entry(principal, "recall.acknowledge", fresh))
                return len(ids)

        return retrying(work)

    def expire(self) -> None:
        """Destroy what has been kept for its time, acknowledged or not."""
        with self._store.reading() as connection:
            over = queries.expired(connection, self._clock.now(), _AT_ONCE)
        if not over:
            return
        self._keyring.destroy_buckets([_bucket(message_id) for message_id in over])

        def work() -> None:
            with self._committer.batch() as batch:
                queries.expire(batch.connection, over)
                self._gate.recalls.forget(batch, over)
                batch.record(Entry(action="recall.expire", actor="system", counts={"messages": len(over)}))

        retrying(work)

    def end_again(self) -> int:
        """Let messages be over that a backup brought back without their keys; returns how many.

        Their keys were destroyed since, because they were acknowledged or their time was over: nobody can
        read them, and one alone would stop its destination from reading any.
        """
        with self._store.reading() as connection:
            waiting = queries.waiting_ids(connection)
        gone = self._keyring.destroyed_buckets(map(_bucket, waiting))
        over = [message_id for message_id in waiting if _bucket(message_id) in gone]
        for chunk in chunks(over, _AT_ONCE):
            with self._committer.batch() as batch:
                queries.mark_acknowledged(batch.connection, chunk, self._clock.now())
                self._gate.recalls.forget(batch, chunk)
                batch.record(Entry(action="recall.expire", actor="system", counts={"messages": len(chunk)}))
        return len(over)

    def counts(self, destination: str | None = None) -> list[MessageCount]:
        """Return how many messages there are, by destination, state and lateness."""
        with self._store.reading() as connection:
            return queries.count_messages(connection, self._clock.now(), destination)

    def observe(self) -> None:
        """Bring the figures that ``/metrics`` shows up to date."""
        _MESSAGES.clear()
        _LATE.clear()
        for one in self.counts():
            _MESSAGES.labels(one.destination, one.state).inc(one.messages)
            if one.late:
                _LATE.labels(one.destination).inc(one.messages)

    def _record(self, principal: Principal, action: str, messages: Sequence[Message]) -> None:
        with self._committer.batch() as batch:
            batch.record(_entry(principal, action, messages))


def _bucket(message_id: str) -> str:
    return f"outbox/{message_id}"


def _said(released: Released) -> dict[str, str]:
    reason = {"reason": str(released.values[0])} if released.values else {}
    return {"profile_ref": released.profile_ref, **reason}


def _entry(principal: Principal, action: str, messages: Sequence[Message]) -> Entry:
    return Entry(
        action=action,
        actor=principal.actor,
        destination=principal.destination,
        counts={"messages": len(messages)},
        people={"people": sum(message.people for message in messages)},
    )
