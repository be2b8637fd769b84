"""What stewards look at besides pairs: what the rules keep apart, and profiles that grew.

Invariants: those of the review queue (``review.py``): opaque ids, types and reasons, no value; nobody who is
restrained; every look is on record. A type that the policies drop is not named, nor is it in a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from cdp.audit import Entry
from cdp.gate import CONTROLLER, PERMITTED, View
from cdp.identity import IdentityService, Pair, SetAside, profiles_of, reason_shown
from cdp.matching.choose import MATCHING
from cdp.matching.outcome import Settler
from cdp.store import Connection

T = TypeVar("T")
_ACTION = "identity.review"


class Large(msgspec.Struct, frozen=True):
    """A profile that reached the growth alarm of policies/identity.yaml."""

    profile_no: int
    identities: int


class Watch:
    """Lists what stewards look at."""

    def __init__(self, settler: Settler, identity: IdentityService) -> None:
        self._settler = settler
        self._identity = identity

    def set_aside(self, actor: str, limit: int, after: Pair | None = None) -> list[SetAside]:
        """Return up to ``limit`` pairs that the rules keep apart, above ``after``."""

        def find(connection: Connection) -> list[SetAside]:
            shown, behind = list[SetAside](), after
            while len(shown) < limit:
                found = self._identity.set_aside(connection, limit, behind)
                home = profiles_of(connection, {number for one in found for number in one.pair})
                views = self._settler.views(connection, home.values())
                ends = ([views.get(home.get(number, 0)) for number in one.pair] for one in found)
                shown += [told for told in map(_shown, found, ends) if told is not None]
                if len(found) < limit:
                    break
                behind = found[-1].pair
            return shown[:limit]

        return self._look(actor, "set_aside", find, lambda one: one.pair)

    def large(self, actor: str, limit: int, after: int = 0) -> list[Large]:
        """Return up to ``limit`` profiles above ``after`` that reached the growth alarm."""

        def find(connection: Connection) -> list[Large]:
            shown, behind = list[Large](), after
            while len(shown) < limit:
                found = self._identity.grown(connection, limit, behind)
                people, _ = self._settler.permitted(connection, [no for no, _ in found])
                shown += [Large(no, count) for no, count in found if no in people]
                if len(found) < limit:
                    break
                behind = found[-1][0]
            return shown[:limit]

        return self._look(actor, "large", find, lambda one: (one.profile_no,))

    def _look(
        self,
        actor: str,
        kind: str,
        find: Callable[[Connection], list[T]],
        people: Callable[[T], Sequence[int]],
    ) -> list[T]:
        def entry(shown: list[T]) -> Entry:
            subjects = [number for one in shown for number in people(one)]
            return Entry(
                action=_ACTION,
                actor=actor,
                purpose=MATCHING,
                destination=CONTROLLER,
                object={"kind": kind},
                people={"shown": len(subjects)},
                subjects=tuple(sorted(set(subjects))),
            )

        self._settler.admit(actor, _ACTION)
        return self._settler.look(find, entry)


def _shown(one: SetAside, ends: Sequence[View | None]) -> SetAside | None:
    """Return a pair without what the policies drop; None where one of the two may not be seen.

    :param ends: what may be shown of the two people.
    """
    views = [view for view in ends if view is not None and view.reason == PERMITTED]
    if len(views) < len(ends):
        return None

    def named(kind: str) -> bool:
        return all(view.names(kind) for view in views)

    low, high = (
        kind if kind and view.names(kind) else None for kind, view in zip(one.types, views, strict=True)
    )
    return msgspec.structs.replace(one, types=(low, high), reason=reason_shown(one.reason, named))
