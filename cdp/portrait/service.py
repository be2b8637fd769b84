"""Reading one person across the stages, for officers and stewards with a stated purpose.

Invariants: every read here is a use. It is recorded with the person as its subject, in the
transaction that reads, and the caller gets the result only after that transaction has committed; a
look-up that finds nobody is recorded too. The gate decides, for the destination ``controller`` and the
purpose (``Gate.inside``): what the policies drop is not shown, who is restrained is not read, and nobody is
while the controller is switched off; refusals are recorded, and a list leaves such people out. Nothing sealed
is opened: it is named.
An id that a merge retired answers for the survivor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import NamedTuple, TypeVar

import msgspec
from pyroaring import BitMap

from cdp.audit import AuditEntry, AuditFilter, AuditLog
from cdp.clock import Micros
from cdp.consent import ConsentLedger, Standing
from cdp.crypto import ProfileIds
from cdp.errors import CdpError, NotFoundError
from cdp.gate import PERMITTED, Admitted, Gate, Refusal, View, refusal
from cdp.identity import Identifier, IdentityService, profiles_of
from cdp.portrait import queries
from cdp.portrait.model import Portrait
from cdp.portrait.record import deny, entry_of, result_of
from cdp.portrait.show import shown_event, shown_traits
from cdp.profiles import ProfileService, TimelineEvent
from cdp.segments import SegmentService
from cdp.store import Committer, Connection, retrying

T = TypeVar("T")
_LOOKED_THROUGH = 200
"""People decided about at once for a page."""


class _Person(NamedTuple):
    """Who is read: the profile, its identities, what may be shown of them."""

    profile_no: int
    numbers: Sequence[int]
    view: View


class _Evaluated(NamedTuple):
    """Segments as last evaluated.

    :param members: name → profiles; ``restrained``: those that no segment holds any more.
    :param read_by: returns the categories that a segment reads; None for one that no longer holds.
    """

    members: Mapping[str, BitMap]
    restrained: BitMap
    read_by: Callable[[str], frozenset[str] | None]

    def shown(self, person: _Person) -> Iterator[str]:
        """Yield the segments of which it may be seen that the person is in them."""
        if person.profile_no in self.restrained:
            return
        within = BitMap(
            person.numbers
        )  # merged, it stands in an older evaluation under the number it had then
        for name, held in self.members.items():
            if within.intersect(held):
                read = self.read_by(name)
                if read is not None and person.view.chosen_by(read):
                    yield name


class PortraitService:
    """One person, seen from every stage.

    Every verb takes the ``actor`` and the ``purpose`` that the audit log names, and raises
    ``NotPermittedError`` for a purpose that is not internal, or for which the controller or the person is
    barred by the policies, and ``UnavailableError`` while consent is being derived under others.
    """

    def __init__(
        self,
        committer: Committer,
        ids: ProfileIds,
        identity: IdentityService,
        profiles: ProfileService,
        ledger: ConsentLedger,
        segments: SegmentService,
        audit: AuditLog,
        gate: Gate,
    ) -> None:
        self._committer = committer
        self._ids = ids
        self._identity = identity
        self._profiles = profiles
        self._ledger = ledger
        self._segments = segments
        self._audit = audit
        self._gate = gate

    # -- one person -----------------------------------------------------------------------------

    def lookup(self, actor: str, purpose: str, kind: str, value: str) -> Portrait:
        """Return the portrait of whoever has this identifier.

        :raises InvalidInputError: the identifier type is not declared.
        :raises NotFoundError: nobody has it.
        """

        def find(connection: Connection) -> int | None:
            identity_no = self._identity.find(connection, kind, value)
            return None if identity_no is None else self._identity.profile_of(connection, identity_no)

        return self._use(actor, purpose, "profile.lookup", find, self._read)

    def portrait(self, actor: str, purpose: str, profile_id: str) -> Portrait:
        """Return the portrait of a profile.

        :raises NotFoundError: the id is none of this workspace.
        """
        return self._use(actor, purpose, "profile.read", self._by_id(profile_id), self._read)

    def events(
        self,
        actor: str,
        purpose: str,
        profile_id: str,
        limit: int,
        before: tuple[Micros, bytes] | None = None,
    ) -> list[TimelineEvent]:
        """Return the profile's events, newest first; ``before`` as in ``ProfileService.timeline``."""

        def read(connection: Connection, person: _Person) -> list[TimelineEvent]:
            found = self._profiles.timeline(connection, person.profile_no, limit, before)
            return [shown_event(event, person.view) for event in found]

        return self._use(actor, purpose, "profile.events", self._by_id(profile_id), read)

    def identifiers(self, actor: str, purpose: str, profile_id: str) -> list[Identifier]:
        """Return the profile's identities, their values sealed."""
        return self._use(
            actor,
            purpose,
            "profile.identifiers",
            self._by_id(profile_id),
            lambda connection, person: self._identity.identifiers(connection, person.profile_no),
        )

    def links(self, actor: str, purpose: str, profile_id: str) -> list[dict[str, object]]:
        """Return everything that was decided about the profile's links, with its evidence."""
        return self._use(
            actor,
            purpose,
            "profile.links",
            self._by_id(profile_id),
            lambda connection, person: self._identity.links(connection, person.profile_no),
        )

    def consents(self, actor: str, purpose: str, profile_id: str) -> list[Standing]:
        """Return the profile's state of consent for every purpose, with its reason."""

        def read(connection: Connection, person: _Person) -> list[Standing]:
            members = self._identity.consent_members(connection, [person.profile_no])
            return list(self._ledger.states_of(connection, members[person.profile_no]).values())

        return self._use(actor, purpose, "profile.consents", self._by_id(profile_id), read)

    def uses(
        self, actor: str, purpose: str, profile_id: str, limit: int, after_index: int | None = None
    ) -> list[AuditEntry]:
        """Return the audit entries that concern the profile, newest first."""

        def read(connection: Connection, person: _Person) -> list[AuditEntry]:
            about = AuditFilter(identity_nos=tuple(person.numbers))
            return self._audit.search(connection, about, limit, after_index)

        return self._use(actor, purpose, "profile.uses", self._by_id(profile_id), read)

    def examine(
        self,
        actor: str,
        purpose: str,
        action: str,
        profile_id: str,
        read: Callable[[Connection, int], T],
        about: Mapping[str, str | int],
    ) -> T:
        """Have ``read`` answer about a profile, under the rules and on the record of every read here.

        Also while the controller is switched off: it says why somebody is decided about as they are.

        :param read: given the connection and the profile's number; it shows no field.
        :param about: what else the audit entry says.
        :raises NotFoundError: the id is none of this workspace.
        """
        return self._use(
            actor,
            purpose,
            action,
            self._by_id(profile_id),
            lambda connection, person: read(connection, person.profile_no),
            about,
            shows=False,
        )

    # -- many -----------------------------------------------------------------------------------

    def page(
        self, actor: str, purpose: str, limit: int, after: str | None = None, segment: str | None = None
    ) -> tuple[list[Portrait], int]:
        """Return up to ``limit`` portraits behind profile id ``after``, and how many nobody restrained.

        :param segment: only members of this segment, as last evaluated.
        :raises NotFoundError: there is no such segment.
        """
        self._check(actor, purpose, "profile.list")
        number = 0 if after is None else self._ids.decode(after)
        chosen = None if segment is None else self._segments.members(segment, actor=actor)

        def run() -> tuple[list[Portrait], int] | CdpError:
            with self._committer.batch() as batch:
                connection = batch.connection
                admitted = self._gate.inside.admit(connection, purpose)
                if isinstance(admitted, Refusal):
                    return deny(batch, "profile.list", actor, purpose, admitted)
                refused = None if chosen is None else self._gate.inside.unlisted(admitted, chosen.categories)
                if refused is not None:
                    return deny(batch, "profile.list", actor, purpose, refused)
                evaluated = self._evaluated(connection)
                hidden = self._restrained(connection, admitted)
                if chosen is None:
                    total = queries.count_profiles(connection) - len(hidden)
                    more = partial(self._identity.profile_page, connection)
                else:
                    members = BitMap(profiles_of(connection, chosen.bitmap).values()) - hidden
                    total = len(members)
                    more = partial(_behind, members)
                inputs = frozenset[str]() if chosen is None else chosen.categories
                found = self._people(connection, admitted, more, limit, number, hidden, inputs)
                portraits = [self._portrait(connection, one, evaluated) for one in found]
                subjects = [number for one in found for number in one.numbers]
                batch.record(entry_of("profile.list", actor, purpose, subjects, people=len(found)))
            return portraits, total

        return result_of(retrying(run))

    def about(self, connection: Connection, profile_id: str) -> AuditFilter:
        """Return the filter for the audit entries that concern a profile."""
        number = self._identity.profile_of(connection, self._ids.decode(profile_id))
        return AuditFilter(identity_nos=tuple(self._identity.members(connection, number)))

    # -- how ------------------------------------------------------------------------------------

    def _by_id(self, profile_id: str) -> Callable[[Connection], int]:
        number = self._ids.decode(profile_id)
        return lambda connection: self._identity.profile_of(connection, number)

    def _use(
        self,
        actor: str,
        purpose: str,
        action: str,
        find: Callable[[Connection], int | None],
        read: Callable[[Connection, _Person], T],
        about: Mapping[str, str | int] | None = None,
        *,
        shows: bool = True,
    ) -> T:
        """Find a person, read of them, record both; the result counts once all of it has committed.

        :param shows: False when nothing of the person's fields is read.
        """

        def run() -> T | CdpError:
            with self._committer.batch() as batch:
                connection = batch.connection
                admitted = self._gate.inside.admit(connection, purpose, shows=shows)
                if isinstance(admitted, Refusal):
                    return deny(batch, action, actor, purpose, admitted, about=about)
                profile_no = find(connection)
                if profile_no is None:
                    batch.record(entry_of(action, actor, purpose, (), outcome="failed"))
                    return NotFoundError("nobody has this identifier")
                members = self._identity.members(connection, profile_no)
                view = self._gate.inside.views(connection, admitted, {profile_no: members})[profile_no]
                if view.reason != PERMITTED:
                    return deny(batch, action, actor, purpose, refusal(view.reason), members, about)
                result = read(connection, _Person(profile_no, members, view))
                entry = entry_of(action, actor, purpose, members)
                batch.record(msgspec.structs.replace(entry, object=dict(about or {})))
            return result

        return result_of(retrying(run))

    def _check(self, actor: str, purpose: str, action: str) -> None:
        """Refuse a use that no fact about a person could permit, on record."""
        with self._committer.store.reading() as connection:
            admitted = self._gate.inside.admit(connection, purpose)
        if isinstance(admitted, Refusal):
            with self._committer.batch() as batch:
                refused = deny(batch, action, actor, purpose, admitted)
            raise refused

    def _restrained(self, connection: Connection, admitted: Admitted) -> BitMap:
        """Return all profiles that are restrained for a purpose."""
        stated = admitted[2]
        return self._ledger.restrained(connection, stated.key) if stated.restrainable else BitMap()

    def _people(
        self,
        connection: Connection,
        admitted: Admitted,
        more: Callable[[int, int], Collection[int]],
        limit: int,
        after: int,
        hidden: BitMap,
        inputs: frozenset[str],
    ) -> list[_Person]:
        """Return up to ``limit`` people above ``after`` of whom something may be shown.

        :param more: returns up to so many profile numbers above one, ascending.
        :param inputs: the categories by which they were chosen.
        """
        found: list[_Person] = []
        most = max(limit, _LOOKED_THROUGH)
        while len(found) < limit:
            next_ones = more(most, after)
            members = {no: self._identity.members(connection, no) for no in next_ones if no not in hidden}
            views = self._gate.inside.views(connection, admitted, members)
            found += [
                _Person(no, numbers, views[no])
                for no, numbers in members.items()
                if views[no].chosen_by(inputs)
            ]
            if len(next_ones) < most:
                break
            after = max(next_ones)
        return found[:limit]

    def _read(self, connection: Connection, person: _Person) -> Portrait:
        return self._portrait(connection, person, self._evaluated(connection))

    def _evaluated(self, connection: Connection) -> _Evaluated:
        return _Evaluated(
            queries.evaluations(connection),
            self._segments.restrained(connection),
            cache(partial(self._segments.read_by, connection)),
        )

    def _portrait(self, connection: Connection, person: _Person, evaluated: _Evaluated) -> Portrait:
        traits, masked = shown_traits(self._profiles.traits(connection, person.profile_no), person.view)
        return Portrait(
            id=self._ids.encode(person.profile_no),
            profile_no=person.profile_no,
            traits=traits,
            masked_fields=masked,
            segments=tuple(evaluated.shown(person)),
            identities=len(person.numbers),
        )


def _behind(members: BitMap, limit: int, after: int) -> list[int]:
    rank = members.rank(after)
    return list(members[rank : rank + limit])
