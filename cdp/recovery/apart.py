"""Links that a steward revoked, and guesses that were rejected: a restore does not bring them back.

Invariants:

1. A pair is kept apart unless a steward admitted it again after the last revocation that names it. Nothing is
   admitted here: what stands revoked in the backup stays so. A rejected guess needs no word that lifts it, as
   it binds nobody who is one profile.
2. Where one end is not known (yet), the pair waits under its tag with the number of the other; where neither
   is, it waits under both, and whoever comes first leaves their number with the other. Two batches that each
   bring one end do so one after the other (the lock on the row of ``recovery``).
3. Who comes back is kept apart before the batch that brings them decides their links.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TypeAlias

import msgspec

from cdp.clock import Clock, Micros
from cdp.identity import IdentityService, Pair, keep_apart, note_apart
from cdp.journal import Apart, Journal
from cdp.recovery import queries
from cdp.recovery.model import Awaited
from cdp.store import Batch, Committer, Connection, retrying

RejectAgain = Callable[[Batch, Collection[Pair], str, Micros], int]
_Ends: TypeAlias = tuple[int | str, int | str]
"""A pair, in one order: identity numbers, or the tags of who is not known."""
_waits = msgspec.json.Decoder(Awaited).decode
_ACTOR = "system"


class KeptApart:
    """Keeps apart again whom a steward took apart.

    :param reject: rejects guesses again (``matching.reject_again``).
    """

    def __init__(
        self,
        committer: Committer,
        journal: Journal,
        identity: IdentityService,
        reject: RejectAgain,
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._journal = journal
        self._identity = identity
        self._reject = reject
        self._clock = clock
        self._waiting = False

    @property
    def waiting(self) -> bool:
        """Whether anything waits for somebody who is not known yet."""
        return self._waiting

    def look(self, connection: Connection) -> None:
        """Find out whether anything waits."""
        self._waiting = queries.any_pending(connection, apart=True)

    def replay(
        self, lines: Collection[Apart], number_of: Mapping[str, int], dead: Collection[str]
    ) -> tuple[int, int]:
        """Do what the journal says of links; returns how many pairs were not apart, and how many wait.

        :param number_of: tag → identity, of all who are known.
        :param dead: the tags of who does not come back.
        """
        lifted = [(line.at, _across(line, number_of)) for line in lines if not line.on]
        done = waiting = 0
        for line in lines:
            if line.on:
                pairs = _across(line, number_of)
                for at, admitted in lifted:
                    if at > line.at:
                        pairs -= admitted
                known, waits = _parted(pairs, dead, guess=line.guess)
                if known or waits:
                    new, late = retrying(partial(self._apply, known, waits, guess=line.guess))
                    done, waiting = done + new, waiting + late
        return done, waiting

    def _apply(
        self, known: Collection[Pair], waits: Iterable[tuple[str, Awaited]], *, guess: bool
    ) -> tuple[int, int]:
        with self._committer.batch() as batch:
            late = queries.add_pending(batch.connection, list(map(_row, waits)))
            if guess:
                return self._reject(batch, known, _ACTOR, self._clock.now()), late
            return keep_apart(self._identity, batch, known, _ACTOR, self._clock.now()), late

    def arrived(self, batch: Batch, arrived: Callable[[], Mapping[bytes, int]]) -> None:
        """Keep apart who waits for that and was given an index by this batch, which decides links later."""
        if not self._waiting:
            return
        connection = batch.connection
        number_of = {self._journal.tag(index): number for index, number in arrived().items()}
        if not queries.pending_of(connection, number_of, apart=True):
            return
        queries.read_state(connection, locked=True)
        found = [(tag, _waits(line)) for tag, line in queries.pending_of(connection, number_of, apart=True)]
        queries.delete_pending(connection, number_of, apart=True)
        named = {one for _, held in found for one in held.tags}
        # Of those whom these wait for, who waits no longer has come before.
        still = {tag for tag, _ in queries.pending_of(connection, named, apart=True)}
        pairs: dict[bool, set[Pair]] = {False: set(), True: set()}
        for tag, held in found:
            number = number_of[tag]
            others = {*held.numbers, *(number_of[one] for one in held.tags if one in number_of)}
            pairs[held.guess].update((min(number, no), max(number, no)) for no in others - {number})
            later = Awaited(held.guess, numbers=(number,))
            rows = [_row((one, later)) for one in still.intersection(held.tags)]
            queries.add_pending(connection, rows)
        now = self._clock.now()
        note_apart(batch, {low for low, _ in pairs[False]}, pairs[False], _ACTOR, now)
        self._reject(batch, pairs[True], _ACTOR, now)


def _across(line: Apart, number_of: Mapping[str, int]) -> set[_Ends]:
    """Return every pair across a line."""
    some, others = ({number_of.get(tag, tag) for tag in group} for group in (line.some, line.others))
    return {_in_order(one, other) for one in some for other in others if one != other}


def _in_order(one: int | str, other: int | str) -> _Ends:
    first, second = sorted((one, other), key=lambda end: (isinstance(end, str), str(end)))
    return first, second


def _parted(
    pairs: Iterable[_Ends],
    dead: Collection[str],
    *,
    guess: bool,
) -> tuple[set[Pair], list[tuple[str, Awaited]]]:
    """Return the pairs of which both are known, and what waits for whom."""
    known = set[Pair]()
    numbers: dict[str, set[int]] = defaultdict(set)
    tags: dict[str, set[str]] = defaultdict(set)
    for one, other in pairs:
        if isinstance(other, int):
            assert isinstance(one, int)  # noqa: S101  # numbers stand before tags
            known.add((min(one, other), max(one, other)))
        elif isinstance(one, int):
            numbers[other].add(one)
        else:
            tags[one].add(other)
            tags[other].add(one)
    waits = {
        tag: Awaited(guess, tuple(sorted(numbers[tag])), tuple(sorted(tags[tag].difference(dead))))
        for tag in sorted((numbers.keys() | tags.keys()).difference(dead))
    }
    return known, [(tag, held) for tag, held in waits.items() if held.numbers or held.tags]


def _row(waits: tuple[str, Awaited]) -> tuple[str, int, bytes]:
    """Return a row of ``pending_restraints``; the same words have the same number, which is below zero."""
    tag, held = waits
    line = msgspec.json.encode(held)
    return tag, -1 - int.from_bytes(hashlib.sha256(line).digest()[:7]), line
