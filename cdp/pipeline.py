"""The flow of an event, on one screen.

decode → validate → classify → index             pure, outside any transaction
       → resolve → consent → protect → append    one transaction per micro-batch

Invariants: a call is answered after its micro-batch committed, or refused with nothing half done; a
message counts once; one bad event goes to quarantine with its cause and its neighbours land; nothing
clear and personal passes ``protect``. The batch's audit leaf says how many events became what, and
commits to the proof secrets of the identities made in it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence

import msgspec
import structlog
from prometheus_client import Counter

from cdp.access import Source
from cdp.audit import Entry
from cdp.audit import root as merkle_root
from cdp.clock import Clock
from cdp.consent import ConsentLedger, Statement
from cdp.crypto import Keyring
from cdp.identity import IdentityService, Resolved
from cdp.ingest import (
    Classifier,
    Delivery,
    EventKeys,
    Indexed,
    Keeper,
    Message,
    Protector,
    Quarantine,
    Reject,
    Validator,
    add_events,
)
from cdp.profiles import add_observations
from cdp.recovery import Recovery
from cdp.statements import StatementRecorder
from cdp.store import Committer, EpochMovedError, retrying

log = structlog.get_logger()
_EVENTS = Counter("cdp_ingest_events", "Events received, by what became of them", ["outcome"])
_REBUILD_PAGE = 1000
_REPLAY_PAGE = 500


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one micro-batch: received = stored + duplicates + quarantined + suppressed.

    :param suppressed: dropped, because they name somebody who was erased and may not come back, or who
        refused their collection (``policies/intake.yaml``).
    :param records: event id → the consent records made of what it said, whom it names first.
    """

    commit_no: int
    received: int
    stored: int
    duplicates: int
    quarantined: int
    suppressed: int = 0
    records: dict[bytes, tuple[int, ...]] = {}

    def plus(self, later: Outcome) -> Outcome:
        """Return both together, standing where the later one was committed."""
        return Outcome(
            commit_no=later.commit_no,
            received=self.received + later.received,
            stored=self.stored + later.stored,
            duplicates=self.duplicates + later.duplicates,
            quarantined=self.quarantined + later.quarantined,
            suppressed=self.suppressed + later.suppressed,
            records={**self.records, **later.records},
        )


class Prepared(msgspec.Struct, frozen=True):
    """Deliveries after the pure stages.

    :param generation: under which policies, as the pipeline counts them; others make it stale.
    """

    events: list[Indexed]
    rejects: list[Reject]
    generation: int = 0

    @property
    def size(self) -> int:
        """The number of messages it was made from."""
        return len(self.events) + len(self.rejects)

    @staticmethod
    def of(parts: Iterable[Prepared]) -> Prepared:
        """Return several as one."""
        held = list(parts)
        events = [event for part in held for event in part.events]
        rejects = [reject for part in held for reject in part.rejects]
        return Prepared(events, rejects, min((part.generation for part in held), default=0))

    def __repr__(self) -> str:
        return f"<prepared {len(self.events)} events, {len(self.rejects)} rejects>"


