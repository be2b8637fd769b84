"""What stewards look at besides pairs: what the rules keep apart, and profiles that grew.

Invariants: those of the review queue (``review.py``): opaque ids, types and reasons, no value; nobody who is
restrained; every look is on record.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cdp.audit import Entry
from cdp.gate import CONTROLLER
from cdp.identity import IdentityService, Pair, SetAside, profiles_of
from cdp.matching.choose import MATCHING
from cdp.matching.outcome import Settler
from cdp.store import Batch, Committer, retrying

_ACTION = "identity.review"


class Large(msgspec.Struct, frozen=True):
    """A profile that reached the growth alarm of policies/identity.yaml."""

    profile_no: int
    identities: int


class Watch:
    """Lists what stewards look at."""

    def __init__(self, committer: Committer, settler: Settler, identity: IdentityService) -> None:
        self._committer = committer
        self._settler = settler
        self._identity = identity

    def set_aside(self, actor: str, limit: int, after: Pair | None = None) -> list[SetAside]:
        """Return up to ``limit`` pairs that the rules keep apart, above ``after``."""
        self._settler.admit(actor, _ACTION)
        return retrying(lambda: self._set_aside(actor, limit, after))

    def _set_aside(self, actor: str, limit: int, after: Pair | None) -> list[SetAside]:
        shown: list[SetAside] = []
        with self._committer.batch() as batch:
            connection = batch.connection
            while len(shown) < limit:
                found = self._identity.set_aside(connection, limit, after)
                home = profiles_of(connection, {number for one in found for number in one.pair})
                people, _ = self._settler.permitted(connection, home.values())
                shown += [one for one in found if {home.get(number, 0) for number in one.pair} <= set(people)]
                if len(found) < limit:
                    break
                after = found[-1].pair
            shown = shown[:limit]
            _record(batch, actor, "set_aside", [number for one in shown for number in one.pair])
        return shown

    def large(self, actor: str, limit: int, after: int = 0) -> list[Large]:
        """Return up to ``limit`` profiles above ``after`` that reached the growth alarm."""
        self._settler.admit(actor, _ACTION)
        return retrying(lambda: self._large(actor, limit, after))

    def _large(self, actor: str, limit: int, after: int) -> list[Large]:
        shown: list[Large] = []
        with self._committer.batch() as batch:
            while len(shown) < limit:
                found = self._identity.grown(batch.connection, limit, after)
                people, _ = self._settler.permitted(batch.connection, [no for no, _ in found])
                shown += [Large(no, count) for no, count in found if no in people]
                if len(found) < limit:
                    break
                after = found[-1][0]
            shown = shown[:limit]
            _record(batch, actor, "large", [one.profile_no for one in shown])
        return shown


def _record(batch: Batch, actor: str, kind: str, subjects: Sequence[int]) -> None:
    batch.record(
        Entry(
            action=_ACTION,
            actor=actor,
            purpose=MATCHING,
            destination=CONTROLLER,
            object={"kind": kind},
            people={"shown": len(subjects)},
            subjects=tuple(sorted(set(subjects))),
        )
    )
