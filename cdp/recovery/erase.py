"""Erasing people: after a restore whom the journal names, and live whoever asks for it.

Each step is one commit, or can be repeated; whoever is killed between two goes on with the next:

1. **bound**. Under the locks of their components: the journal says first that they are erased, then, in one
   commit, nothing finds them any more (index, links, profile, states of consent), they count as erased in
   every process (``store.erased``; ``erasure_epoch`` moves, so that no batch under way stores anything of
   them), and what identifies a person gets a tombstone. Without a profile they are restrained for
   everything: nothing evaluates, decides or sends them. Nothing that comes in meanwhile is theirs.
2. **told**. Whoever is to be told of them is, as long as their values and references can be made:
   destinations by recalls, and whom ``tell`` adds; what lies in quarantine and names them is deleted.
3. **unkeyed**. Their ``person`` keys are destroyed.
4. **deleted**. Every row is deleted, by the stage that keeps it; consent is kept as proof where policies say.
   The epoch moves again: what was read of their keys meanwhile is dropped.
5. **done** says whoever asked, when the files are rewritten, too (``cdp/rights/erase``).

Invariants: an erasure is of the identities that were in the profile when it bound, and of no others; of two
of one person one binds. A device that goes with a person keeps nobody out. What is left is numbers that
nothing resolves: in exports decided, in the log's entries, and here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache, partial

import msgspec

from cdp.audit import AuditLog, Entry
from cdp.clock import DAY, Clock, Micros
from cdp.consent import Proofs
from cdp.crypto import Keyring
from cdp.errors import ConflictError
from cdp.export import Outbox
from cdp.identity import IdentityService, forget_identities
from cdp.ingest import Quarantine, forget_events
from cdp.journal import Erasure, Fact, Journal
from cdp.policy import ErasureRule
from cdp.profiles import forget_observations
from cdp.recovery import queries
from cdp.recovery.model import Erased, Step
from cdp.segments import forget_listed, forget_members, forget_waiting
from cdp.store import Batch, Committer, Connection, bound_in, erased, retrying, told_at

Tell = Callable[[Batch, Sequence[int]], None]
"""Told of whom is being erased, while their keys and values are there, in the batch that stores recalls."""
Forget = Callable[[Batch, Sequence[int]], int]
"""Deletes what a stage keeps of identities; returns how many rows."""
Stop = Callable[[Connection, Sequence[int]], str]
"""Returns the code of what stands against an erasure (a legal hold); empty for nothing."""
_ACTOR = "system"
_TEXTS = 100_000  # that messages share: names of events, of fields


class StoppedError(ConflictError):
    """Something stands against an erasure.

    :param reason: its code.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the erasure is stopped: {reason}")
        self.reason = reason


