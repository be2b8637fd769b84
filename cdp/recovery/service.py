"""Replays the journal into a database that came out of a backup, and keeps out who was erased.

A database is in order, or restored: then nothing is served and nothing is sent until ``replay`` has run,
at the start of whichever process comes first. Its steps can be repeated, so one that was interrupted is
simply run again:

1. Read the whole journal and check it: every line, every segment that another one names, and the positions
   that the backup noted. What is missing or altered stops here.
2. Numbers go on above every block that was journalled and every identity that has a key, and what will be
   journalled goes on behind all that was. Each feed begins anew: its readers are further than the backup.
3. Find the identities behind the tags, by the tags of all that the database knows.
4. Erase again who was erased (``erase.py``). Who is unknown gets a tombstone. Whom the backup itself holds
   as erased may have got a key back with older keys: it is destroyed again. An identity that was made after
   its identifier was erased is somebody's who came (back) since, and stays.
5. Take apart again whom a steward took apart (``apart.py``). Append the consent records that are missing,
   under their own ids and times; those of unknown people wait in ``pending_restraints``. Derive the states of
   everybody concerned.
6. Put out of use again what was (``installation.py``), black lists included; there, too, unknown people wait.
7. Mark the database as in order, with the counts in the audit log.

Afterwards ``KeptApart.arrived`` and ``returned`` apply what waits when somebody it is about comes back,
before and after their links are decided, and ``suppressed`` drops events that name an erased person; all
cost nothing while there is nothing to apply.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import msgspec
import structlog

from cdp.audit import Entry
from cdp.clock import SECOND, Clock, Micros, random_id
from cdp.consent import ConsentLedger, Record
from cdp.crypto import Keyring
from cdp.errors import IntegrityError, JournalError, NotRecoveredError
from cdp.identity import IdentityService, Resolved, created_at
from cdp.ingest import Event, Indexed
from cdp.journal import Consent, Fact, Journal, Listed, Readmission
from cdp.recovery import queries
from cdp.recovery.apart import KeptApart
from cdp.recovery.erase import Eraser
from cdp.recovery.installation import Installation
from cdp.recovery.model import Replayed, Restored, State
from cdp.recovery.said import COUNTER, Said
from cdp.store import INSTANT, Batch, Committer, Connection, chunks, retrying

log = structlog.get_logger()
_PAGE = 500
_SKEW = 3600 * SECOND  # of hosts' clocks: who came back so soon is erased again by a restore
_waiting = msgspec.json.Decoder(Consent).decode
_FIELDS = tuple(name for name in Consent.__struct_fields__ if name != "tag")


class Recovery:
    """The gatekeeper of a restored database."""

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        journal: Journal,
        ledger: ConsentLedger,
        identity: IdentityService,
        installation: Installation,
        kept_apart: KeptApart,
        eraser: Eraser,
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._journal = journal
        self._ledger = ledger
        self._identity = identity
        self._installation = installation
        self._kept_apart = kept_apart
        identity.on_arrival = kept_apart.arrived
        self.eraser = eraser
        self._clock = clock
        self._state = State(ready=False, reason="the server is starting")
        self._pending = False
        self._tombstones = False
        self._epoch = -1
        self._then: Callable[[], None] | None = None
        self.done = Replayed()

    # -- serve or not ---------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Whether the platform may serve, as this process knows it."""
        return self._state

    @property
    def pending(self) -> bool:
        """Whether anything waits for somebody who is not known yet."""
        return self._pending or self._kept_apart.waiting

    def check(self) -> None:
        """Let pass, or refuse because the database is not in order.

        :raises NotRecoveredError: it came out of a backup and its journal is not replayed.
        """
        if not self._state.ready and not self._look():
            raise NotRecoveredError(self._state.reason)

    def when_ready(self, then: Callable[[], None]) -> None:
        """Call ``then`` once the platform may serve: now, or after the replay."""
        if self._state.ready:
            then()
        else:
            self._then = then

    def settle(self) -> None:
        """Find out at the start whether the database is in order, and replay the journal where it is not.

        A replay that cannot be done leaves it as it is, with the reason: nothing is served.
        """
        if self._look():
            self._begin()
            return
        try:
            self.replay("system")
        except (IntegrityError, JournalError) as error:
            self._state = State(ready=False, reason=f"restored, but not served: {error.message}")
            log.warning("the database came out of a backup and is not served", reason=error.message)

    def _begin(self) -> None:
        """Begin a journal where there is none; where there was one, that is on record and in the log."""
        if self._journal.segments():
            return
        below = self._committer.journalled(COUNTER)
        self._journal.begin()
        if below:
            self._journal.numbers(COUNTER, below)
            log.warning("the journal is gone and begun anew; backups made before now need the old one")
            with self._committer.batch() as batch:
                batch.record(Entry(action="recovery.journal_begun_anew", actor="system"))

    def _look(self) -> bool:
        """Read the state; another process may have replayed meanwhile."""
        with self._committer.store.reading() as connection:
            ready, _ = queries.read_state(connection)
            if ready:
                self._pending = queries.any_pending(connection)
                self._tombstones = queries.any_tombstone(connection)
                self._kept_apart.look(connection)
                self._state = State(ready=True)
        if ready and self._then is not None:
            then, self._then = self._then, None
            then()
        return ready

    # -- replay ---------------------------------------------------------------------------------

    def replay(self, actor: str, *, without_journal: bool = False, reason: str = "") -> Replayed:
        """Run the seven steps.

        :param without_journal: nothing is replayed: who withdrew or was erased after the backup is back.
            An officer decides that, and it is on record.
        :param reason: a code: why without.
        :raises IntegrityError: the journal is not whole.
        :raises JournalError: there is none, or it cannot be read.
        """
        with self._committer.store.reading() as connection:
            ready, restored = queries.read_state(connection)
        if ready:
            return Replayed()
        self.eraser.resume()
        if without_journal:
            done = Replayed(without_journal=True)
            self._committer.skip(COUNTER, self._keyring.highest_identity() + 1)
            log.warning("a restored database is put in order without its journal")
        else:
            done = self._replay(restored)
        done = msgspec.structs.replace(done, erased=done.erased + self.eraser.destroy_again())
        self._installation.settle_deliveries()
        with self._committer.batch() as batch:
            ready, _ = queries.read_state(batch.connection, locked=True)
            queries.write_state(batch.connection, restored, ready=True)
            if not ready:
                batch.record(self._leaf(actor, restored, done, reason))
        self._begin()
        self.done = done
        if done.erased:
            self.eraser.scrub()
        self._look()
        return done

    def _replay(self, restored: Restored) -> Replayed:
        if not self._journal.segments():
            raise JournalError(
                f"the journal in {self._journal.folder} is missing; put it back, or let an officer run "
                "`cdp restore --without-journal`"
            )
        said = Said.of(self._journal.lines(restored.journal))  # 1
        self._committer.skip(COUNTER, max(said.below, self._keyring.highest_identity() + 1))  # 2
        self._committer.skip(INSTANT, said.latest)
        with self._committer.store.reading() as connection:  # 3
            number_of = {
                tag: number
                for index, number in queries.blind_indexes(connection)
                if (tag := self._journal.tag(index)) in said.tags
            }
            again = self._brought_back(connection, said, number_of)
        dead = {line.tag: line.at for line in said.dead}
        with self._committer.batch() as batch:  # 4
            tombstones = queries.add_tombstones(batch.connection, list(dead.items()))
        for numbers in chunks(sorted(again), _PAGE):
            one = self.eraser.bind_again(f"restore/{random_id()}", numbers)
            self.eraser.advance(one.erasure_id)
        number_of = {tag: number for tag, number in number_of.items() if number not in again}
        apart, pending = self._kept_apart.replay(said.apart, number_of, dead)  # 5
        appended = listed = 0
        spoken = (line for line in self._journal.lines() if isinstance(line, Consent))
        for page in chunks((line for line in spoken if line.received_at > dead.get(line.tag, 0)), _PAGE):
            new, waiting = retrying(partial(self._append, page, number_of))
            appended, pending = appended + new, pending + waiting
        black = (line for line in said.listed.values() if line.on and line.tag not in dead)
        for chunk in chunks(black, _PAGE):  # 6
            new, waiting = retrying(partial(self._list, chunk, number_of))
            listed, pending = listed + new, pending + waiting
        return Replayed(
            lines=said.lines,
            appended=appended,
            pending=pending,
            erased=len(again),
            tombstones=tombstones,
            apart=apart,
            listed=listed,
            ended=self._installation.end_again(said),
        )

    def _append(self, page: Sequence[Consent], number_of: Mapping[str, int]) -> tuple[int, int]:
        """Append what is known and lacking of one page of lines; returns how many, and how many wait."""
        with self._committer.batch() as batch:
            known = [line for line in page if line.tag in number_of]
            unknown = [line for line in page if line.tag not in number_of]
            records = {line.record_id: _record(line, number_of[line.tag]) for line in known}
            new = self._restore(batch, list(records.values()))
            waiting = [
                (line.tag, line.record_id, msgspec.json.encode(line))
                for line in unknown
                if not line.recipients  # a stamp has nothing to narrow there
            ]
            return new, queries.add_pending(batch.connection, waiting)

    def _list(self, page: Sequence[Listed], number_of: Mapping[str, int]) -> tuple[int, int]:
        """Put the people of one page of lines on their black lists; returns how many, and how many wait."""
        with self._committer.batch() as batch:
            return self._installation.black_list(batch, page, number_of)

    def _restore(self, batch: Batch, records: Sequence[Record]) -> int:
        """Append what is lacking of ``records``, and derive the states of whom it is about."""
        if not records:
            return 0
        held = self._identity.lock(batch.connection, {record.identity_no for record in records})
        lacking = self._ledger.restore(batch, records)
        concerned = {held[record.identity_no][0] for record in lacking}
        self._ledger.refresh(batch, self._identity.consent_members(batch.connection, concerned), ())
        return len(lacking)

    @staticmethod
    def _brought_back(connection: Connection, said: Said, number_of: Mapping[str, int]) -> set[int]:
        """Return whom the backup brought back."""
        at = {number_of[line.tag]: line.at for line in said.dead if line.tag in number_of}
        made = created_at(connection, at)
        return {number for number, when in made.items() if when <= at[number] + _SKEW}

    def _leaf(self, actor: str, restored: Restored, done: Replayed, reason: str) -> Entry:
        counts = {"lines": done.lines, "appended": done.appended, "pending": done.pending}
        counts["ended"] = done.ended
        people = {"erased": done.erased, "tombstones": done.tombstones, "listed": done.listed}
        people["apart"] = done.apart
        said: dict[str, str | int] = {
            "backup": restored.backup,
            "without_journal": int(done.without_journal),
            "reason": reason,
        }
        return Entry(action="recovery.replay", actor=actor, object=said, counts=counts, people=people)

    # -- afterwards -----------------------------------------------------------------------------

    def suppressed(self, batch: Batch, events: Sequence[Indexed]) -> frozenset[int]:
        """Return the places in ``events`` of those that name an erased person; they must not be stored.

        Only what identifies a person counts: a device that was erased may be in other hands. Where policies
        say so, what somebody does after their erasure begins anew; what is old, undated or told by others
        later never does.
        """
        if batch.epoch != self._epoch:
            self._tombstones, self._epoch = queries.any_tombstone(batch.connection), batch.epoch
        if not self._tombstones or not events:
            return frozenset()
        named = [self._identity.person_indexes(item) for item in events]
        tag_of = {index: self._journal.tag(index) for indexes in named for index in indexes}
        dead = queries.tombstones_of(batch.connection, set(tag_of.values()))
        if not dead:
            return frozenset()
        returning = self.eraser.rule().live_events == "begin_anew"
        return frozenset(
            place
            for place, (item, indexes) in enumerate(zip(events, named, strict=True))
            for at in [max((dead.get(tag_of[index], 0) for index in indexes), default=0)]
            if at and not (returning and _is_live(item.classified.event, at))
        )

    def readmit(self, actor: str, indexes: Collection[bytes]) -> bool:
        """Let whoever has an identifier with these blind indexes come back; False when nothing keeps them.

        It is on record, and in the journal once it is done: until then a restore keeps them out.
        """

        def run() -> bool:
            tags = sorted({self._journal.tag(index) for index in indexes})
            with self._committer.batch() as batch:
                done = queries.drop_tombstones(batch.connection, tags)
                if done:
                    batch.facts.append(Fact(line=Readmission(), tags=tuple(tags)))
                batch.record(
                    Entry(action="rights.readmit", actor=actor, purpose="rights", counts={"readmitted": done})
                )
            return bool(done)

        return retrying(run)

    def returned(self, batch: Batch, resolved: Resolved) -> Collection[int]:
        """Append what waits for identities that this batch gave an index; returns those it was about.

        Who is to be kept apart is so already where the batch resolved events.
        """
        if resolved.arrived is None:
            return ()
        self._kept_apart.arrived(batch, resolved.arrived)
        if not self._pending:
            return ()
        number_of = {self._journal.tag(index): number for index, number in resolved.arrived().items()}
        waiting = queries.pending_of(batch.connection, number_of)
        if not waiting:
            return ()
        queries.delete_pending(batch.connection, {tag for tag, _ in waiting})
        lines = [_waiting(line) for _, line in waiting]
        records = [_record(line, number_of[line.tag]) for line in lines]
        return {record.identity_no for record in self._ledger.restore(batch, records)}


def _is_live(event: Event, erased_at: Micros) -> bool:
    """True of what somebody did after their erasure, told when they did it."""
    told = event.source.kind != "import" and event.message.delivery.replayed_at is None
    return told and event.day >= 0 and event.stamped_at > erased_at


def _record(line: Consent, identity_no: int) -> Record:
    """Return the record that a line was made of, as far as it says."""
    said = {name: getattr(line, name) for name in _FIELDS}
    return msgspec.convert({**said, "identity_no": identity_no}, Record)
