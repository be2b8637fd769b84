"""What becomes of the pairs that a run found: links with evidence, or a place in the review queue.

Invariants:

1. Whoever is restrained now, asked under the locks, is left alone; and nothing is linked or queued under
   other policies than those under which it was found.
2. What a steward took apart or rejected is not proposed again, whichever identities of the two profiles it
   was told by. Whoever decides a pair locks the components of its ends first, so that a link is made before
   or after that; in the queue, which nobody locks, what a steward decided is never overwritten.
3. The stored evidence of a link is the run and the pair.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

import msgspec
from pyroaring import BitMap

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.gate import CONTROLLER, Gate, Refusal, View
from cdp.identity import IdentityService, held_apart, homes, members_of, profiles_of, propose
from cdp.matching import queries
from cdp.matching.choose import MATCHING, admit
from cdp.matching.model import Pair
from cdp.matching.runs import proposal
from cdp.store import Committer, Connection, EpochMovedError, policies_version, read_head, retrying

T = TypeVar("T")
Weighed = tuple[int, int, int]
"""Where a pair stands in the queue: (weight, low, high)."""
_TIDIED = 1_000  # pairs of a batch


class Settled(msgspec.Struct):
    """Numbers of pairs.

    :param refused: reason → pairs above the threshold that were not linked.
    """

    linked: int = 0
    queued: int = 0
    refused: Counter[str] = msgspec.field(default_factory=Counter)

    def add(self, other: Settled) -> None:
        """Count what became of more pairs."""
        self.linked += other.linked
        self.queued += other.queued
        self.refused.update(other.refused)


class Standing(msgspec.Struct, frozen=True):
    """How pairs stand now.

    :param home: identity_no → profile_no, of every identity of their profiles.
    :param permitted: the profiles that may be matched.
    :param apart: pairs of profiles, the smaller first, that a steward holds apart.
    """

    home: dict[int, int]
    permitted: BitMap
    apart: AbstractSet[tuple[int, int]]

    def against(self, low: int, high: int) -> str:
        """Return what stands against a pair: empty for nothing, ``one`` where they are one already."""
        a, b = self.home.get(low), self.home.get(high)
        if a is None or b is None:
            return "gone"
        if a == b:
            return "one"
        if a not in self.permitted or b not in self.permitted:
            return "restrained"
        return "suppressed" if (min(a, b), max(a, b)) in self.apart else ""


class Settler:
    """Links pairs and queues them."""

    def __init__(self, committer: Committer, gate: Gate, identity: IdentityService, clock: Clock) -> None:
        self._committer = committer
        self._gate = gate
        self._identity = identity
        self._clock = clock

    def admit(self, actor: str, action: str) -> None:
        """Raise unless the controller may use data for matching now; a refusal is recorded.

        :raises NotPermittedError: the policies, or the controller's switch, stand against it.
        """
        with self._committer.store.reading() as connection:
            admitted = self._gate.inside.admit(connection, MATCHING)
        if isinstance(admitted, Refusal):
            with self._committer.batch() as batch:
                batch.record(
                    Entry(
                        action=action,
                        actor=actor,
                        outcome="denied",
                        purpose=MATCHING,
                        destination=CONTROLLER,
                        object={"refused": admitted.reason},
                    )
                )
            raise admitted.error

    def look(self, find: Callable[[Connection], T], entry: Callable[[T], Entry]) -> T:
        """Return what ``find`` finds for a steward, on record under the policies by which it was found.

        It reads before the batch that records it, in which others would wait for it.
        """

        def once() -> T:
            with self._committer.store.reading() as connection:
                known = read_head(connection)[1], policies_version(connection)
                found = find(connection)
            with self._committer.batch() as batch:
                if (batch.epoch, batch.policies) != known:
                    raise EpochMovedError
                batch.record(entry(found))
            return found

        return retrying(once)

    def link(self, run_no: int, actor: str, pairs: Sequence[Pair], *, under: str, dry_run: bool) -> Settled:
        """Link people, as far as the rules let them be.

        :param under: the bundle under which the pairs were found.
        :raises StoppedError: others are in force.
        """
        done = Settled()
        with self._committer.batch() as batch:
            connection = batch.connection
            admit(self._gate, connection, under)
            ends = {number for pair in pairs for number in (pair.low, pair.high)}
            held = self.lock(connection, ends)
            if not held:
                return done
            standing = self.standing(connection, ends)
            free = {}
            for pair in pairs:
                if against := standing.against(pair.low, pair.high):
                    done.refused[against] += against not in {"one", "gone"}
                else:
                    free[pair.low, pair.high] = pair
            proposed = propose(
                self._identity,
                batch,
                held,
                list(free),
                lambda pair: _evidence(run_no, *pair),
                self._clock.now(),
                apart=standing.apart,
                dry_run=dry_run,
            )
            done.refused.update(proposed.refused)
            done.linked = len(proposed.linked)
            if proposed.linked and not dry_run:
                now = self._clock.now()
                rows = [proposal(free[pair], run_no, "linked", actor, now) for pair in proposed.linked]
                queries.put_pairs(connection, rows, batch.id)
                subjects = sorted({number for pair in proposed.linked for number in pair})
                batch.record(
                    Entry(
                        action="matching.link",
                        actor=actor,
                        purpose=MATCHING,
                        destination=CONTROLLER,
                        object={"run": run_no},
                        people={"linked": done.linked},
                        subjects=tuple(subjects),
                    )
                )
        return done

    def queue(self, run_no: int, pairs: Sequence[Pair], *, under: str, dry_run: bool) -> Settled:
        """Put pairs before a steward.

        :param under: the bundle under which they were found.
        :param dry_run: only say how many it would be, as links stand now.
        :raises StoppedError: others are in force.
        """
        with self._committer.batch() as batch:
            admit(self._gate, batch.connection, under)
            ends = {number for pair in pairs for number in (pair.low, pair.high)}
            standing = self.standing(batch.connection, ends)
            rows = [proposal(p, run_no, "open") for p in pairs if not standing.against(p.low, p.high)]
            if not dry_run:
                queries.put_pairs(batch.connection, rows, batch.id)
        return Settled(queued=len(rows))

    def lock(self, connection: Connection, numbers: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Lock the components of identities, of those that there are (``Linker.lock``)."""
        alive = profiles_of(connection, numbers)
        return self._identity.lock(connection, alive) if alive else {}

    def standing(self, connection: Connection, numbers: Iterable[int]) -> Standing:
        """Return how pairs of these identities stand as ``connection`` sees them, or under its locks."""
        people, members = self.permitted(connection, profiles_of(connection, numbers).values())
        home = {number: no for no, held in members.items() for number in held}
        rejected = (p for p in queries.rejected_among(connection, home) if home.keys() >= set(p))
        return Standing(
            home,
            people,
            held_apart(connection, home) | homes(home, rejected),
        )

    def permitted(
        self, connection: Connection, profile_nos: Iterable[int]
    ) -> tuple[BitMap, dict[int, list[int]]]:
        """Return those of some profiles that may be matched, and the identities of all of them."""
        admitted = admit(self._gate, connection)
        members = members_of(connection, set(profile_nos))
        return self._gate.many.decide(connection, admitted, members).people, members

    def views(self, connection: Connection, profile_nos: Iterable[int]) -> dict[int, View]:
        """Return what may be shown of some profiles for matching."""
        members = members_of(connection, set(profile_nos))
        return self._gate.inside.views(connection, admit(self._gate, connection), members)

    def tidy(self, run_no: int, fresh: BitMap | None, after: Weighed | None) -> Weighed | None:
        """Take a page of what earlier runs put into the queue and this one did not find again from it.

        :param fresh: the identities that this run compared with all; everybody when None.
        :param after: the last pair of the page before; None for the first page.
        :return: the last one of this page; None when none is left.
        """
        with self._committer.batch() as batch:
            held = queries.open_pairs(batch.connection, _TIDIED, after)
            home = profiles_of(batch.connection, {number for one in held for number in (one.low, one.high)})
            gone = [
                (one.low, one.high)
                for one in held
                if home.get(one.low) is None
                or home.get(one.high) is None
                or home[one.low] == home[one.high]
                or (one.run_no != run_no and (fresh is None or one.low in fresh or one.high in fresh))
            ]
            queries.drop_open(batch.connection, gone)
        return (held[-1].weight, held[-1].low, held[-1].high) if held else None


def _evidence(run_no: int, low: int, high: int) -> bytes:
    return hashlib.sha256(b"match %d %d %d" % (run_no, low, high)).digest()[:16]