class Eraser:
    """Erases people.

    :param rule: returns what policies say of people who were erased.
    :param scrub: takes what was deleted out of the databases' files; False: not yet.
    :param forgets: what stages that this one does not know keep of people, by what it is called.

    ``at_once`` are called in step 1: what would hand somebody's data over although no profile is left.
    """

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        journal: Journal,
        identity: IdentityService,
        quarantine: Quarantine,
        outbox: Outbox,
        audit: AuditLog,
        rule: Callable[[], ErasureRule],
        scrub: Callable[[], bool],
        forgets: Mapping[str, Forget],
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._journal = journal
        self._identity = identity
        self._quarantine = quarantine
        self._outbox = outbox
        self._audit = audit
        self.rule = rule
        self.scrub = scrub
        self._forgets = dict(forgets)
        self._clock = clock
        self.proofs = Proofs(keyring)
        self.at_once: list[Forget] = []

    # -- 1 ----------------------------------------------------------------------------------------

    def bind(self, erasure_id: str, named: Collection[int], stops: Sequence[Stop] = ()) -> Erased | None:
        """Bind the erasure of the profiles of some identities; returns it, or the one that was before it.

        :param stops: asked under the locks.
        :returns: None when there is nobody to be erased.
        :raises StoppedError: one of ``stops`` says so; nothing is stored.
        """
        return retrying(partial(self._bind, erasure_id, named, stops))

    def _bind(self, erasure_id: str, named: Collection[int], stops: Sequence[Stop]) -> Erased | None:
        with self._committer.batch() as batch:
            connection = batch.connection
            found = queries.find_erasure(connection, erasure_id)
            if found is not None:
                return found
            here = self._identity.profiles_of(connection, named)
            if not here:
                return self._before(connection, named)
            held = self._identity.lock(connection, here)
            people = {held[number][0] for number in here}
            numbers = [number for number, (home, _) in sorted(held.items()) if home in people]
            for stop in stops:
                if reason := stop(connection, numbers):
                    raise StoppedError(reason)
            tags = self._journal.tags(connection, numbers)
            batch.facts.extend(
                Fact(identity_no=number, line=Erasure(), tags=own) for number, own in tags.items()
            )
            devices = self._identity.devices(connection, numbers)
            persons = [tag for number, own in tags.items() if number not in devices for tag in own]
            queries.add_tombstones(connection, [(tag, self._clock.now()) for tag in persons])
            return self._cut(batch, erasure_id, held, numbers, tags)

    @staticmethod
    def _before(connection: Connection, named: Collection[int]) -> Erased | None:
        """Return the erasure that identities were part of: of several one that is not done yet, if any."""
        known = [queries.erasure_of(connection, batch) for batch in bound_in(connection, named)]
        found = sorted((one for one in known if one is not None), key=lambda one: one.step == "done")
        return found[0] if found else None

    def bind_again(self, erasure_id: str, identity_nos: Collection[int]) -> Erased:
        """Bind the erasure of identities that a backup brought back; the journal has it, and their tags."""

        def run() -> Erased:
            with self._committer.batch() as batch:
                connection = batch.connection
                held = self._identity.lock(connection, identity_nos)
                numbers = sorted(identity_nos)  # who else is in their profiles by now or then is not erased
                return self._cut(batch, erasure_id, held, numbers, self._journal.tags(connection, numbers))

        return retrying(run)

    def _cut(
        self,
        batch: Batch,
        erasure_id: str,
        held: Mapping[int, tuple[int, int]],
        numbers: Sequence[int],
        tags: Mapping[int, Sequence[str]],
    ) -> Erased:
        connection, now = batch.connection, self._clock.now()
        every = [tag for own in tags.values() for tag in own]
        for apart in (False, True):
            queries.delete_pending(connection, every, apart=apart)
        forget_waiting(connection, every)
        self._identity.unbind(batch, held, numbers)
        for forget in self.at_once:
            forget(batch, numbers)
        batch.erase(numbers)
        bound = Erased(
            erasure_id=erasure_id,
            batch=batch.id,
            step="bound",
            identities=len(numbers),
            bound_at=now,
            tags=tuple(every),
        )
        queries.add_erasure(connection, bound)
        batch.record(_entry("erasure.bind", bound, numbers))
        return bound

    # -- 2 to 4 -----------------------------------------------------------------------------------

    def advance(self, erasure_id: str, tell: Sequence[Tell] = ()) -> Erased:
        """Do whatever is left of steps 2 to 4 of an erasure that is bound."""
        while True:
            with self._committer.store.reading() as connection:
                found = queries.find_erasure(connection, erasure_id)
            assert found is not None  # noqa: S101  # the caller has bound it
            match found.step:
                case "bound":
                    self._tell(found, tell)
                case "told":
                    self._unkey(found)
                case "unkeyed":
                    retrying(partial(self._delete, found))
                case _:
                    return found

    def _tell(self, found: Erased, tell: Sequence[Tell]) -> None:
        with self._committer.store.reading() as connection:
            numbers = queries.numbers_of(connection, found)
        quarantined = self._quarantined(found, numbers)

        def run() -> None:
            with self._committer.batch() as batch:
                if self._at(batch, found, "bound") is None:
                    return
                for one in tell:
                    one(batch, numbers)
                messages = self._outbox.materialise_removals(batch, numbers)
                self._quarantine.drop(batch, quarantined)
                deleted = {"recalls": messages, "quarantined": len(quarantined)}
                self._move(batch, found, "told", deleted)

        retrying(run)

    def _quarantined(self, found: Erased, numbers: Sequence[int]) -> list[int]:
        """Return what lies in quarantine and names one of their identifiers, wherever in a message.

        Where a value cannot be opened any more (a restore), only its tag tells it: every message is opened.
        """
        tags, tag = set(found.tags), self._journal.tag
        with self._committer.store.reading() as connection:
            kinds = self._identity.declared_types(connection, numbers)

            @lru_cache(_TEXTS)
            def names(text: str) -> bool:
                given = self._identity.indexes_of(connection, [(kind, text) for kind in kinds])
                return any(tag(index) in tags for forms in given for form in forms for index in form)

            values = self._identity.values_of(connection, numbers)
            return self._quarantine.telling(names, values if len(values) == len(numbers) else None)

    def _unkey(self, found: Erased) -> None:
        with self._committer.store.reading() as connection:
            numbers = queries.numbers_of(connection, found)
        self._keyring.destroy(numbers)

        def run() -> None:
            with self._committer.batch() as batch:
                if self._at(batch, found, "told") is not None:
                    self._move(batch, found, "unkeyed", {})

        retrying(run)

    def _delete(self, found: Erased) -> None:
        days = self.rule().keep_proof_days
        with self._committer.batch() as batch:
            now = self._at(batch, found, "unkeyed")
            if now is None:
                return
            connection = batch.connection
            numbers = queries.numbers_of(connection, found)
            deleted = {
                "events": forget_events(connection, numbers),
                "traits": forget_observations(connection, numbers),
                "consent records": self.proofs.take(batch, numbers, keep=days > 0),
                "list entries": forget_listed(connection, numbers),
                "segments": forget_members(connection, numbers),
                **{name: forget(batch, numbers) for name, forget in self._forgets.items()},
                "identities": forget_identities(connection, numbers),
            }
            self._audit.forget(connection, numbers)
            batch.erase(numbers)
            self._move(batch, found, "deleted", deleted, proof_until=self._clock.now() + days * DAY)

    @staticmethod
    def _at(batch: Batch, found: Erased, step: Step) -> Erased | None:
        """Lock an erasure; None where another process has done this step already."""
        now = queries.find_erasure(batch.connection, found.erasure_id, locked=True)
        return now if now is not None and now.step == step else None

    @staticmethod
    def _move(
        batch: Batch,
        found: Erased,
        step: Step,
        deleted: Mapping[str, int],
        proof_until: Micros | None = None,
    ) -> None:
        moved = msgspec.structs.replace(
            found,
            step=step,
            tags=(),
            deleted={**found.deleted, **deleted},
            proof_until=proof_until,
        )
        queries.change_erasure(batch.connection, moved)
        counts = {name.replace(" ", "_"): count for name, count in deleted.items()}
        batch.record(
            Entry(
                action=f"erasure.{step}",
                actor=_ACTOR,
                purpose="rights",
                object={"erasure": found.erasure_id},
                people=counts,
            )
        )

    # -- 5 and afterwards -------------------------------------------------------------------------

    def numbers(self, erasure_id: str) -> tuple[list[int], int]:
        """Return whom an erasure is of, and the ``erasure_epoch`` at which that was told last."""
        with self._committer.store.reading() as connection:
            found = queries.find_erasure(connection, erasure_id)
            assert found is not None  # noqa: S101  # the caller has bound it
            return queries.numbers_of(connection, found), told_at(connection, found.batch)

    def finish(self, batch: Batch, erasure_id: str, entry: int, certificate: bytes) -> Erased:
        """Note, in this batch, that an erasure is done."""
        found = queries.find_erasure(batch.connection, erasure_id, locked=True)
        assert found is not None  # noqa: S101  # the caller has advanced it
        if found.step == "deleted":
            found = msgspec.structs.replace(found, step="done", entry=entry, certificate=certificate)
            queries.change_erasure(batch.connection, found)
        return found

    def collect(self, batch: Batch, erasure_id: str) -> Erased | None:
        """Take the certificate of an erasure out, in this batch; None where there is none (any more)."""
        found = queries.find_erasure(batch.connection, erasure_id, locked=True)
        if found is None or found.certificate is None:
            return None
        queries.change_erasure(batch.connection, msgspec.structs.replace(found, certificate=None))
        return found

    def uncollected(self, before: Micros) -> list[str]:
        """Return the erasures from before an instant whose certificate nobody fetched."""
        with self._committer.store.reading() as connection:
            return [one.erasure_id for one in queries.uncollected(connection, before)]

    def end_proofs(self) -> int:
        """Delete what was kept as proof for its time, and destroy its keys; returns of how many erasures."""
        with self._committer.store.reading() as connection:
            over = queries.proven(connection, self._clock.now())
        for one in over:
            retrying(partial(self._end_proof, one))
        return len(over)

    def _end_proof(self, found: Erased) -> None:
        with self._committer.batch() as batch:
            numbers = queries.numbers_of(batch.connection, found)
            self._keyring.destroy(numbers, "proof")
            records = self.proofs.end(batch, numbers)
            queries.change_erasure(batch.connection, msgspec.structs.replace(found, proof_until=None))
            batch.erase()
            said: dict[str, str | int] = {"erasure": found.erasure_id}
            batch.record(
                Entry(action="erasure.proof_ended", actor=_ACTOR, object=said, people={"records": records})
            )

    def resume(self) -> int:
        """Do what is left of erasures of restores that did not come to their end; returns how many."""
        with self._committer.store.reading() as connection:
            left = queries.erasures_at(connection, "bound", "told", "unkeyed")
        mine = [one for one in left if one.erasure_id.startswith("restore/")]
        for one in mine:
            self.advance(one.erasure_id)
        return len(mine)

    def destroy_again(self) -> int:
        """Destroy the keys of whoever was erased that older keys than this database brought back."""
        with self._committer.store.reading() as connection:
            numbers = set(erased(connection))
        back = numbers - self._keyring.destroyed(numbers)
        if back:
            self._keyring.destroy(back)
            with self._committer.batch() as batch:
                batch.erase()
        return len(back)


def _entry(action: str, about: Erased, numbers: Sequence[int]) -> Entry:
    return Entry(
        action=action,
        actor=_ACTOR,
        purpose="rights",
        object={"erasure": about.erasure_id},
        people={"identities": len(numbers)},
        subjects=tuple(numbers),
    )
