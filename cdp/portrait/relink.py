"""A steward's merge and split under the rules of every use.

Invariants: the steward states an internal purpose, and the gate permits it of everybody whose links change,
asked while their components are locked; a refusal is recorded. A merge is matching besides, whatever it is
for: whoever is restrained for ``identity_resolution`` is left alone, but for a purpose that nobody can
restrain. The log holds a reason as it does for a reveal: a code, or the
keyed digest of a sentence, which itself lies sealed beside the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec

from cdp.consent import ConsentLedger
from cdp.crypto import Keyring, ProfileIds
from cdp.gate import PERMITTED, Gate, Refusal, View, refusal
from cdp.identity import IdentityService, Plan, Steward, Witness, reason_shown
from cdp.portrait.effects import Holder, Relinked, Side, holders, sides
from cdp.portrait.record import deny, reason_of
from cdp.segments import SegmentService
from cdp.store import Batch, Committer, Connection

MATCHING = "identity_resolution"


class _Change(Protocol):
    def __call__(self, *, witness: Witness) -> Plan: ...


class _RefusedError(Exception):
    """The links of these people may not be changed; recorded when the change has rolled back."""

    def __init__(self, found: Refusal, subjects: Sequence[int] = ()) -> None:
        super().__init__(found.reason)
        self.found = found
        self.subjects = subjects


class Relinker:
    """Merges and splits for a stated purpose.

    Every verb raises ``NotPermittedError`` when the policies stand against it, and what ``Steward`` raises.
    """

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        ids: ProfileIds,
        identity: IdentityService,
        ledger: ConsentLedger,
        segments: SegmentService,
        steward: Steward,
        gate: Gate,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._ids = ids
        self._identity = identity
        self._ledger = ledger
        self._segments = segments
        self._steward = steward
        self._gate = gate

    def merge(
        self,
        actor: str,
        purpose: str,
        profile_ids: Sequence[str],
        claim: Callable[[Batch], None] = lambda _batch: None,
        *,
        reason: str = "",
        dry_run: bool,
    ) -> Relinked:
        """Link profiles by a steward's word, and admit what stands revoked between them.

        :param claim: called in the transaction of the merge, under its locks (``Steward.merge``).
        """
        numbers = [self._ids.decode(profile_id) for profile_id in profile_ids]
        about, said = self._told(reason)
        change = partial(
            self._steward.merge, actor, purpose, numbers, dry_run=dry_run, about=about, said=said, claim=claim
        )
        return self._relink("identity.merge", actor, purpose, change, matching=True)

    def split(
        self,
        actor: str,
        purpose: str,
        profile_id: str,
        identities: Sequence[str] = (),
        reason: str = "",
        *,
        dry_run: bool,
    ) -> Relinked:
        """Carve identities out of the profile of an id, as one; what the id stood for if none is named."""
        number = self._ids.decode(profile_id)
        group = {self._ids.decode(identity) for identity in identities}
        about, said = self._told(reason)
        change = partial(
            self._steward.split, actor, purpose, number, group, dry_run=dry_run, about=about, said=said
        )
        return self._relink("identity.split", actor, purpose, change, matching=False)

    def revoke(
        self, actor: str, purpose: str, link: tuple[str, str], reason: str = "", *, dry_run: bool
    ) -> Relinked:
        """Revoke the link between two identities."""
        pair = self._ids.decode(link[0]), self._ids.decode(link[1])
        about, said = self._told(reason)
        change = partial(self._steward.revoke, actor, purpose, pair, dry_run=dry_run, about=about, said=said)
        return self._relink("identity.split", actor, purpose, change, matching=False)

    def _told(self, reason: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        if not reason:
            return {}, {}
        return {"reason": reason_of(self._keyring, reason)}, {"reason": reason}

    def _relink(self, action: str, actor: str, purpose: str, change: _Change, *, matching: bool) -> Relinked:
        watch = _Watch(purpose, self._identity, self._ledger, self._segments, self._gate, matching=matching)
        try:
            plan = change(witness=watch)
        except _RefusedError as error:
            found, subjects = error.found, error.subjects
        else:
            return Relinked(plan=watch.shown(plan), before=watch.was, after=watch.is_, holders=watch.holders)
        with self._committer.batch() as batch:
            refused = deny(batch, action, actor, purpose, found, subjects)
        raise refused


class _Watch:
    """Asks the gate about everybody whose links change, and keeps what they were and became."""

    def __init__(
        self,
        purpose: str,
        identity: IdentityService,
        ledger: ConsentLedger,
        segments: SegmentService,
        gate: Gate,
        *,
        matching: bool,
    ) -> None:
        self._purpose = purpose
        self._identity = identity
        self._ledger = ledger
        self._segments = segments
        self._gate = gate
        self._matching = matching
        self._views: dict[int, View] = {}
        self.was: dict[int, Side] = {}
        self.is_: dict[int, Side] = {}
        self.holders: tuple[Holder, ...] = ()

    def permit(self, connection: Connection, people: Collection[int]) -> None:
        members = {no: self._identity.members(connection, no) for no in people}
        restrainable = self._ask(connection, self._purpose, members)
        if self._matching and restrainable:
            self._ask(connection, MATCHING, members)

    def before(self, connection: Connection, people: Mapping[int, Sequence[int]]) -> None:
        self.was = sides(connection, self._ledger, people)
        self.holders = holders(connection, self._gate, people, partial(self._seen, connection))

    def after(self, connection: Connection, people: Mapping[int, Sequence[int]]) -> None:
        self.is_ = sides(connection, self._ledger, people)

    def shown(self, plan: Plan) -> Plan:
        """Return the plan; its reasons name a type of identifier only where it may be named of everybody."""

        def told(reason: str) -> str:
            return reason_shown(reason, lambda kind: all(view.names(kind) for view in self._views.values()))

        return msgspec.structs.replace(
            plan,
            set_aside=tuple((pair, told(reason)) for pair, reason in plan.set_aside),
            refused={told(reason): 1 for reason in plan.refused},
        )

    def _seen(self, connection: Connection, segment: str) -> bool:
        """Return whether it may be seen for the stated purpose that all these people are in a segment."""
        read = self._segments.read_by(connection, segment)
        return read is not None and all(view.chosen_by(read) for view in self._views.values())

    def _ask(self, connection: Connection, purpose: str, members: dict[int, list[int]]) -> bool:
        """Return whether people could restrain the purpose.

        :raises _RefusedError: it is not permitted, or not of one of these people.
        """
        admitted = self._gate.inside.admit(connection, purpose)
        if isinstance(admitted, Refusal):
            raise _RefusedError(admitted)
        for no, view in self._gate.inside.views(connection, admitted, members).items():
            if view.reason != PERMITTED:
                raise _RefusedError(refusal(view.reason), members[no])
            if purpose == self._purpose:
                self._views[no] = view
        return admitted[2].restrainable
