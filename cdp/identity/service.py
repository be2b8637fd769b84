"""The identity stage inside a batch, look-ups, and the steward's merge and split.

Steps of ``resolve`` (in the batch's transaction):

1. Look up the blind indexes of the batch.
2. For unseen ones take reserved numbers, commit their DEKs in the key database, then insert index rows
   sorted; where another writer was faster, its number is used and ours stays unused for ever.
3. Seal the values, insert the identities, each its own profile.
4. Make candidates: a star from each event's highest-priority identifier. Append those that are new or
   earlier than what is known.
5. Lock the touched components in one order, decide them anew (``resolve.py``), append what changed to
   the link history, move the changed identities.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter

import msgspec

from cdp.audit import Entry
from cdp.clock import Clock, Micros
from cdp.consent import ConsentLedger, Member
from cdp.crypto import BlindIndex, Keyring, Place, seal
from cdp.errors import ConflictError, InvalidInputError, NotFoundError
from cdp.identity import queries
from cdp.identity.identifiers import VERSION, Normaliser
from cdp.identity.model import Candidate, Identifier, Pair, Plan, Resolution, Resolved
from cdp.identity.resolve import resolve
from cdp.ingest import Indexed
from cdp.policy import IdentityRules
from cdp.store import Batch, Committer, Connection, Store, retrying

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
        self._prefixes: dict[str, bytes] = {}
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
        changed, gone = frozenset[int](), frozenset[int]()
        if linking or speaking:
            held = self.lock(batch.connection, linking | speaking)
        if candidates:
            queries.add_candidates(batch.connection, candidates, batch.id)
            changed, gone = self._decide(batch, held, linking, candidates)
        alone = frozenset(created) - linking
        return Resolved(identity_of=identity_of, created=created, changed=changed | alone, gone=gone)

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
            sealed = seal(keys[number], self._prefix(kind), number.to_bytes(8), number, value.encode())
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

    def _prefix(self, kind: str) -> bytes:
        prefix = self._prefixes.get(kind)
        if prefix is None:
            prefix = self._prefixes[kind] = Place(self._keyring.workspace, "identities", kind).prefix()
        return prefix

    def _candidates(
        self, batch: Batch, events: Sequence[Indexed], identity_of: Mapping[bytes, int]
    ) -> list[Candidate]:
        """Return the candidates of these events that are new, or earlier than what is known."""
        seen: dict[Pair, Candidate] = {}
        for item in events:
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
                    received_at=event.landed_at,
                    verified=event.source.kind != "browser",
                )
                if candidate.pair not in seen or candidate < seen[candidate.pair]:
                    seen[candidate.pair] = candidate
        if not seen:
            return []
        known = queries.earliest_candidates(batch.connection, {low for low, _ in seen})
        return [
            candidate
            for pair, candidate in seen.items()
            if pair not in known or (candidate.occurred_at, candidate.event_id) < known[pair]
        ]

    def _decide(
        self,
        batch: Batch,
        before: Mapping[int, tuple[int, int]],
        touched: Collection[int],
        fresh: Collection[Candidate],
    ) -> tuple[frozenset[int], frozenset[int]]:
        """Decide locked components; returns changed and gone profiles.

        :param before: identity_no → (profile_no, cluster_no) of all their members.
        :param fresh: the candidates that this batch brought.
        """
        connection = batch.connection  # 5
        resolution = self._resolution(connection, before)
        cluster_of = _components(before, (d.candidate.pair for d in resolution.decisions))
        moved = {
            number: (resolution.profile_of[number], cluster_of[number])
            for number, held in before.items()
            if held != (resolution.profile_of[number], cluster_of[number])
        }
        queries.move(connection, moved, batch.id)
        self._append_links(batch, before, resolution, fresh)
        old_profiles = {profile_no for profile_no, _ in before.values()}
        new_profiles = set(resolution.profile_of.values())
        changed = {profile_no for number in moved for profile_no in (before[number][0], moved[number][0])}
        changed |= {resolution.profile_of[number] for number in touched}
        changed &= new_profiles
        return frozenset(changed), frozenset(old_profiles - new_profiles)

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

    def _resolution(
        self, connection: Connection, component: Collection[int], extra: Collection[Candidate] = ()
    ) -> Resolution:
        return resolve(
            queries.identity_types(connection, component),
            [*queries.candidates_among(connection, component), *extra],
            queries.suppressed_among(connection, component),
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
        now = self._clock.now()
        arrived = {(candidate.pair, candidate.event_id): candidate.received_at for candidate in fresh}
        rows = [
            (
                *decision.candidate.pair,
                batch.id,
                decision.accepted,
                decision.reason,
                decision.candidate.event_id,
                self.rules.version,
                # Of a link that an old candidate makes now, nobody knew until now.
                arrived.get((decision.candidate.pair, decision.candidate.event_id), now),
            )
            for decision in resolution.decisions
            if known.get(decision.candidate.pair) != (decision.accepted, decision.candidate.event_id)
        ]
        queries.add_links(batch.connection, rows)

    def refresh_consent(self, batch: Batch, changed: Collection[int], gone: Collection[int]) -> None:
        """Have the consent states of changed profiles derived anew."""
        self._ledger.refresh(batch, self.consent_members(batch.connection, changed), gone)

    # -- look-ups -------------------------------------------------------------------------------

    def find(self, connection: Connection, kind: str, value: str) -> int | None:
        """Return the identity of an identifier as a caller gives it, None when there is none.

        :raises InvalidInputError: the type is not declared in policies/identity.yaml.
        """
        if self.rules.of(kind) is None:
            raise InvalidInputError("this identifier type is not declared in policies/identity.yaml")
        normal = self.normalise(kind, value)
        if normal is None:
            return None
        index = self._blind(kind, normal, VERSION)
        return queries.find(connection, [index]).get(index)

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
        return queries.members(connection, [profile_no]).get(profile_no, [])

    def identifiers(self, connection: Connection, profile_no: int) -> list[Identifier]:
        """Return the identities of a profile with their values sealed."""
        found = queries.identifiers(connection, self.members(connection, profile_no))
        return [msgspec.structs.replace(item, device=self._is_device(item.type)) for item in found]

    def values(
        self, connection: Connection, profile_nos: Iterable[int], kind: str
    ) -> dict[int, tuple[int, bytes]]:
        """Return profile_no → (identity_no, sealed value) of its newest identifier of one type."""
        found = queries.identifiers_of_type(connection, profile_nos, kind)
        return {profile_no: (number, sealed) for profile_no, number, sealed in found}

    def _is_device(self, kind: str) -> bool:
        rule = self.rules.of(kind)
        return rule is not None and rule.device

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
        known = {item.identity_no: item for item in queries.component(connection, identity_no, commit_no)}
        if identity_no not in known:
            return []
        since = queries.linked_since(connection, known, commit_no)
        root = _components(known, since)
        numbers = [number for number in sorted(known) if root[number] == root[identity_no]]
        suppressed = queries.suppressed_among(connection, numbers, commit_no)
        seen = queries.candidates_among(connection, numbers, commit_no)
        standing = [candidate for candidate in seen if candidate.pair not in suppressed]
        return _consent_members([known[number] for number in numbers], standing, since, self._is_device)

    def everybody(self, connection: Connection) -> dict[int, list[int]]:
        """Return profile_no → its identity numbers, ascending, of every profile."""
        return queries.everybody(connection)

    def consent_members(self, connection: Connection, profile_nos: Iterable[int]) -> dict[int, list[Member]]:
        """Return what consent must know of the identities of each profile."""
        by_profile = queries.members(connection, profile_nos)
        everyone = [number for numbers in by_profile.values() for number in numbers]
        known = {item.identity_no: item for item in queries.identifiers(connection, everyone)}
        several = [number for numbers in by_profile.values() if len(numbers) > 1 for number in numbers]
        suppressed = queries.suppressed_among(connection, several)
        seen = [c for c in queries.candidates_among(connection, several) if c.pair not in suppressed]
        since = queries.linked_since(connection, several)
        return {
            profile_no: _consent_members([known[number] for number in numbers], seen, since, self._is_device)
            for profile_no, numbers in by_profile.items()
        }

    # -- the steward ----------------------------------------------------------------------------

    def split(self, actor: str, identity_no: int, *, dry_run: bool) -> Plan:
        """Carve an identity out of its profile: revoke every pair that ties it to the others.

        :raises NotFoundError: there is no such identity.
        :raises InvalidInputError: it is the only one of its profile.
        """
        return retrying(lambda: self._split(actor, identity_no, dry_run=dry_run))

    def _split(self, actor: str, identity_no: int, *, dry_run: bool) -> Plan:
        with self._committer.batch() as batch:
            connection = batch.connection
            profile_no = self.profile_of(connection, identity_no)
            held = self.lock(connection, [identity_no])
            others = {n for n, (profile, _) in held.items() if profile == profile_no} - {identity_no}
            if not others:
                raise InvalidInputError("this profile has a single identity; there is nothing to split")
            pairs = tuple(
                sorted(
                    {c.pair for c in queries.candidates_among(connection, held)}
                    & {(min(identity_no, n), max(identity_no, n)) for n in others}
                )
            )
            return self._change(batch, actor, "identity.split", pairs, (), held, dry_run=dry_run)

    def merge(self, actor: str, profile_nos: Sequence[int], *, dry_run: bool) -> Plan:
        """Link profiles by a steward's word; the rules of policies/identity.yaml still bind.

        :raises InvalidInputError: fewer than two different profiles.
        :raises NotFoundError: one of them does not exist.
        :raises ConflictError: the rules refuse it; nothing is stored.
        """
        return retrying(lambda: self._merge(actor, profile_nos, dry_run=dry_run))

    def _merge(self, actor: str, profile_nos: Sequence[int], *, dry_run: bool) -> Plan:
        with self._committer.batch() as batch:
            connection = batch.connection
            current = sorted({self.profile_of(connection, number) for number in profile_nos})
            if len(current) < 2:
                raise InvalidInputError("a merge takes two or more different profiles")
            held = self.lock(connection, current)
            now = self._clock.now()
            known = queries.candidates_among(connection, held)
            # considered after all that is known, so that it takes no identity from anybody's profile
            last = max((candidate.occurred_at + 1 for candidate in known), default=now)
            extra = tuple(
                Candidate(
                    occurred_at=max(now, last),
                    event_id=hashlib.sha256(b"merge %d %d %d" % (batch.id, current[0], other)).digest()[:16],
                    position=0,
                    low=current[0],
                    high=other,
                    received_at=now,
                    verified=True,
                )
                for other in current[1:]
            )
            return self._change(batch, actor, "identity.merge", (), extra, held, dry_run=dry_run)

    def _change(
        self,
        batch: Batch,
        actor: str,
        action: str,
        revoked: tuple[Pair, ...],
        extra: tuple[Candidate, ...],
        held: Mapping[int, tuple[int, int]],
        *,
        dry_run: bool,
    ) -> Plan:
        """Plan what revoking pairs or adding candidates does; do it unless it is a dry run."""
        connection = batch.connection
        suppressed = queries.suppressed_among(connection, held) | set(revoked)
        suppressed -= {candidate.pair for candidate in extra}
        outcome = resolve(
            queries.identity_types(connection, held),
            [*queries.candidates_among(connection, held), *extra],
            suppressed,
            self.rules,
        )
        pairs = revoked or tuple(candidate.pair for candidate in extra)
        plan = Plan(
            before=_groups({number: profile_no for number, (profile_no, _) in held.items()}),
            after=_groups(outcome.profile_of),
            pairs=pairs,
            refused={d.reason: 1 for d in outcome.decisions if d.candidate in extra and not d.accepted},
            done=not dry_run,
        )
        if plan.refused and not dry_run:
            reasons = ", ".join(sorted(plan.refused))
            raise ConflictError(f"the rules of policies/identity.yaml refuse this merge: {reasons}")
        batch.record(
            Entry(
                action=action,
                actor=actor,
                purpose="data_quality",
                object={"dry_run": int(dry_run), "pairs": len(pairs)},
                subjects=tuple(sorted({number for pair in pairs for number in pair})),
            )
        )
        if not dry_run:
            now = self._clock.now()
            queries.add_suppressions(connection, revoked, batch.id, actor, now, suppressed=True)
            readmitted = {c.pair for c in extra} & queries.suppressed_among(connection, held)
            queries.add_suppressions(connection, readmitted, batch.id, actor, now, suppressed=False)
            queries.add_candidates(connection, extra, batch.id)
            changed, gone = self._decide(batch, held, list(held), extra)
            self.refresh_consent(batch, changed, gone)
        return plan


def _groups(profile_of: Mapping[int, int]) -> dict[int, tuple[int, ...]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for number in sorted(profile_of):
        groups[profile_of[number]].append(number)
    return {profile_no: tuple(numbers) for profile_no, numbers in groups.items()}


def _components(numbers: Iterable[int], pairs: Iterable[Pair]) -> dict[int, int]:
    """Return identity_no → smallest number that candidates (accepted or not) connect it to."""
    parent = {number: number for number in numbers}

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for low, high in pairs:
        a, b = sorted((root(low), root(high)))
        parent[b] = a
    return {number: root(number) for number in parent}


def _consent_members(
    profile: Sequence[Identifier],
    seen: Iterable[Candidate],
    since: Mapping[Pair, Micros],
    is_device: Callable[[str], bool],
) -> list[Member]:
    """Return the members of one profile with the time at which each pair became linked.

    Links are walked in the order in which they were accepted; when one unites two groups, every pair
    across them is linked from then on.

    :param seen: candidates that stand, of these identities and others.
    :param since: pair → when its link was accepted.
    """
    numbers = {item.identity_no for item in profile}
    linked: dict[int, dict[int, int]] = {number: {} for number in numbers}
    group = {number: [number] for number in numbers}
    for (low, high), at in sorted(since.items(), key=itemgetter(1)):
        if low not in numbers or high not in numbers or group[low] is group[high]:
            continue
        left, right = group[low], group[high]
        for a in left:
            for b in right:
                linked[a][b] = linked[b][a] = at
        left += right
        for number in right:
            group[number] = left
    first_events: dict[int, set[bytes]] = {number: set() for number in numbers}
    for candidate in seen:
        if candidate.low in numbers and candidate.high in numbers:
            first_events[candidate.low].add(candidate.event_id)
            first_events[candidate.high].add(candidate.event_id)
    return [
        Member(
            identity_no=item.identity_no,
            device=is_device(item.type),
            linked_at=linked[item.identity_no],
            history=item.first_event_id not in first_events[item.identity_no],
        )
        for item in profile
    ]
