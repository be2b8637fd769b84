"""The links of components, decided anew inside a batch that holds their locks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.consent import ConsentLedger, Member
from cdp.crypto import BlindIndex
from cdp.identity import queries
from cdp.identity.forget import forget_links
from cdp.identity.lookup import Lookup
from cdp.identity.model import Candidate, Decided, Pair, Resolution
from cdp.identity.resolve import components, resolve
from cdp.policy import IdentityRules
from cdp.store import Batch, Connection, EpochMovedError


class Evidence:
    """All that was told of a component, read once: what the rules make of it may be asked again and again.

    :ivar suppressed: pairs that stand revoked → who revoked them.
    """

    def __init__(self, connection: Connection, component: Collection[int], rules: IdentityRules) -> None:
        self.candidates = sorted(queries.candidates_among(connection, component))
        self.suppressed = queries.suppressed_by(connection, component)
        self._types = queries.identity_types(connection, component)
        self._rules = rules

    def resolution(self, suppressed: Container[Pair], extra: Collection[Candidate] = ()) -> Resolution:
        """Return what the rules make of it; ``extra`` are candidates that are not stored."""
        return resolve(self._types, [*self.candidates, *extra], suppressed, self._rules)


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
        outcome: Resolution | None = None,
    ) -> Decided:
        """Decide locked components and record which profiles grew so much that stewards are to look.

        :param before: identity_no → (profile_no, cluster_no) of all their members.
        :param fresh: the candidates that this batch brought.
        :param created: the identities that it made.
        :param outcome: what the rules make of what is stored by now, where the caller has asked them.
        """
        connection = batch.connection  # 5
        if outcome is None:
            told = self.evidence(connection, before)
            outcome = told.resolution(told.suppressed)
        home = outcome.profile_of
        cluster_of = components(before, (decision.candidate.pair for decision in outcome.decisions))
        moved = {
            number: (home[number], cluster_of[number])
            for number, held in before.items()
            if held != (home[number], cluster_of[number])
        }
        queries.move(connection, moved, batch.id)
        set_aside = self._append_links(batch, before, outcome, fresh)
        grown = self._alarm(batch, {number: was for number, (was, _) in before.items()}, outcome)
        known = before.keys() - set(created)
        old, new = {before[number][0] for number in known}, {home[number] for number in known}
        changed = {profile_no for number in moved for profile_no in (before[number][0], moved[number][0])}
        changed |= {home[number] for number in touched}
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

        While we waited, another writer may have joined one of them to a third. Then all are let go and locked
        again: to wait for the third while others wait for what we hold would be a deadlock. A component's
        number only ever sinks, so this ends.

        :raises EpochMovedError: one of them is not there: they were erased since they were found.
        """
        while True:
            with connection.begin_nested() as attempt:
                cluster_of = queries.clusters_of(connection, touched)
                if cluster_of.keys() < set(touched):
                    raise EpochMovedError
                held = queries.lock_clusters(connection, set(cluster_of.values()))
                if held.keys() >= set(touched):
                    return held
                attempt.rollback()

    def evidence(self, connection: Connection, component: Collection[int]) -> Evidence:
        """Return what was told of a component."""
        return Evidence(connection, component, self.rules)

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

    def unbind(
        self, batch: Batch, held: Mapping[int, tuple[int, int]], identity_nos: Collection[int]
    ) -> None:
        """Let nothing find identities any more, and link them to nobody, from the commit on.

        What is left of their components is decided anew, as if they had never been. Their states of consent
        go with their profiles; events, values and records stay until they are deleted.

        :param held: whole components that are locked.
        """
        forget_links(batch.connection, held, identity_nos)
        gone = {held[number][0] for number in identity_nos}
        rest = {number: home for number, home in held.items() if number not in identity_nos}
        relinked, left = frozenset[int](), frozenset[int]()
        if rest:
            relinked, left, *_ = self.decide(batch, rest, rest, ())
        self.refresh_consent(batch, relinked, left | gone)

    def refresh_consent(self, batch: Batch, relinked: Collection[int], gone: Collection[int]) -> None:
        """Have the consent states of relinked profiles derived anew."""
        self._ledger.refresh(batch, self.heard(batch.connection, relinked), gone)

    def heard(self, connection: Connection, profile_nos: Collection[int]) -> dict[int, list[Member]]:
        """Return the members of profiles by which their states of consent follow.

        None of those of which nobody ever said anything: there it does not matter who is linked to whom.
        """
        home = {
            number: profile_no
            for profile_no, numbers in queries.members_of(connection, profile_nos).items()
            for number in numbers
        }
        told = self.consent_members(connection, self._ledger.told_until(connection, home))
        return {profile_no: told.get(profile_no, []) for profile_no in profile_nos}


def _family(reason: str) -> str:
    """Return a reason as it is counted: events name the types after ``external:``, and may name any."""
    rule, _, kind = reason.partition(":")
    return f"{rule}:external" if kind.startswith("external:") else reason
