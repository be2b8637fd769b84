"""The links of components, decided anew inside a batch that holds their locks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.consent import ConsentLedger
from cdp.crypto import BlindIndex
from cdp.identity import queries
from cdp.identity.lookup import Lookup
from cdp.identity.model import Candidate, Decided, Pair, Resolution
from cdp.identity.resolve import components, resolve
from cdp.policy import IdentityRules
from cdp.store import Batch, Connection


class Linker(Lookup):
    """Locks components and decides their links."""

    def __init__(
        self,
        blind: BlindIndex,
        rules: IdentityRules,
        ledger: ConsentLedger,
        clock: Clock,
        regions: Callable[[Connection], Iterable[str]],
    ) -> None:
        super().__init__(blind, rules, regions)
        self._ledger = ledger
        self._clock = clock

    def decide(
        self,
        batch: Batch,
        before: Mapping[int, tuple[int, int]],
        touched: Collection[int],
        fresh: Collection[Candidate],
        created: Collection[int] = (),
    ) -> Decided:
        """Decide locked components and record which profiles grew so much that stewards are to look.

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
        set_aside = self._append_links(batch, before, resolution, fresh)
        grown = self._alarm(batch, {number: home for number, (home, _) in before.items()}, resolution)
        known = before.keys() - set(created)
        old, new = (
            {before[number][0] for number in known},
            {resolution.profile_of[number] for number in known},
        )
        changed = {profile_no for number in moved for profile_no in (before[number][0], moved[number][0])}
        changed |= {resolution.profile_of[number] for number in touched}
        return Decided(frozenset(changed & new), frozenset(old - new), set_aside, grown)

    def _alarm(self, batch: Batch, before: Mapping[int, int], resolution: Resolution) -> tuple[int, ...]:
        """Record the profiles that reached the size of the alarm, none of whose parts had it before.

        :param before: identity_no → profile_no.
        """
        most = self.rules.growth_alarm
        if len(before) < most:
            return ()
        after = resolution.profile_of
        old, new = Counter(before.values()), Counter(after.values())
        large = {after[number] for number, home in before.items() if old[home] >= most}
        grown = tuple(sorted(home for home, size in new.items() if size >= most and home not in large))
        for home in grown:
            members = tuple(number for number in sorted(after) if after[number] == home)
            counts = {"identifiers": len(members)}
            batch.record(Entry(action="identity.alarm", actor="system", counts=counts, subjects=members))
        return grown

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
    ) -> dict[str, int]:
        """Append the decisions that differ from the last; returns reason → how many more are set aside."""
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
        apart = (
            decision.reason
            for decision in new
            if not decision.accepted and known.get(decision.candidate.pair, (True,))[0]
        )
        return dict(Counter(_family(reason) for reason in apart if reason != "suppressed"))

    def refresh_consent(self, batch: Batch, relinked: Collection[int], gone: Collection[int]) -> None:
        """Have the consent states of relinked profiles derived anew."""
        self._ledger.refresh(batch, self.consent_members(batch.connection, relinked), gone)


def _family(reason: str) -> str:
    """Return a reason as it is counted: events name the types after ``external:``, and may name any."""
    rule, _, kind = reason.partition(":")
    return f"{rule}:external" if kind.startswith("external:") else reason
