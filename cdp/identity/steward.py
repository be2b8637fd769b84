"""The steward's merge and split: what the links say is put right by a person.

Invariants:

1. The rules of ``policies/identity.yaml`` bind a steward, too. What a dry run tells is what the same call
   does: it is done, and undone before the transaction ends. Both are on record for the stated purpose.
2. Whether somebody's links may be changed for it is asked while their components are locked, so that nobody's
   objection comes in between, and of everybody whom the change touches.
3. To carve out is to revoke every pair across the cut, also those that nothing has told yet: no later event
   that names both sides joins them again. Who is carved out together stays together, by the steward's word
   where only the others held them together. What is left of the profile is what its own links make of it.
4. A merge takes no identity from anybody's profile: it is considered after all that was told, and refused
   where a link that stands would fall. What stands revoked between the profiles is admitted again where that
   changes nobody's profile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from cdp.audit import Entry
from cdp.clock import Clock
from cdp.crypto import Keyring
from cdp.errors import ConflictError, InvalidInputError
from cdp.identity import queries
from cdp.identity.anew.components import Blocking
from cdp.identity.anew.queries import values
from cdp.identity.evidence import Evidence
from cdp.identity.model import RULES, Candidate, Pair, Plan, reason_shown
from cdp.identity.plan import Change, across, plan
from cdp.identity.service import IdentityService
from cdp.identity.undo import side_of
from cdp.journal import kept_apart
from cdp.store import Batch, Committer, Connection, retrying

Held = Mapping[int, tuple[int, int]]
"""identity_no → (profile_no, cluster_no), of whole components that are locked."""
_Asked = tuple[Change, Held, Evidence]
"""What is asked for, of whom, and what was told of them."""


class Witness(Protocol):
    """Sees a change from inside its transaction, while the components are locked."""

    def permit(self, connection: Connection, people: Collection[int]) -> None:
        """Raise unless the links of these profiles may be changed."""
        ...

    def before(self, connection: Connection, people: Mapping[int, Sequence[int]]) -> None:
        """Look at the profiles that will change, with their identities."""
        ...

    def after(self, connection: Connection, people: Mapping[int, Sequence[int]]) -> None:
        """Look at what they have become."""
        ...


class Steward:
    """Merges and splits profiles.

    Every verb takes who acts, for which purpose, a witness, ``about``, what the entry says besides, and
    ``said``, what lies sealed beside it.
    """

    def __init__(
        self, identity: IdentityService, keyring: Keyring, committer: Committer, clock: Clock
    ) -> None:
        self._identity = identity
        self._keyring = keyring
        self._committer = committer
        self._clock = clock

    # -- verbs ----------------------------------------------------------------------------------

    def split(
        self,
        actor: str,
        purpose: str,
        identity_no: int,
        group: Collection[int],
        *,
        witness: Witness,
        dry_run: bool,
        about: Mapping[str, str | int] | None = None,
        said: Mapping[str, Any] | None = None,
    ) -> Plan:
        """Carve ``group`` out of the profile of an identity, as one.

        :param group: who is carved out; empty for what the id stands for: the profile that it was before the
            last merge, else the one identity (``undo.py``).
        :raises NotFoundError: there is no such identity.
        :raises InvalidInputError: one of the group is not of this profile, or nobody would be left.
        :raises ConflictError: the rules refuse to keep the group together; nothing is stored.
        """

        def ask(batch: Batch) -> _Asked:
            connection = batch.connection
            self._identity.profile_of(connection, identity_no)
            held = self._identity.lock(connection, [identity_no])
            home = {number: profile_no for number, (profile_no, _) in held.items()}
            witness.permit(connection, {home[identity_no]})
            members = {number for number, profile_no in home.items() if profile_no == home[identity_no]}
            if len(members) == 1:
                raise InvalidInputError("this profile has a single identity; there is nothing to split")
            told = self._identity.evidence(connection, held)
            leaving = group or side_of(told, connection, identity_no, home)
            if not members.issuperset(leaving):
                raise InvalidInputError("identities takes ids of identifiers that this profile holds")
            others = members.difference(leaving)
            if not others:
                raise InvalidInputError(
                    "these are all identities of the profile; nothing would be left of it"
                )
            cut = across(leaving, others)
            alone = told.resolution(told.suppressed.keys() | cut)
            parts = sorted(
                {alone.profile_of[number]: number for number in sorted(leaving, reverse=True)}.values()
            )
            said = _by_stewards(told.suppressed)
            change = Change(
                action="identity.split",
                named=frozenset(members),
                pairs={one.pair for one in told.candidates} & (cut - said),
                revoked=cut - said,
                extra=self._word(batch, told, parts),
            )
            return change, held, told

        return self._run(ask, actor, purpose, witness, (about or {}, said), dry_run=dry_run)

    def revoke(
        self,
        actor: str,
        purpose: str,
        link: tuple[int, int],
        *,
        witness: Witness,
        dry_run: bool,
        about: Mapping[str, str | int] | None = None,
        said: Mapping[str, Any] | None = None,
    ) -> Plan:
        """Revoke one link; its ends stay one profile where others tie them together.

        :raises NotFoundError: one of the identities does not exist.
        :raises InvalidInputError: nothing links these two directly, or it is revoked already.
        """

        def ask(batch: Batch) -> _Asked:
            connection = batch.connection
            for number in link:
                self._identity.profile_of(connection, number)
            held = self._identity.lock(connection, set(link))
            witness.permit(connection, {held[number][0] for number in link})
            pair = min(link), max(link)
            told = self._identity.evidence(connection, held)
            known = {one.pair for one in told.candidates}
            if pair not in known - _by_stewards(told.suppressed):
                raise InvalidInputError("no link is known between these two identifiers, or it is revoked")
            change = Change(action="identity.split", named=frozenset(link), pairs={pair}, revoked={pair})
            return change, held, told

        return self._run(ask, actor, purpose, witness, (about or {}, said), dry_run=dry_run)

    def merge(
        self,
        actor: str,
        purpose: str,
        profile_nos: Sequence[int],
        *,
        witness: Witness,
        dry_run: bool,
        about: Mapping[str, str | int] | None = None,
        said: Mapping[str, Any] | None = None,
        claim: Callable[[Batch], None] = lambda _batch: None,
    ) -> Plan:
        """Link profiles by a steward's word; the rules of policies/identity.yaml still bind.

        Identities of one profile, too, where what stands revoked between them is to be admitted again.

        :param profile_nos: profiles by any of their identities; those named are linked.
        :param claim: called under the locks, first: what it writes is stored with the merge.
        :raises InvalidInputError: fewer than two different profiles.
        :raises NotFoundError: one of them does not exist.
        :raises ConflictError: the rules refuse it, or block one of those named; nothing is stored.
        """

        def ask(batch: Batch) -> _Asked:
            connection = batch.connection
            for number in profile_nos:
                self._identity.profile_of(connection, number)
            held = self._identity.lock(connection, set(profile_nos))
            claim(batch)
            current = sorted({held[number][0] for number in profile_nos})
            witness.permit(connection, current)
            told = self._identity.evidence(connection, held)
            suppressed = set(told.suppressed)
            if len(current) < 2:
                revoked = suppressed & across(profile_nos, profile_nos)
                if not revoked:
                    raise InvalidInputError("a merge takes two or more different profiles")
                extra, between = self._word(batch, told, ()), revoked
            else:
                one_each = {held[number][0]: number for number in sorted(profile_nos, reverse=True)}
                extra = self._word(batch, told, sorted(one_each.values()))
                home = {
                    number: profile_no for number, (profile_no, _) in held.items() if profile_no in current
                }
                between = {
                    pair
                    for pair in suppressed
                    if home.get(pair[0]) != home.get(pair[1]) and home.keys() >= set(pair)
                }
            named = frozenset(number for number, (profile_no, _) in held.items() if profile_no in current)
            if self._blocks(connection, profile_nos):  # what identifies nobody is nobody's
                refused = Change(action="identity.merge", named=named, pairs=(), refused={"blocked": 1})
                return refused, held, told
            admitted = suppressed & {one.pair for one in extra}
            is_ = told.resolution(suppressed)
            less = told.resolution(suppressed - admitted, extra)
            more = told.resolution(suppressed - admitted - between, extra)
            if more.profile_of == less.profile_of:
                admitted |= between
            change = Change(
                action="identity.merge",
                named=named,
                pairs={one.pair for one in extra} or between,
                admitted=admitted,
                extra=extra,
                kept={one.candidate.pair for one in is_.decisions if one.accepted},
            )
            return change, held, told

        return self._run(ask, actor, purpose, witness, (about or {}, said), dry_run=dry_run)

    # -- how ------------------------------------------------------------------------------------

    def _blocks(self, connection: Connection, identity_nos: Collection[int]) -> bool:
        """Return whether the rules block one of these, which are opened for it in memory."""
        blocking = Blocking(self._keyring, self._identity.rules)
        return any(blocking(values(connection, identity_nos)).values())

    def _word(self, batch: Batch, told: Evidence, numbers: Sequence[int]) -> tuple[Candidate, ...]:
        """Return candidates by which a steward says that these identities are one person.

        They come after all that is known, so that they take no identity from anybody's profile.
        """
        now = self._clock.now()
        last = max((candidate.occurred_at + 1 for candidate in told.candidates), default=now)
        return tuple(
            Candidate(
                occurred_at=max(now, last),
                event_id=hashlib.sha256(b"merge %d %d %d" % (batch.id, numbers[0], other)).digest()[:16],
                position=0,
                low=numbers[0],
                high=other,
                received_at=now,
                verified=True,
                origin="merge",
            )
            for other in numbers[1:]
        )

    def _run(
        self,
        ask: Callable[[Batch], _Asked],
        actor: str,
        purpose: str,
        witness: Witness,
        told: tuple[Mapping[str, str | int], Mapping[str, Any] | None],
        *,
        dry_run: bool,
    ) -> Plan:
        def run() -> Plan:
            with self._committer.batch() as batch:
                change, held, evidence = ask(batch)
                made = self._apply(batch, change, held, evidence, actor, witness, dry_run=dry_run)
                about, said = told
                subjects = sorted({number for one in made.before.values() for number in one})
                batch.record(
                    Entry(
                        action=change.action,
                        actor=actor,
                        purpose=purpose,
                        object={**about, "dry_run": int(dry_run), "pairs": len(made.pairs)},
                        subjects=tuple(subjects),
                        details=dict.fromkeys(subjects, said) if said else {},
                    )
                )
            return made

        return retrying(run)

    def _apply(
        self,
        batch: Batch,
        change: Change,
        held: Held,
        told: Evidence,
        actor: str,
        witness: Witness,
        *,
        dry_run: bool,
    ) -> Plan:
        connection, now = batch.connection, self._clock.now()
        admitted = {*change.admitted, *(one.pair for one in change.extra)}
        suppressed = set(told.suppressed)
        outcome = told.resolution((suppressed | set(change.revoked)) - admitted, change.extra)
        made = plan(
            {number: profile_no for number, (profile_no, _) in held.items()},
            told.linked(),
            outcome,
            change,
            done=not dry_run,
        )
        witness.permit(connection, made.before.keys())
        if made.refused and not dry_run:
            reasons = ", ".join(sorted({reason_shown(one, lambda _: False) for one in made.refused}))
            raise ConflictError(
                f"the rules of policies/identity.yaml refuse this: {reasons}; a dry run says more"
            )
        witness.before(connection, made.before)
        touched = {number for one in (*made.before.values(), *made.gone, *made.made) for number in one}
        with batch.trial(undo=dry_run):
            queries.add_suppressions(connection, change.revoked, batch.id, actor, now, suppressed=True)
            queries.add_suppressions(
                connection, admitted & suppressed, batch.id, actor, now, suppressed=False
            )
            batch.facts += kept_apart(change.revoked) + kept_apart(admitted & suppressed, on=False)
            queries.add_candidates(connection, change.extra, batch.id)
            relinked, gone, *_ = self._identity.decide(batch, held, touched, change.extra, outcome=outcome)
            self._identity.refresh_consent(batch, relinked, gone)
            witness.after(connection, made.after)
        return made


def _by_stewards(suppressed: Mapping[Pair, str]) -> set[Pair]:
    """Return the pairs that stewards revoked; what rules set aside is admitted by rules again."""
    return {pair for pair, actor in suppressed.items() if actor != RULES}
