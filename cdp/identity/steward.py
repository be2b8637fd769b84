"""The steward's merge and split: what the links say is put right by a person.

Invariants: the rules of ``policies/identity.yaml`` bind a steward, too; what a dry run tells is what the
same call does next, on the data of that moment; both are on record for the purpose that the steward stated.
Whether somebody's links may be changed for it is asked while their components are locked, so that nobody's
objection comes in between.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.errors import ConflictError, InvalidInputError
from cdp.identity import queries
from cdp.identity.model import Candidate, Pair, Plan
from cdp.identity.service import IdentityService
from cdp.store import Batch, Committer, Connection, retrying

Permit = Callable[[Connection, Iterable[int]], None]
"""Raises unless the links of these profiles may be changed."""


class Steward:
    """Merges and splits profiles."""

    def __init__(self, identity: IdentityService, committer: Committer, clock: Clock) -> None:
        self._identity = identity
        self._committer = committer
        self._clock = clock

    def split(self, actor: str, purpose: str, identity_no: int, *, permit: Permit, dry_run: bool) -> Plan:
        """Carve an identity out of its profile: revoke every pair that ties it to the others.

        :param permit: asked about the profile.
        :raises NotFoundError: there is no such identity.
        :raises InvalidInputError: it is the only one of its profile.
        """
        return retrying(lambda: self._split(actor, purpose, identity_no, permit, dry_run=dry_run))

    def _split(self, actor: str, purpose: str, identity_no: int, permit: Permit, *, dry_run: bool) -> Plan:
        with self._committer.batch() as batch:
            connection = batch.connection
            profile_no = self._identity.profile_of(connection, identity_no)
            held = self._identity.lock(connection, [identity_no])
            permit(connection, {held[identity_no][0]})
            others = {n for n, (profile, _) in held.items() if profile == profile_no} - {identity_no}
            if not others:
                raise InvalidInputError("this profile has a single identity; there is nothing to split")
            pairs = tuple(
                sorted(
                    {c.pair for c in queries.candidates_among(connection, held)}
                    & {(min(identity_no, n), max(identity_no, n)) for n in others}
                )
            )
            asked = Entry(action="identity.split", actor=actor, purpose=purpose)
            return self._change(batch, asked, pairs, (), held, dry_run=dry_run)

    def merge(
        self,
        actor: str,
        purpose: str,
        profile_nos: Sequence[int],
        *,
        permit: Permit,
        dry_run: bool,
    ) -> Plan:
        """Link profiles by a steward's word; the rules of policies/identity.yaml still bind.

        :param permit: asked about the profiles.
        :raises InvalidInputError: fewer than two different profiles.
        :raises NotFoundError: one of them does not exist.
        :raises ConflictError: the rules refuse it; nothing is stored.
        """
        return retrying(lambda: self._merge(actor, purpose, profile_nos, permit, dry_run=dry_run))

    def _merge(
        self, actor: str, purpose: str, profile_nos: Sequence[int], permit: Permit, *, dry_run: bool
    ) -> Plan:
        with self._committer.batch() as batch:
            connection = batch.connection
            current = sorted({self._identity.profile_of(connection, number) for number in profile_nos})
            if len(current) < 2:
                raise InvalidInputError("a merge takes two or more different profiles")
            held = self._identity.lock(connection, current)
            permit(connection, {held[number][0] for number in current})
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
                    origin="merge",
                )
                for other in current[1:]
            )
            asked = Entry(action="identity.merge", actor=actor, purpose=purpose)
            return self._change(batch, asked, (), extra, held, dry_run=dry_run)

    def _change(
        self,
        batch: Batch,
        asked: Entry,
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
        outcome = self._identity.resolution(connection, held, suppressed, extra)
        joined = tuple(candidate.pair for candidate in extra)
        pairs = revoked or joined
        plan = Plan(
            before=_groups({number: profile_no for number, (profile_no, _) in held.items()}),
            after=_groups(outcome.profile_of),
            pairs=pairs,
            refused={d.reason: 1 for d in outcome.decisions if d.candidate.pair in joined and not d.accepted},
            done=not dry_run,
        )
        if plan.refused and not dry_run:
            reasons = ", ".join(sorted(plan.refused))
            raise ConflictError(f"the rules of policies/identity.yaml refuse this merge: {reasons}")
        batch.record(
            msgspec.structs.replace(
                asked,
                object={"dry_run": int(dry_run), "pairs": len(pairs)},
                subjects=tuple(sorted({number for pair in pairs for number in pair})),
            )
        )
        if not dry_run:
            now = self._clock.now()
            queries.add_suppressions(connection, revoked, batch.id, asked.actor, now, suppressed=True)
            readmitted = {c.pair for c in extra} & queries.suppressed_among(connection, held)
            queries.add_suppressions(connection, readmitted, batch.id, asked.actor, now, suppressed=False)
            queries.add_candidates(connection, extra, batch.id)
            relinked, gone = self._identity.decide(batch, held, list(held), extra)
            self._identity.refresh_consent(batch, relinked, gone)
        return plan


def _groups(profile_of: Mapping[int, int]) -> dict[int, tuple[int, ...]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for number in sorted(profile_of):
        groups[profile_of[number]].append(number)
    return {profile_no: tuple(numbers) for profile_no, numbers in groups.items()}
