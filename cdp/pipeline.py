"""The flow of an event, on one screen.

decode → validate → inspect → classify → index   outside any transaction, writing nothing
       → resolve → consent → protect → append    one transaction per micro-batch

Invariants: a call is answered after its micro-batch committed, or refused with nothing half done; a message
counts once; one bad event goes to quarantine with its cause and its neighbours land; so does one of a person
whose key is lost; what either restrains is on record; nothing clear and personal passes ``protect``. What
became of events is counted in the transaction (``ingest/tally.py``) and in its audit leaf, which commits to
the proof secrets of identities made in it. A message of the quarantine is claimed and stored in one.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import structlog
from prometheus_client import Counter as Metric

from cdp.access import Source
from cdp.audit import Entry
from cdp.audit import root as merkle_root
from cdp.consent import ConsentLedger
from cdp.crypto import Keyring
from cdp.errors import CdpError, InvalidInputError, RefusedValueError
from cdp.identity import IdentityService, Resolved
from cdp.ingest import (
    Classifier,
    Delivery,
    EventKeys,
    Indexed,
    Keeper,
    Outcome,
    Prepared,
    Preparer,
    Protector,
    Quarantine,
    Reject,
    Replay,
    Replayed,
    Tally,
    UnsealableError,
    Validator,
    Wanted,
    add_events,
    refusals,
    unheard,
    weigh,
)
from cdp.profiles import add_observations
from cdp.recovery import Recovery
from cdp.segments import Lists
from cdp.statements import Cut, StatementRecorder
from cdp.store import Batch, Committer, EpochMovedError, retrying

__all__ = ["Outcome", "Pipeline"]
log = structlog.get_logger()
_REFUSED = Metric(
    "cdp_ingest_refused_events", "Events cut for people who refused, by what was done", ["done", "purpose"]
)
_SET_ASIDE = Metric(
    "cdp_identity_set_aside",
    "Pairs of identifiers that the rules of policies/identity.yaml keep apart, by the rule and its type",
    ["reason", "type"],
)
_GROWN = Metric("cdp_identity_alarms", "Profiles that events made as large as the growth alarm")
_CUT = {"strip": "stripped", "drop": "dropped"}
_REPLAY_PAGE = 500
_REPLAY_MOST = 10_000
_KEY_LOST = (
    "the key of the person it is about is lost or altered; replay it once the key database was restored from "
    "its backup"
)
_NOBODY = (
    "a browser's word grants for a device, or for the user whose id is signed: name an identifier of the "
    "device, or send `user_id_signature`"
)


class Pipeline:
    """The stages in their order."""

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        preparer: Preparer,
        keeper: Keeper,
        keys: EventKeys,
        identity: IdentityService,
        ledger: ConsentLedger,
        lists: Lists,
        recovery: Recovery,
        quarantine: Quarantine,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._preparer = preparer
        self._keeper = keeper
        self._event_keys = keys
        self._identity = identity
        self._ledger = ledger
        self._lists = lists
        self._recovery = recovery
        self._statements = StatementRecorder(identity, ledger, recovery)
        self._quarantine = quarantine
        self._protect = Protector(keyring)
        self._one = threading.Lock()

    def adopt(self, validator: Validator, classifier: Classifier, keeper: Keeper) -> None:
        """Judge and cut events by these; what was prepared before is prepared again before it is stored."""
        self._keeper = keeper
        self._preparer.adopt(validator, classifier)

    # -- outside any transaction ----------------------------------------------------------------

    def prepare(self, deliveries: Iterable[Delivery], replay: Replay | None = None) -> Prepared:
        """Run the stages that write nothing (``ingest/prepare.py``).

        :param replay: of messages of the quarantine, which come alone.
        """
        return self._preparer(deliveries, replay)

    @property
    def generation(self) -> int:
        """How often other policies came in force."""
        return self._preparer.generation

    @property
    def policies(self) -> str:
        """The SHA-256 of the bundle that events are judged by; never older than ``generation`` before it."""
        return self._preparer.policies

    def weigh(self, delivery: Delivery) -> bool:
        """Return whether everybody named in a consent that is told is known to be there. Stores nothing.

        :raises InvalidInputError: it is no event, or could be held to nobody.
        """
        prepared = self.prepare([delivery])
        for reject in prepared.rejects:
            if reject.reason != "unexpected":  # our own failure goes to quarantine
                raise InvalidInputError(reject.cause)
        if not all(self._statements.binds(item) for item in prepared.events):
            raise InvalidInputError(_NOBODY)
        return all(self._statements.proves(item) for item in prepared.events)

    def event_id(self, source: Source, message_id: str) -> bytes:
        """Return the id of the event that a source sends under ``message_id``."""
        return self._preparer.event_id(source.source_id, message_id)

    # -- one transaction ------------------------------------------------------------------------

    def store(self, prepared: Prepared) -> Outcome:
        """Run resolve, protect and append, and commit; an event that cannot be stored goes to quarantine.

        :raises StoreError: nothing of it is stored.
        """
        with self._one:  # the writer and a replay share the reserved numbers
            return self._isolated(self._preparer.again(prepared))

    def _isolated(self, prepared: Prepared) -> Outcome:
        """Store it; where an event makes that fail, cut the batch in halves until that event is alone."""
        try:
            return retrying(lambda: self._store(self._preparer.again(prepared)))
        except UnsealableError as error:
            log.warning("the keys of some people are lost", events=len(error.event_ids))
            return self._isolated(self._preparer.again(prepared).without(error.event_ids))
        except Exception as error:
            ours = isinstance(error, CdpError) and not isinstance(error, RefusedValueError)
            if ours or not (prepared.events or prepared.words):
                raise
            log.warning("a batch failed and is cut", error=type(error).__name__, events=len(prepared.events))
            return self._cut(prepared, type(error).__name__)

    def _cut(self, prepared: Prepared, error: str) -> Outcome:
        events = prepared.events
        if not events:  # what is left is words
            return self._isolated(prepared.deaf())
        if len(events) == 1:
            event = events[0].classified.event
            cause = self._preparer.heard(
                Reject(event.message, "unexpected", f"the store failed on it: {error}")
            )
            failed = msgspec.structs.replace(prepared, events=[], rejects=[*prepared.rejects, cause])
            return self._isolated(failed)
        middle = len(events) // 2
        first = self._isolated(prepared.part(events[:middle], [], [], last=False))
        rest = prepared.part(events[middle:], prepared.rejects, prepared.unsealable)
        whole = first.plus(self._isolated(rest))
        if prepared.replay is None:
            weigh(prepared.received.total(), whole.counts)  # of however many transactions
        return whole

    def _store(self, prepared: Prepared) -> Outcome:
        replay = prepared.replay
        named = (*prepared.events, *prepared.unsealable, *prepared.words)
        self._identity.reserve(sum(len(item.indexes) for item in named))
        if prepared.rejects or prepared.unsealable:
            self._quarantine.prepare()
        with self._committer.batch() as batch:
            if self._preparer.generation != prepared.generation:
                raise EpochMovedError  # other policies came in force: prepare it under those
            with batch.trial(undo=replay is not None and replay.dry):
                done = self._write(batch, prepared)
            if prepared.note is not None:
                prepared.note(batch, done.tally.counts, True)  # the last, unless ``_cut`` says otherwise
            if replay is not None:
                batch.record(_replayed(replay, done.tally.counts))
        if replay is None or not replay.dry:
            done.publish()
        return msgspec.structs.replace(done.outcome, commit_no=batch.commit_no)

    def _write(self, batch: Batch, prepared: Prepared) -> _Done:
        self._keyring.observe_epoch(batch.epoch)
        self._identity.observe_epoch(batch.epoch)
        if prepared.replay is not None:
            prepared = self._claimed(batch, prepared)
        heard = [word for item in prepared.unsealable if (word := refusals(item))]
        lost = (Reject(item.classified.event.message, "key_lost", _KEY_LOST) for item in prepared.unsealable)
        prepared, rejects = prepared.once_each([reject.as_sent for reject in (*prepared.rejects, *lost)])
        erased = self._recovery.suppressed(batch, prepared.events)
        living = prepared.events
        if erased:
            living = [item for place, item in enumerate(living) if place not in erased]
        new = self._event_keys.fresh(batch, living)
        cut: Cut = Cut()
        fresh = self._statements.turn_away(batch.connection, new, self._keeper, cut)
        speaking = [*fresh, *heard, *self._fresh_words(batch, prepared.words)]
        resolved = self._identity.resolve(batch, speaking)
        self._lists.arrived(batch, resolved)
        said = self._statements.append(batch, speaking, resolved)
        kept = self._statements.keep(batch.connection, fresh, resolved, self._keeper, cut)
        known = resolved.identity_of
        owned = [(item.classified, [known[index] for index in item.indexes]) for item in kept]
        event_rows, trait_rows = self._protect(owned, batch.id)
        add_events(batch.connection, event_rows)
        add_observations(batch.connection, trait_rows)
        first, again = self._event_keys.fresh_rejects(batch, rejects) if rejects else ([], [])
        tally = Tally(
            prepared,
            stored=len(event_rows),
            duplicates=len(living) - len(new) + len(again),
            quarantined=self._quarantine.add(batch, first),
            refused=sum(not reject.kept for reject in first),
            suppressed=len(erased) + sum(count for (done, _), count in cut.items() if done == "drop"),
        )
        tally.write(batch, living, new, kept, first, again)
        refused = {f"{_CUT[done]}.{purpose}": count for (done, purpose), count in cut.items()}
        batch.record(self._leaf(resolved, tally.counts | said.counts | refused))
        outcome = Outcome(
            commit_no=0,
            received=prepared.received.total(),
            **tally.counts,
            records=said.records,
            unheard=unheard(prepared.events, erased, new),
            failed=Counter(reject.reason for reject in rejects if reject.kept),
        )
        return _Done(outcome, tally, cut, resolved)

    def _claimed(self, batch: Batch, prepared: Prepared) -> Prepared:
        """Return those messages that nobody took out of quarantine meanwhile, claimed in this batch."""
        rows = (message.delivery.row for message in prepared.messages)
        held = self._quarantine.claim(batch, (row for row in rows if row is not None))
        events, unsealable = (
            [item for item in items if item.classified.event.message.delivery.row in held]
            for items in (prepared.events, prepared.unsealable)
        )
        rejects = [reject for reject in prepared.rejects if reject.message.delivery.row in held]
        return prepared.part(events, rejects, unsealable)

    def _fresh_words(self, batch: Batch, words: Sequence[Indexed]) -> list[Indexed]:
        """Return words that restrain, without what was heard before and who was erased."""
        erased = self._recovery.suppressed(batch, words)
        living = [word for place, word in enumerate(words) if place not in erased]
        return self._event_keys.fresh(batch, living) if living else []

    def _leaf(self, resolved: Resolved, counts: dict[str, int]) -> Entry:
        secrets = self._keyring.proof_secrets(resolved.created)
        commitments = [hashlib.sha256(secrets[number]).digest() for number in sorted(secrets)]
        return Entry(
            action="ingest.batch",
            actor="system",
            object={"proof_commitments": merkle_root(commitments).hex()},
            counts=counts,
            people={
                "identities": len(resolved.created),
                **{f"set_aside.{reason}": count for reason, count in resolved.set_aside.items()},
            },
        )

    # -- quarantine -----------------------------------------------------------------------------

    def replay(
        self,
        replay: Replay,
        sources: Mapping[int, Source],
        wanted: Wanted,
        *,
        after: int = 0,
        most: int = _REPLAY_MOST,
    ) -> Replayed:
        """Send quarantined messages through the pipeline again, keeping their message ids and times.

        What fails again stays in quarantine, with its new cause. Each page is one transaction, so whoever is
        interrupted goes on wherever they like; nothing is replayed twice.

        :param after: only rows above this number; ``most``: look at so many.
        """
        done = Outcome(commit_no=0, received=0, stored=0, duplicates=0, quarantined=0)
        unreadable = 0
        while most > 0 and (taken := self._quarantine.take(min(_REPLAY_PAGE, most), after, wanted, sources)):
            after, most = taken[-1][0].quarantine_id, most - len(taken)
            known = [delivery for _, delivery in taken if delivery is not None]
            unreadable += len(taken) - len(known)
            done = done.plus(self.store(self.prepare(known, replay)))
        return Replayed(done, unreadable, None if most > 0 else after)


class _Done(msgspec.Struct, frozen=True):
    """What was written in one transaction, to be shown when it has committed."""

    outcome: Outcome
    tally: Tally
    cut: Cut
    resolved: Resolved

    def publish(self) -> None:
        """Count it in the metrics."""
        self.tally.publish()
        for (done, purpose), count in self.cut.items():
            _REFUSED.labels(_CUT[done], purpose).inc(count)
        for reason, count in self.resolved.set_aside.items():
            rule, _, kind = reason.partition(":")
            _SET_ASIDE.labels(rule, kind).inc(count)
        _GROWN.inc(self.resolved.grown)


def _replayed(replay: Replay, counts: dict[str, int]) -> Entry:
    about: dict[str, str | int] = {"dry_run": 1} if replay.dry else {}
    return Entry(action="quarantine.replay", actor=replay.actor, object=about, counts=counts)
