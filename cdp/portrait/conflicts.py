"""Where sources contradict each other about somebody, for the steward who settles whose word counts.

Steps: profiles of which several sources said several things are looked up first, outside any transaction that
writes; then they are read like everybody here (``use.py``): under the gate, for a stated purpose, on record.

Invariants: only clear traits are compared; what is sealed is opened for no list. A value is shown as the
policies let the controller see it, and a trait that they drop is not named. Only the last word of each source
counts, and of that only what has not expired: what a source took back is no conflict. Who is restrained for
the purpose is left out. The entry names those who are shown.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.consent import ConsentLedger
from cdp.crypto import ProfileIds
from cdp.errors import InvalidInputError
from cdp.gate import Admitted, Gate
from cdp.identity import IdentityService
from cdp.policy import Survivorship
from cdp.portrait.use import Person, Users
from cdp.profiles import ProfileService, Survivor
from cdp.store import Batch, Committer, Connection

_ACTION = "profile.conflicts"
_LOOKED_THROUGH = 200


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What one source says.

    :param value: as the controller may see it; None where nothing of it may be shown.
    :param holds: True for the one that the trait has.
    """

    source: str
    value: Any
    observed_at: Micros
    holds: bool

    def __repr__(self) -> str:
        return f"<word of {self.source}>"


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """A trait of a person about which sources differ.

    :param rule: by which one of the values holds.
    :param words: the last word of each source, the newest first; and, behind them, what holds where that is
        an older one (``min``, ``validated``).
    """

    profile_no: int
    trait: str
    rule: Survivorship
    words: tuple[Word, ...]

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in the list."""
        return self.profile_no, self.trait


class Conflicts:
    """Lists them."""

    def __init__(
        self,
        committer: Committer,
        ids: ProfileIds,
        identity: IdentityService,
        profiles: ProfileService,
        ledger: ConsentLedger,
        gate: Gate,
    ) -> None:
        self._store = committer.store
        self._ids = ids
        self._profiles = profiles
        self._users = Users(committer, identity, ledger, gate)

    def page(
        self,
        actor: str,
        purpose: str,
        limit: int,
        trait: str | None = None,
        after: tuple[str, str] = ("", ""),
    ) -> tuple[list[Conflict], tuple[int, str] | None]:
        """Return up to ``limit`` conflicts, by profile and trait, and the place to go on from.

        There may be more behind it also where this page has few or none: so many people are looked through.

        :param trait: only of this one.
        :param after: (profile id, trait) of the place to go on from.
        :raises InvalidInputError: the trait is not declared, sealed, or one of which all values count.
        :raises NotPermittedError: for a purpose that is not internal, or barred by the policies.
        """
        self._users.check(actor, purpose, _ACTION)
        names = self._profiles.comparable()
        if trait is not None:
            if trait not in names:
                message = "there is no such trait, or none of which clear values can contradict each other"
                raise InvalidInputError(message)
            names = frozenset({trait})
        start = (self._ids.decode(after[0]), after[1]) if after[0] else (0, "")
        most = max(limit, _LOOKED_THROUGH)
        with self._store.reading() as connection:
            candidates, upto = self._profiles.disputed(connection, names, most, start[0] - 1)

        def read(
            batch: Batch, admitted: Admitted, hidden: BitMap
        ) -> tuple[tuple[list[Conflict], bool], list[Person]]:
            people = self._people(batch.connection, admitted, candidates, hidden)
            known = self._profiles.survivors_of(batch.connection, people, names)
            found = [
                one
                for number, survivors in sorted(known.items())
                for name, survivor in survivors.items()
                if name in names and survivor.conflict and (number, name) > start
                if (one := _shown(survivor, people[number])) is not None
            ]
            shown = {one.profile_no for one in found[:limit]}
            return (found[:limit], len(found) > limit), [people[number] for number in sorted(shown)]

        found, more = self._users.several(actor, purpose, _ACTION, frozenset(), read)
        if more:
            return found, found[-1].place
        return found, None if upto is None else (upto + 1, "")

    def _people(
        self, connection: Connection, admitted: Admitted, candidates: Collection[int], hidden: BitMap
    ) -> dict[int, Person]:
        def more(most: int, above: int) -> list[int]:
            return [number for number in candidates if number > above][:most]

        found = self._users.page(connection, admitted, more, len(candidates), 0, hidden, frozenset())
        return {person.profile_no: person for person in found}


def _shown(survivor: Survivor, person: Person) -> Conflict | None:
    """Return a conflict as it may be shown; None where the trait may not be."""
    held = survivor.observation
    show = person.view.trait(held.name)
    if show is None:
        return None
    said = list(survivor.words)
    if all(one != held for _, one in said):
        said.append((survivor.source, held))
    words = tuple(
        Word(
            source=source,
            value=None if one.value is None else show(msgspec.json.decode(one.value)),
            observed_at=one.observed_at,
            holds=one == held,
        )
        for source, one in said
    )
    return Conflict(profile_no=person.profile_no, trait=held.name, rule=survivor.rule, words=words)