class Pipeline:
    """The stages in their order."""

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        validator: Validator,
        classifier: Classifier,
        keeper: Keeper,
        keys: EventKeys,
        identity: IdentityService,
        ledger: ConsentLedger,
        recovery: Recovery,
        quarantine: Quarantine,
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._generation = -1
        self.adopt(validator, classifier, keeper)
        self._event_keys = keys
        self._identity = identity
        self._ledger = ledger
        self._recovery = recovery
        self._statements = StatementRecorder(committer, keyring, identity, ledger, recovery, clock)
        self._quarantine = quarantine
        self._protect = Protector(keyring)
        self._one = threading.Lock()
        self._clock = clock

    def adopt(self, validator: Validator, classifier: Classifier, keeper: Keeper) -> None:
        """Judge and cut events by these; what was prepared before is prepared again before it is stored."""
        self._validate = validator
        self._classify = classifier
        self._keeper = keeper
        self._generation += 1

    # -- pure -----------------------------------------------------------------------------------

    def prepare(self, deliveries: Iterable[Delivery]) -> Prepared:
        """Run decode, validate, classify and index."""
        generation = self._generation
        events: list[Indexed] = []
        rejects: list[Reject] = []
        for delivery in deliveries:
            for raw in delivery.messages:
                prepared = self._prepare_one(Message(delivery, raw))
                if isinstance(prepared, Reject):
                    rejects.append(prepared)
                else:
                    events.append(prepared)
        return Prepared(events, rejects, generation)

    def _prepared_now(self, prepared: Prepared) -> Prepared:
        """Return what was prepared under other policies as those of now prepare it."""
        generation = self._generation
        if prepared.generation == generation:
            return prepared
        again = [self._prepare_one(item.classified.event.message) for item in prepared.events]
        events = [item for item in again if isinstance(item, Indexed)]
        rejects = [item for item in again if isinstance(item, Reject)]
        return Prepared(events, [*prepared.rejects, *rejects], generation)

    def _prepare_one(self, message: Message) -> Indexed | Reject:
        try:
            event = self._validate(message)
            if isinstance(event, Reject):
                return event
            return Indexed(self._classify(event), self._identity.index(event.identifiers))
        except Exception as error:  # noqa: BLE001  # a poison event must not harm its neighbours
            log.warning("event failed", error=type(error).__name__)
            return Reject(message, "unexpected", f"the platform failed on it: {type(error).__name__}")

    def event_id(self, source: Source, message_id: str) -> bytes:
        """Return the id of the event that a source sends under ``message_id``."""
        return self._validate.event_id(source.source_id, message_id)

    # -- one transaction ------------------------------------------------------------------------

    def store(self, prepared: Prepared) -> Outcome:
        """Run resolve, protect and append, and commit.

        :raises StoreError: nothing of it is stored.
        """
        with self._one:  # the writer and a replay share the reserved numbers
            return retrying(lambda: self._store(self._prepared_now(prepared)))

    def _store(self, prepared: Prepared) -> Outcome:
        self._identity.reserve(sum(len(item.indexes) for item in prepared.events))
        if prepared.rejects:
            self._quarantine.prepare()
        with self._committer.batch() as batch:
            if self._generation != prepared.generation:
                raise EpochMovedError  # other policies came in force: prepare it under those
            self._keyring.observe_epoch(batch.epoch)
            self._identity.observe_epoch(batch.epoch)
            new = self._event_keys.fresh(batch, prepared.events)
            erased = self._recovery.suppressed(batch.connection, new)
            fresh = [item for place, item in enumerate(new) if place not in erased] if erased else new
            fresh = self._statements.turn_away(batch.connection, fresh, self._keeper)
            resolved = self._identity.resolve(batch, fresh)
            said = self._statements.append(batch, fresh, resolved)
            kept = self._statements.keep(batch.connection, fresh, resolved, self._keeper)
            owned = [(item.classified, resolved.identity_of[item.indexes[0]]) for item in kept]
            event_rows, trait_rows = self._protect(owned, batch.id)
            add_events(batch.connection, event_rows)
            add_observations(batch.connection, trait_rows)
            self._quarantine.add(batch, prepared.rejects)
            counts = {
                "stored": len(kept),
                "duplicates": len(prepared.events) - len(new),
                "quarantined": len(prepared.rejects),
                "suppressed": len(new) - len(kept),
            }
            batch.record(self._leaf(resolved, counts | said.counts))
        for outcome, count in counts.items():
            _EVENTS.labels(outcome).inc(count)
        received = len(prepared.events) + len(prepared.rejects)
        return Outcome(commit_no=batch.commit_no, received=received, **counts, records=said.records)

    def record_act(
        self, identity_no: int, statements: Sequence[Statement], *, actor: str = "system"
    ) -> list[int]:
        """Record what the person behind an identity said, where no identifier in clear is at hand.

        It counts as an act of that identity, verified by whoever hands it over: a grant attaches to it, a
        restraint to it and everybody then in its profile.

        :param statements: each with its purpose, state, time, method and evidence.
        :param actor: who recorded it, for the audit log.
        :returns: the new records, those of this identity first; none when nothing was news.
        :raises NotFoundError: there is no such identity.
        """
        with self._one:
            return self._statements.record(identity_no, statements, actor)

    def _leaf(self, resolved: Resolved, counts: dict[str, int]) -> Entry:
        secrets = self._keyring.proof_secrets(resolved.created)
        commitments = [hashlib.sha256(secrets[number]).digest() for number in sorted(secrets)]
        return Entry(
            action="ingest.batch",
            actor="system",
            object={"proof_commitments": merkle_root(commitments).hex()},
            counts=counts,
            people={"identities": len(resolved.created)},
        )

    # -- what is derived ------------------------------------------------------------------------

    def rebuild_consent(self, actor: str) -> int:
        """Derive the consent states of everybody who has a record anew.

        When other policies come in force meanwhile it begins again: states are marked as derived only when
        all of them were derived under the same purposes.

        :returns: the number of identities with a record.
        """
        while True:
            under = self._ledger.derivation
            count = after = 0
            while page := self._rebuilt_page(after):
                count, after = count + len(page), page[-1]
            with self._committer.batch() as batch:
                if self._ledger.derivation == under:
                    self._ledger.mark_derived(batch)
                    batch.record(Entry(action="consent.rebuild", actor=actor, counts={"identities": count}))
                    return count

    def _rebuilt_page(self, after: int) -> list[int]:
        return retrying(lambda: self._rebuild_page(after))

    def _rebuild_page(self, after: int) -> list[int]:
        with self._committer.batch() as batch:
            page = self._ledger.speakers(batch.connection, after, _REBUILD_PAGE)
            held = self._identity.lock(batch.connection, page)
            members = self._identity.consent_members(batch.connection, {held[number][0] for number in page})
            self._ledger.refresh(batch, members, ())
            return page

    def settle_consent(self) -> None:
        """Derive consent states anew when they were derived under other purposes than those of now.

        Call it before anything is served: a permission under old policies is no permission.
        """
        with self._committer.store.reading() as connection:
            current = self._ledger.is_derived(connection)
        if not current:
            self.rebuild_consent("system")

    # -- quarantine -----------------------------------------------------------------------------

    def replay(self, actor: str, sources: dict[int, Source], kind: str = "") -> Outcome:
        """Send quarantined messages through the pipeline again, keeping their message ids and times.

        What fails again stays in quarantine under its new cause.
        """
        done = Outcome(commit_no=0, received=0, stored=0, duplicates=0, quarantined=0)
        after = 0
        while taken := self._quarantine.take(_REPLAY_PAGE, after, kind, sources):
            after = taken[-1][0].quarantine_id
            known = [(item.quarantine_id, delivery) for item, delivery in taken if delivery is not None]
            prepared = self.prepare(delivery for _, delivery in known)
            failing = {id(reject.message.delivery) for reject in prepared.rejects}
            outcome = self.store(Prepared(prepared.events, []))
            passed = [number for number, delivery in known if id(delivery) not in failing]
            with self._committer.batch() as batch:
                self._quarantine.mark_replayed(batch, passed)
                batch.record(Entry(action="quarantine.replay", actor=actor, counts={"replayed": len(passed)}))
            again = msgspec.structs.replace(outcome, received=len(known), quarantined=len(failing))
            done = done.plus(again)
        return done
