"""The identity stage inside a batch; look-ups are in ``lookup.py``.

Steps of ``resolve`` (in the batch's transaction):

1. Look up the blind indexes of the batch.
2. For unseen ones take reserved numbers, commit their DEKs in the key database, then insert index rows
   sorted; where another writer was faster, its number is used and ours stays unused for ever.
3. Seal the values, insert the identities, each its own profile.
4. Make candidates: a star from each event's highest-priority identifier. Append those that are new or
   earlier than what is known, and what a source vouches for that only browsers said before.
5. Lock the touched components in one order, decide them anew, append what changed to the link history,
   move the changed identities (``linker.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import msgspec

from cdp.clock import Clock, Micros
from cdp.consent import ConsentLedger
from cdp.crypto import BlindIndex, Keyring, Place, open_sealed, seal
from cdp.errors import SealError
from cdp.identity import queries
from cdp.identity.identifiers import VERSION
from cdp.identity.index import Before, same_value
from cdp.identity.linker import Linker
from cdp.identity.model import WEIGHTS, Candidate, Pair, Resolved, weight
from cdp.identity.resolve import fitting, period_no
from cdp.ingest import Event, Indexed
from cdp.policy import IdentityRules
from cdp.store import Batch, Committer, Connection

_COUNTER = "identity_no"
_BLOCK = 2000
_TOLD = 100_000  # candidates held in memory: most events repeat what is known
_Kind = tuple[Pair, int, int]
"""Candidates of which the earliest says all: a pair, the weight, the number of the period."""


class IdentityService(Linker):
    """Identities, links and profiles.

    ``on_arrival`` is told who was given an index (``Resolved.arrived``), before links are decided.
    """

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        blind: BlindIndex,
        ledger: ConsentLedger,
        rules: IdentityRules,
        clock: Clock,
        regions: Callable[[Connection], Iterable[str]] = lambda _: (),
    ) -> None:
        super().__init__(blind, rules, ledger, clock, regions)
        self._committer = committer
        self._keyring = keyring
        self._numbers: list[range] = []
        self.epoch = 0
        self._told: dict[_Kind, tuple[Micros, bytes]] = {}
        self.on_arrival: Callable[[Batch, Callable[[], dict[bytes, int]]], None] = lambda _batch, _arrived: (
            None
        )

    def person_indexes(self, item: Indexed) -> list[bytes]:
        """Return the blind indexes of an event's identifiers that tell a person, under every version."""
        named = item.classified.event.identifiers
        return [
            index for place, index in self.indexes.every(item) if not self.rules.is_device(named[place][0])
        ]

    def values_of(self, connection: Connection, identity_nos: Collection[int]) -> list[str]:
        """Return the values of some identities, of those that can be opened."""
        keys = self._keyring.openable(identity_nos)
        found = []
        for item in queries.identifiers(connection, keys):
            prefix = Place(self._keyring.workspace, "identities", item.type).prefix()
            number = item.identity_no
            with suppress(SealError):
                found.append(
                    open_sealed(keys[number], prefix, number.to_bytes(8), number, item.value).decode()
                )
        return found

    def observe_epoch(self, epoch: int) -> None:
        """Drop the identifier values held in memory when somebody was erased since the last call."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.forget()
            self._told.clear()

    def reserve(self, most: int) -> None:
        """Make sure that ``most`` identity numbers are at hand; call it before the transaction."""
        while sum(map(len, self._numbers)) < most:
            self._numbers.append(self._committer.reserve(_COUNTER, max(_BLOCK, most)))

    def _take(self) -> Iterator[int]:
        while self._numbers:
            block = self._numbers[0]
            self._numbers[0] = block[1:]
            if not self._numbers[0]:
                self._numbers.pop(0)
            yield block[0]

    def resolve(self, batch: Batch, events: Sequence[Indexed]) -> Resolved:
        """Find or make the identities of these events and decide the links they give evidence for.

        The components of whoever speaks about consent in these events are locked too, until the batch
        commits: what they say must reach the profile that they are in then.
        """
        before = Before({}, {})
        if self.indexes.kept:
            before = self.indexes.before(batch.connection, events, self.normalise)
        identity_of, arrived, same, created = self._identities(batch, events, before.same)
        told = self._candidates(batch, events, identity_of, same, before.other)
        candidates = self._fitting(batch.connection, told, created)
        linking = {number for candidate in candidates for number in candidate.pair}
        speaking = {
            identity_of[index]
            for item in events
            if item.classified.event.statements
            for index in item.indexes
        }
        held = self.lock(batch.connection, linking | speaking) if linking or speaking else {}
        if arrived is not None:
            self.on_arrival(batch, arrived)
        if len(held) > self.rules.component_cap:
            cluster_of = {number: cluster for number, (_, cluster) in held.items()}
            candidates = self._within(candidates, cluster_of, Counter(cluster_of.values()))
        apart = {"component": len(told) - len(candidates)} if len(candidates) < len(told) else {}
        resolved = Resolved(
            identity_of=identity_of,
            arrived=arrived,
            created=created,
            set_aside=apart,
            profile_of={number: profile_no for number, (profile_no, _) in held.items()},
        )
        if not candidates:
            return resolved
        queries.add_candidates(batch.connection, candidates, batch.id)
        done = self.decide(batch, held, linking, candidates, created)
        return msgspec.structs.replace(
            resolved,
            relinked=done.relinked,
            gone=done.gone,
            set_aside=apart | done.set_aside,
            grown=len(done.grown),
            profile_of=done.profile_of,
            told=done.told,
        )

    def _fitting(
        self, connection: Connection, candidates: list[Candidate], created: Collection[int]
    ) -> list[Candidate]:
        """Return the candidates that connect no more than they may, before whole components are locked."""
        ends = {number for candidate in candidates for number in candidate.pair}
        known = ends.difference(created)
        sizes = queries.cluster_sizes(connection, known) if known else {}
        if sum(sizes.values()) + len(ends) - len(known) <= self.rules.component_cap:
            return candidates
        return self._within(candidates, queries.clusters_of(connection, known), sizes)

    def _within(
        self, candidates: Collection[Candidate], cluster_of: Mapping[int, int], sizes: Mapping[int, int]
    ) -> list[Candidate]:
        return fitting(candidates, cluster_of, sizes, self.rules.component_cap)

    def _identities(
        self, batch: Batch, events: Sequence[Indexed], homes: Mapping[bytes, Collection[int]]
    ) -> tuple[dict[bytes, int], Callable[[], dict[bytes, int]] | None, list[Candidate], tuple[int, ...]]:
        """Return who is named, ``Resolved.arrived``, who of them is one value, who is new.

        :param homes: ``Before.same``.
        """
        wanted = set[bytes]().union(*[item.indexes for item in events])
        identity_of = self.indexes.find(batch.connection, wanted)  # 1
        unseen = sorted(wanted - identity_of.keys())
        if not unseen:
            return identity_of, None, self._same(identity_of, homes), ()
        named: dict[bytes, tuple[str, str, Indexed]] = {}
        for item in events:
            if identity_of.keys() >= set(item.indexes):
                continue
            for (kind, value), index in zip(item.classified.event.identifiers, item.indexes, strict=True):
                named.setdefault(index, (kind, value, item))
        moved = {index: min(homes[index]) for index in unseen if index in homes}
        new = [index for index in unseen if index not in moved]
        offered = dict(zip(new, self._take(), strict=False)) | moved  # 2
        self._keyring.create([offered[index] for index in new])
        claimed = queries.claim_indexes(
            batch.connection, [(index, offered[index]) for index in unseen], VERSION
        )
        identity_of |= {index: offered[index] for index in claimed}
        if len(claimed) < len(unseen):
            identity_of |= queries.find(batch.connection, set(unseen) - claimed)
        won = claimed - moved.keys()
        keys = self._keyring.deks([offered[index] for index in won])
        rows = []
        for index in sorted(won, key=offered.__getitem__):  # 3
            number = offered[index]
            kind, value, item = named[index]
            event = item.classified.event
            prefix = Place(self._keyring.workspace, "identities", kind).prefix()
            sealed = seal(keys[number], prefix, number.to_bytes(8), number, value.encode())
            rows.append((number, kind, sealed, event.received_at, event.event_id, batch.id))
        queries.add_identities(batch.connection, rows, batch.id)

        def arrived() -> dict[bytes, int]:
            return {
                index: offered[item.indexes[place]]
                for item in events
                if not claimed.isdisjoint(item.indexes)
                for place, index in self.indexes.every(item)
                if item.indexes[place] in claimed
            }

        return identity_of, arrived, self._same(identity_of, homes), tuple(row[0] for row in rows)

    def _same(
        self, identity_of: Mapping[bytes, int], homes: Mapping[bytes, Collection[int]]
    ) -> list[Candidate]:
        """Return the candidates between identities that turned out to be one value."""
        if not homes:
            return []
        alike = {index: {identity_of[index], *numbers} for index, numbers in homes.items()}
        return same_value(alike, self._clock.now())

    def known(self, connection: Connection, events: Sequence[Indexed]) -> set[bytes]:
        """Return the blind indexes of those named in events who are known."""
        found = self.indexes.find(connection, {index for item in events for index in item.indexes})
        if not self.indexes.kept:
            return set(found)
        before = self.indexes.before(connection, events, self.normalise)
        other = {item.indexes[at] for item in events for at, old in item.earlier if old in before.other}
        return {*found, *before.same, *other}

    def _candidates(
        self,
        batch: Batch,
        events: Sequence[Indexed],
        identity_of: Mapping[bytes, int],
        same: Collection[Candidate],
        before: Mapping[bytes, int],
    ) -> list[Candidate]:
        """Return the candidates of these events that are new, or earlier than what is known.

        Of a pair with a limit of a period, each period's earliest is kept: a value refused in one may be said
        again in the next.

        Each is weighed against those that say as much: what a trusted word says is more than an earlier one
        of a browser. Each is received after those of the events before, so what one call says stays in its
        order.

        :param before: ``Before.other``.
        """
        told, kinds = self._said(events, identity_of, before)
        told += same
        if not told:
            return []

        def turn(pair: Pair, at: Micros) -> int:
            if not kinds:
                return 0
            return period_no(self.rules.period_of(kinds[number] for number in pair if number in kinds), at)

        seen: dict[_Kind, Candidate] = {}
        for candidate in told:
            kind = candidate.pair, candidate.weight, turn(candidate.pair, candidate.occurred_at)
            if kind not in seen or candidate < seen[kind]:
                seen[kind] = candidate
        known = queries.earliest_candidates(batch.connection, {pair for pair, *_ in seen}, turn)
        if not self.rules.recurs:
            if len(self._told) > _TOLD:
                self._told.clear()
            self._told |= known
        return [candidate for kind, candidate in seen.items() if _says_more(candidate, kind, known)]

    def _said(
        self, events: Sequence[Indexed], identity_of: Mapping[bytes, int], before: Mapping[bytes, int]
    ) -> tuple[list[Candidate], dict[int, str]]:
        """Return the candidates of events but for what is told already, and of what type each end is.

        The types matter, and are there, where a limit of a period is in the rules.
        """
        kinds: dict[int, str] = {}
        recurs, told = self.rules.recurs, list[Candidate]()
        for place, item in enumerate(events):
            if len(item.indexes) < 2 and not (before and item.earlier):
                continue
            numbers = [identity_of[index] for index in item.indexes]
            if recurs:
                named = item.classified.event.identifiers
                kinds.update(zip(numbers, (kind for kind, _ in named), strict=True))
            elif not before and self._is_told(item.classified.event, numbers):
                continue
            told += _star(item.classified.event, place, numbers[0], numbers[1:])
            if before and item.earlier:
                told += _earlier(item, place, numbers, before)
        return told, kinds

    def _is_told(self, event: Event, numbers: Sequence[int]) -> bool:
        """Tell whether an event of a person who is known says nothing new of who they are."""
        if event.type == "alias":
            return False
        own, least = (event.stamped_at, event.event_id), weight(event.source.kind != "browser", "event")
        first, told = numbers[0], self._told
        for other in numbers[1:]:
            pair = (first, other) if first < other else (other, first)
            for one in range(least, WEIGHTS):
                held = told.get((pair, one, 0))
                if held is not None and held <= own:
                    break
            else:
                return False
        return True


def _star(event: Event, place: int, first: int, others: Collection[int]) -> list[Candidate]:
    """Return the candidates of an event that names ``first`` and others.

    :param place: of the event in its batch.
    """
    alias = event.type == "alias"
    found = []
    for position, other in enumerate(others):
        older = alias and event.identifiers[position + 1][0] == event.identifiers[0][0]
        found.append(
            Candidate(
                occurred_at=event.stamped_at,
                event_id=event.event_id,
                position=2 * position + (older and other < first) if alias else position,
                low=min(first, other),
                high=max(first, other),
                received_at=event.landed_at + place,
                verified=event.source.kind != "browser",
                origin="alias" if alias else "event",
            )
        )
    return found


def _earlier(item: Indexed, place: int, named: Sequence[int], before: Mapping[bytes, int]) -> list[Candidate]:
    """Return the candidates between whom an event names and who version 1 knew by the same text.

    They say no more than the event does: what is another value may be another person's.
    """
    event = item.classified.event
    pairs = [(named[at], before[old]) for at, old in item.earlier if old in before]
    return [
        Candidate(
            occurred_at=event.stamped_at,
            event_id=event.event_id,
            position=2 * len(named) + position,
            low=min(pair),
            high=max(pair),
            received_at=event.landed_at + place,
            verified=event.source.kind != "browser",
        )
        for position, pair in enumerate(pairs)
        if pair[0] != pair[1]
    ]


def _says_more(candidate: Candidate, kind: _Kind, known: Mapping[_Kind, tuple[Micros, bytes]]) -> bool:
    """Tell whether a candidate is earlier than all that is known of its pair and period and says as much."""
    own = candidate.occurred_at, candidate.event_id
    pair, least, turn = kind
    for held in range(least, 3):
        told = known.get((pair, held, turn))
        if told is not None and told <= own:
            return False
    return True
