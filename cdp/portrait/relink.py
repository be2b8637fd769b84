"""A steward's merge and split under the rules of every use.

Invariants: the steward states an internal purpose, and the gate permits it of everybody whose links change,
asked while their components are locked; a refusal is recorded. A merge is matching besides, whatever it is
for: whoever is restrained for ``identity_resolution`` is left alone, but for a purpose that nobody can
restrain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from cdp.crypto import ProfileIds
from cdp.gate import PERMITTED, Gate, Refusal, refusal
from cdp.identity import IdentityService, Permit, Plan, Steward
from cdp.portrait.record import deny
from cdp.store import Committer, Connection

MATCHING = "identity_resolution"


class _Change(Protocol):
    def __call__(self, *, permit: Permit) -> Plan: ...


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
        self, committer: Committer, ids: ProfileIds, identity: IdentityService, steward: Steward, gate: Gate
    ) -> None:
        self._committer = committer
        self._ids = ids
        self._identity = identity
        self._steward = steward
        self._gate = gate

    def merge(self, actor: str, purpose: str, profile_ids: Sequence[str], *, dry_run: bool) -> Plan:
        """Link profiles by a steward's word."""
        numbers = [self._ids.decode(profile_id) for profile_id in profile_ids]
        change = partial(self._steward.merge, actor, purpose, numbers, dry_run=dry_run)
        return self._relink("identity.merge", actor, purpose, change, matching=True)

    def split(self, actor: str, purpose: str, profile_id: str, *, dry_run: bool) -> Plan:
        """Carve the identity that answers to this id out of its profile."""
        change = partial(self._steward.split, actor, purpose, self._ids.decode(profile_id), dry_run=dry_run)
        return self._relink("identity.split", actor, purpose, change, matching=False)

    def _relink(self, action: str, actor: str, purpose: str, change: _Change, *, matching: bool) -> Plan:
        try:
            return change(permit=partial(self._permit, purpose, matching))
        except _RefusedError as error:
            found, subjects = error.found, error.subjects
        with self._committer.batch() as batch:
            refused = deny(batch, action, actor, purpose, found, subjects)
        raise refused

    def _permit(self, purpose: str, matching: bool, connection: Connection, people: Iterable[int]) -> None:  # noqa: FBT001  # bound by partial
        members = {no: self._identity.members(connection, no) for no in people}
        restrainable = self._ask(connection, purpose, members)
        if matching and restrainable:
            self._ask(connection, MATCHING, members)

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
        return admitted[2].restrainable
