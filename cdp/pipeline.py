"""The flow of an event, on one screen.

decode → validate → classify → index          pure, outside any transaction
       → resolve → protect → append           one transaction per micro-batch

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

from cdp.access import Source
from cdp.audit import Entry
from cdp.audit import root as merkle_root
from cdp.clock import Clock
from cdp.consent import ConsentLedger, Draft
from cdp.crypto import Keyring
from cdp.identity import IdentityService, Resolved
from cdp.ingest import (
    Classifier,
    Delivery,
    EventKeys,
    Indexed,
    Message,
    Protector,
    Quarantine,
    Reject,
    Validator,
    add_events,
)
from cdp.profiles import add_observations
from cdp.store import Batch, Committer, retrying

log = structlog.get_logger()
_REBUILD_PAGE = 1000
_REPLAY_PAGE = 500


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one micro-batch: received = stored + duplicates + quarantined."""

    commit_no: int
    received: int
    stored: int
    duplicates: int
    quarantined: int

    def plus(self, later: Outcome) -> Outcome:
        """Return both together, standing where the later one was committed."""
        return Outcome(
            commit_no=later.commit_no,
            received=self.received + later.received,
            stored=self.stored + later.stored,
            duplicates=self.duplicates + later.duplicates,
            quarantined=self.quarantined + later.quarantined,
        )


class Prepared(msgspec.Struct, frozen=True):
    """Deliveries after the pure stages."""

    events: list[Indexed]
    rejects: list[Reject]

    @property
    def size(self) -> int:
        """The number of messages it was made from."""
        return len(self.events) + len(self.rejects)

    @staticmethod
    def of(parts: Iterable[Prepared]) -> Prepared:
        """Return several as one."""
        held = list(parts)
        events = [event for part in held for event in part.events]
        return Prepared(events, [reject for part in held for reject in part.rejects])

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
        keys: EventKeys,
        identity: IdentityService,
        ledger: ConsentLedger,
        quarantine: Quarantine,
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._validate = validator
        self._classify = classifier
        self._event_keys = keys
        self._identity = identity
        self._ledger = ledger
        self._quarantine = quarantine
        self._protect = Protector(keyring)
        self._one = threading.Lock()
        self._clock = clock

    # -- pure -----------------------------------------------------------------------------------

    def prepare(self, deliveries: Iterable[Delivery]) -> Prepared:
        """Run decode, validate, classify and index."""
        events: list[Indexed] = []
        rejects: list[Reject] = []
        for delivery in deliveries:
            for raw in delivery.messages:
                prepared = self._prepare_one(Message(delivery, raw))
                if isinstance(prepared, Reject):
                    rejects.append(prepared)
                else:
                    events.append(prepared)
        return Prepared(events, rejects)

    def _prepare_one(self, message: Message) -> Indexed | Reject:
        try:
            event = self._validate(message)
            if isinstance(event, Reject):
                return event
            return Indexed(self._classify(event), self._identity.index(event.identifiers))
        except Exception as error:  # noqa: BLE001  # a poison event must not harm its neighbours
            log.warning("event failed", error=type(error).__name__)
            return Reject(message, "unexpected", f"the platform failed on it: {type(error).__name__}")

    # -- one transaction ------------------------------------------------------------------------

    def store(self, prepared: Prepared) -> Outcome:
        """Run resolve, protect and append, and commit.

        :raises StoreError: nothing of it is stored.
        """
        with self._one:  # the writer and a replay share the reserved numbers
            return retrying(lambda: self._store(prepared))

    def _store(self, prepared: Prepared) -> Outcome:
        self._identity.reserve(sum(len(item.indexes) for item in prepared.events))
        if prepared.rejects:
            self._quarantine.prepare()
        with self._committer.batch() as batch:
            if self._keyring.observe_epoch(batch.epoch):
                self._identity.forget()
            fresh = self._event_keys.fresh(batch, prepared.events)
            resolved = self._identity.resolve(batch, fresh)
            owned = [(item.classified, resolved.identity_of[item.indexes[0]]) for item in fresh]
            event_rows, trait_rows = self._protect(owned, batch.id)
            add_events(batch.connection, event_rows)
            add_observations(batch.connection, trait_rows)
            self._consent(batch, fresh, resolved)
            self._quarantine.add(batch, prepared.rejects)
            counts = {
                "stored": len(fresh),
                "duplicates": len(prepared.events) - len(fresh),
                "quarantined": len(prepared.rejects),
            }
            batch.record(self._leaf(resolved, counts))
        received = len(prepared.events) + len(prepared.rejects)
        return Outcome(commit_no=batch.commit_no, received=received, **counts)

    def _consent(self, batch: Batch, fresh: Sequence[Indexed], resolved: Resolved) -> None:
        """Append what was said about consent, and derive the states of every profile it touches."""
        drafts = [self._draft(item, resolved) for item in fresh if item.classified.event.statements]
        speaking = {number for draft in drafts for number in draft.named}
        touched = self._identity.profiles_of(batch.connection, speaking)
        relinked = set(resolved.changed).difference(resolved.created)
        affected = relinked | set(touched.values())
        if not affected and not resolved.gone:
            return
        members = self._identity.consent_members(batch.connection, affected)
        spoken = self._ledger.append(batch, drafts, members, touched) if drafts else frozenset()
        again = {profile_no: members[profile_no] for profile_no in relinked | spoken}
        self._ledger.refresh(batch, again, resolved.gone)

    def _draft(self, item: Indexed, resolved: Resolved) -> Draft:
        event = item.classified.event
        named = tuple(resolved.identity_of[index] for index in item.indexes)
        verified = event.source.kind != "browser"
        kinds = [kind for kind, _ in event.identifiers]
        person = next((n for n, kind in zip(named, kinds, strict=True) if not self._device(kind)), None)
        device = next((n for n, kind in zip(named, kinds, strict=True) if self._device(kind)), None)
        # Consent rule 3 and 4: an unverified word binds the device, and no person at all without one.
        authenticated = person if verified and person is not None else device
        return Draft(
            statements=event.statements,
            named=named,
            authenticated=authenticated,
            received_at=event.landed_at,
            source_id=event.source.source_id,
            source_kind=event.source.kind,
            verified=verified,
        )

    def _device(self, kind: str) -> bool:
        rule = self._identity.rules.of(kind)
        return rule is not None and rule.device

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

        :returns: the number of identities with a record.
        """
        count = after = 0
        while page := self._rebuilt_page(after):
            count, after = count + len(page), page[-1]
        with self._committer.batch() as batch:
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
