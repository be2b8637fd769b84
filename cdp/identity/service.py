"""The identity stage inside a batch, and look-ups.

Steps of ``resolve`` (in the batch's transaction):

1. Look up the blind indexes of the batch.
2. For unseen ones take reserved numbers, commit their DEKs in the key database, then insert index rows
   sorted; where another writer was faster, its number is used and ours stays unused for ever.
3. Seal the values, insert the identities, each its own profile.
4. Make candidates: a star from each event's highest-priority identifier. Append those that are new or
   earlier than what is known, and what a source vouches for that only browsers said before.
5. Lock the touched components in one order, decide them anew (``resolve.py``), append what changed to
   the link history, move the changed identities.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from cdp.clock import Clock
from cdp.consent import ConsentLedger, Member
from cdp.crypto import BlindIndex, Keyring, Place, seal
from cdp.errors import InvalidInputError, NotFoundError
from cdp.identity import members, queries
from cdp.identity.identifiers import VERSION, Normaliser
from cdp.identity.model import Candidate, Identifier, Pair, Resolution, Resolved
from cdp.identity.resolve import components, resolve
from cdp.ingest import Indexed
from cdp.policy import IdentityRules
from cdp.store import Batch, Committer, Connection, Store

_COUNTER = "identity_no"
_BLOCK = 2000
_CACHED = 50_000
_KNOWN = 200_000


class IdentityService:
    """Identities, links and profiles."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        keyring: Keyring,
        blind: BlindIndex,
        ledger: ConsentLedger,
        rules: IdentityRules,
        clock: Clock,
    ) -> None:
        self.adopt(rules)
        self._store = store
        self._committer = committer
        self._keyring = keyring
        self._blind = blind
        self._indexed = lru_cache(_CACHED)(blind)
        self._ledger = ledger
        self._clock = clock
        self._numbers: list[range] = []
        self._known: dict[bytes, int] = {}
        self._epoch = 0

    def adopt(self, rules: IdentityRules) -> None:
        """Work under these rules; a component is linked by them when it is next touched."""
        self.rules = rules
        self.normalise = Normaliser(rules)

    # -- ingest ---------------------------------------------------------------------------------

    def index(self, identifiers: Iterable[tuple[str, str]]) -> tuple[bytes, ...]:
        """Return the blind index of each (type, normalised value)."""
        return tuple(self._indexed(kind, value, VERSION) for kind, value in identifiers)

    def person_indexes(self, item: Indexed) -> list[bytes]:
        """Return the blind indexes of an event's identifiers that tell a person, not a device."""
        named = zip(item.classified.event.identifiers, item.indexes, strict=True)
        return [index for (kind, _), index in named if not self.rules.is_device(kind)]

    def observe_epoch(self, epoch: int) -> None:
        """Drop the identifier values held in memory when somebody was erased since the last call."""
        if epoch != self._epoch:
            self._epoch = epoch
            self.normalise.forget()
            self._indexed.cache_clear()
            self._known.clear()

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
        identity_of, created = self._identities(batch, events)
        candidates = self._candidates(batch, events, identity_of)
        linking = {number for candidate in candidates for number in candidate.pair}
        speaking = {
            identity_of[index]
            for item in events
            if item.classified.event.statements
            for index in item.indexes
        }
        relinked, gone = frozenset[int](), frozenset[int]()
        if linking or speaking:
            held = self.lock(batch.connection, linking | speaking)
        if candidates:
            queries.add_candidates(batch.connection, candidates, batch.id)
            relinked, gone = self.decide(batch, held, linking, candidates, created)
        return Resolved(identity_of=identity_of, created=created, relinked=relinked, gone=gone)

    def _identities(
        self, batch: Batch, events: Sequence[Indexed]
    ) -> tuple[dict[bytes, int], tuple[int, ...]]:
        named: dict[bytes, tuple[str, str, Indexed]] = {}
        for item in events:
            for (kind, value), index in zip(item.classified.event.identifiers, item.indexes, strict=True):
                if index not in named:
                    named[index] = (kind, value, item)
        identity_of = self._find(batch.connection, named)  # 1
        unseen = sorted(named.keys() - identity_of.keys())
        if not unseen:
            return identity_of, ()
        offered = dict(zip(unseen, self._take(), strict=False))  # 2
        self._keyring.create(list(offered.values()))
        won = queries.claim_indexes(batch.connection, list(offered.items()))
        identity_of |= {index: offered[index] for index in won}
        if len(won) < len(unseen):
            identity_of |= queries.find(batch.connection, set(unseen) - won)
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
        return identity_of, tuple(row[0] for row in rows)

    def known(self, connection: Connection, indexes: Collection[bytes]) -> dict[bytes, int]:
        """Return blind index → identity_no for those that there are."""
        return self._find(connection, indexes)

    def _find(self, connection: Connection, indexes: Collection[bytes]) -> dict[bytes, int]:
        """Return blind index → identity_no for those committed; an index never gets another number."""
        found = {index: number for index in indexes if (number := self._known.get(index))}
        if len(found) < len(indexes):
            loaded = queries.find(connection, [index for index in indexes if index not in found])
            if len(self._known) > _KNOWN:
                self._known.clear()
            self._known.update(loaded)
            found |= loaded
        return found

    def _candidates(
        self, batch: Batch, events: Sequence[Indexed], identity_of: Mapping[bytes, int]
    ) -> list[Candidate]:
        """Return the candidates of these events that are new, or earlier than what is known.

        A verified one is weighed against verified ones alone: it says more than an earlier one of a browser.
        Each is received after those of the events before, so what one call says stays in its order.
        """
        seen: dict[tuple[Pair, bool], Candidate] = {}
        for place, item in enumerate(events):
            if len(item.indexes) < 2:
                continue
            event = item.classified.event
            first, *others = (identity_of[index] for index in item.indexes)
            for position, other in enumerate(others):
                candidate = Candidate(
                    occurred_at=event.stamped_at,
                    event_id=event.event_id,
                    position=position,
                    low=min(first, other),
                    high=max(first, other),
                    received_at=event.landed_at + place,
                    verified=event.source.kind != "browser",
                )
                kind = candidate.pair, candidate.verified
                if kind not in seen or candidate < seen[kind]:
                    seen[kind] = candidate
        if not seen:
            return []
        known = queries.earliest_candidates(batch.connection, {low for (low, _), _ in seen})
        return [
            candidate
            for (pair, verified), candidate in seen.items()
            if all(
                (candidate.occurred_at, candidate.event_id) < known[kind]
                for kind in ({(pair, True), (pair, verified)} & known.keys())
            )
        ]

    def decide(
        self,
        batch: Batch,
        before: Mapping[int, tuple[int, int]],
        touched: Collection[int],
        fresh: Collection[Candidate],
        created: Collection[int] = (),
    ) -> tuple[frozenset[int], frozenset[int]]:
        """Decide locked components; returns what is relinked and gone of the profiles known before.

        :param before: identity_no → (profile_no, cluster_no) of all their members.
        :param fresh: the candidates that this batch brought.
        :param created: the identities that it made.
        """
        connection = batch.connection  # 5
        resolution = self.resolution(connection, before, queries.suppressed_among(connection, before))
        cluster_of = components(before, (d.candidate.pair for d in resolution.decisions))
        moved = {
            number: (resolution.profile_of[number], cluster_of[number])
            for number, held in before.items()
            if held != (resolution.profile_of[number], cluster_of[number])
        }
        queries.move(connection, moved, batch.id)
        self._append_links(batch, before, resolution, fresh)
        known = before.keys() - set(created)
        old, new = (
            {before[number][0] for number in known},
            {resolution.profile_of[number] for number in known},
        )
        changed = {profile_no for number in moved for profile_no in (before[number][0], moved[number][0])}
        changed |= {resolution.profile_of[number] for number in touched}
        return frozenset(changed & new), frozenset(old - new)

    def lock(self, connection: Connection, touched: Collection[int]) -> dict[int, tuple[int, int]]:
        """Lock whole components and return identity_no → (profile_no, cluster_no) of all their members.

        While we waited, another writer may have moved members in or out. Its work is visible to the next
        statement only, so look again until nothing changes.
        """
        while True:
            clusters = set(queries.clusters_of(connection, touched).values())
            first = queries.lock_clusters(connection, clusters)
            held = queries.lock_clusters(connection, clusters)
            if first.keys() == held.keys() and set(touched) <= held.keys():
                return held

    def resolution(
        self,
        connection: Connection,
        component: Collection[int],
        suppressed: Collection[Pair],
        extra: Collection[Candidate] = (),
    ) -> Resolution:
        """Return what the rules make of a component; ``extra`` are candidates that are not stored."""
        return resolve(
            queries.identity_types(connection, component),
            [*queries.candidates_among(connection, component), *extra],
            suppressed,
            self.rules,
        )

    def _append_links(
        self,
        batch: Batch,
        component: Collection[int],
        resolution: Resolution,
        fresh: Collection[Candidate],
    ) -> None:
        known = queries.latest_links(batch.connection, component)
        new = [
            decision
            for decision in resolution.decisions
            if known.get(decision.candidate.pair) != (decision.accepted, decision.candidate.event_id)
        ]
        # Of a link that an old candidate makes now, nobody knew until now.
        now = self._clock.now()
        arrived = {(candidate.pair, candidate.event_id): candidate.received_at for candidate in fresh}
        # What was told before a link is to be older than it, whatever the clocks of the hosts say.
        profile_of = resolution.profile_of
        linked = {profile_of[decision.candidate.low] for decision in new if decision.accepted}
        people = {number: home for number, home in profile_of.items() if home in linked}
        told = self._ledger.told_until(batch.connection, people)
        rows = [
            (
                *decision.candidate.pair,
                batch.id,
                decision.accepted,
                decision.reason,
                decision.candidate.event_id,
                self.rules.version,
                max(
                    arrived.get((decision.candidate.pair, decision.candidate.event_id), now),
                    told.get(profile_of[decision.candidate.low], 0) + 1,
                ),
            )
            for decision in new
        ]
        queries.add_links(batch.connection, rows)

    def refresh_consent(self, batch: Batch, relinked: Collection[int], gone: Collection[int]) -> None:
        """Have the consent states of relinked profiles derived anew."""
        self._ledger.refresh(batch, self.consent_members(batch.connection, relinked), gone)

    # -- look-ups -------------------------------------------------------------------------------

    def index_of(self, kind: str, value: str) -> bytes | None:
        """Return the blind index of an identifier as a caller gives it, None where it identifies nobody.

        :raises InvalidInputError: the type is not declared in policies/identity.yaml.
        """
        if self.rules.of(kind) is None:
            raise InvalidInputError("this identifier type is not declared in policies/identity.yaml")
        normal = self.normalise(kind, value)
        return None if normal is None else self._blind(kind, normal, VERSION)

    def find(self, connection: Connection, kind: str, value: str) -> int | None:
        """Return the identity of an identifier as a caller gives it (``index_of``), None if there is none."""
        index = self.index_of(kind, value)
        return None if index is None else queries.find(connection, [index]).get(index)

    def profile_of(self, connection: Connection, identity_no: int) -> int:
        """Return the profile that an identity belongs to now; a merged profile's old number works.

        :raises NotFoundError: there is no such identity.
        """
        found = queries.profiles_of(connection, [identity_no]).get(identity_no)
        if found is None:
            raise NotFoundError("there is no profile with this id")
        return found

    def profiles_of(self, connection: Connection, identity_nos: Iterable[int]) -> dict[int, int]:
        """Return identity_no → profile_no for those that exist."""
        return queries.profiles_of(connection, identity_nos)

    def members(self, connection: Connection, profile_no: int) -> list[int]:
        """Return the identity numbers of a profile, ascending."""
        return queries.members_of(connection, [profile_no]).get(profile_no, [])

    def identifiers(self, connection: Connection, profile_no: int) -> list[Identifier]:
        """Return the identities of a profile with their values sealed."""
        found = queries.identifiers(connection, self.members(connection, profile_no))
        return [msgspec.structs.replace(item, device=self.rules.is_device(item.type)) for item in found]

    def values(
        self, connection: Connection, profile_nos: Iterable[int], kind: str
    ) -> dict[int, tuple[int, bytes]]:
        """Return profile_no → (identity_no, sealed value) of its newest identifier of one type."""
        found = queries.identifiers_of_type(connection, profile_nos, kind)
        return {profile_no: (number, sealed) for profile_no, number, sealed in found}

    def links(self, connection: Connection, profile_no: int) -> list[dict[str, object]]:
        """Return everything decided about pairs of this profile's identities, oldest first."""
        return queries.link_history(connection, self.members(connection, profile_no))

    def profile_page(self, connection: Connection, limit: int, after: int) -> list[int]:
        """Return up to ``limit`` profile numbers above ``after``, ascending."""
        return queries.profile_page(connection, limit, after)

    def members_at(self, connection: Connection, identity_no: int, commit_no: int) -> list[Member]:
        """Return the profile in which an identity was at a commit, by the links accepted then.

        Empty when the identity did not exist yet. An identity erased since is missing.
        """
        return members.at(connection, identity_no, commit_no, self.rules.is_device)

    def everybody(self, connection: Connection) -> dict[int, list[int]]:
        """Return profile_no → its identity numbers, ascending, of every profile."""
        return queries.everybody(connection)

    alone = staticmethod(queries.alone)
    relinked_since = staticmethod(queries.relinked_since)

    def devices(self, connection: Connection, identity_nos: Iterable[int]) -> set[int]:
        """Return those of some identities that are devices."""
        types = queries.identity_types(connection, identity_nos)
        return {number for number, kind in types.items() if self.rules.is_device(kind)}

    def consent_members(self, connection: Connection, profile_nos: Iterable[int]) -> dict[int, list[Member]]:
        """Return what consent must know of the identities of each profile."""
        return members.now(connection, profile_nos, self.rules.is_device)
