"""The links of components, decided anew inside a batch that holds their locks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.consent import ConsentLedger, Member
from cdp.crypto import BlindIndex
from cdp.identity import members, queries
from cdp.identity.evidence import Evidence
from cdp.identity.forget import forget_links
from cdp.identity.lookup import Lookup
from cdp.identity.model import Candidate, Decided, Judged, Resolution, Resolved
from cdp.identity.resolve import components
from cdp.policy import IdentityRules
from cdp.store import Batch, Connection, EpochMovedError


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
        told = self.evidence(batch.connection, before)  # 5
        if outcome is None:
            outcome = told.resolution(told.suppressed)
        home = outcome.profile_of
        cluster_of = components(before, (decision.candidate.pair for decision in outcome.decisions))
        moved = {
            number: (home[number], cluster_of[number])
            for number, held in before.items()
            if held != (home[number], cluster_of[number])
        }
        queries.move(batch.connection, moved, batch.id)
        set_aside = self._append_links(batch, told, outcome, fresh)
        grown = self._alarm(batch, {number: was for number, (was, _) in before.items()}, outcome)
        known = before.keys() - set(created)
        old, new = {before[number][0] for number in known}, {home[number] for number in known}
        changed = {profile_no for number in moved for profile_no in (before[number][0], moved[number][0])}
        changed |= {home[number] for number in touched}
        return Decided(frozenset(changed & new), frozenset(old - new), set_aside, grown, home, told)

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
        evidence: Evidence,
        resolution: Resolution,
        fresh: Collection[Candidate],
    ) -> dict[str, int]:
        """Append the decisions that differ from the last; returns reason → how many more are set aside."""
        new, apart = [], list[str]()
        for decision in resolution.decisions:
            last = evidence.last(decision.candidate.pair)
            if last is None or (last.accepted, last.event_id) != (
                decision.accepted,
                decision.candidate.event_id,
            ):
                new.append(decision)
                if not decision.accepted and (last is None or last.accepted):
                    apart.append(decision.reason)
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
        evidence.judge(
            ((low, high), Judged(accepted, decided_at, event_id))
            for low, high, _, accepted, _, event_id, _, decided_at in rows
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

    def profiles_after(
        self, connection: Connection, resolved: Resolved, identity_nos: Collection[int]
    ) -> dict[int, int]:
        """Return identity_no → profile_no of everybody in the profiles of some identities, and of others.

        :param resolved: most of them are locked by the batch that it is of, which knows where they are.
        """
        others = set(identity_nos) - resolved.profile_of.keys()
        profiles = set(self.profiles_of(connection, others).values())
        read = queries.members_of(connection, profiles)
        return resolved.profile_of | {number: no for no, numbers in read.items() for number in numbers}

    def members_after(
        self, connection: Connection, resolved: Resolved, by_profile: Mapping[int, Sequence[int]]
    ) -> dict[int, list[Member]]:
        """Return what consent must know of profiles, given as identity numbers, after a batch."""
        told, locked = resolved.told, resolved.profile_of
        if told is None:
            return members.of(connection, by_profile, self.rules.is_device)
        others = {no: numbers for no, numbers in by_profile.items() if numbers[0] not in locked}
        known = {no: numbers for no, numbers in by_profile.items() if no not in others}
        return told.members(known) | members.of(connection, others, self.rules.is_device)

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
