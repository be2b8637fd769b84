"""Reading one person across the stages, for officers and stewards with a stated purpose.

Invariants: every read here is a use. It is recorded with the person as its subject, in the
transaction that reads, and the caller gets the result only after that transaction has committed; a
look-up that finds nobody is recorded too. Nothing sealed is opened: what is sealed is named.
The purpose is an internal one (for all others the gate decides), and a person who is restrained for
it is not read for it; both refusals are recorded. A list leaves such people out.
An id that a merge retired answers for the survivor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
from pyroaring import BitMap

from cdp.audit import AuditEntry, AuditFilter, AuditLog, Entry, Outcome
from cdp.clock import Micros
from cdp.consent import RESTRAINING, ConsentLedger, Standing
from cdp.crypto import ProfileIds
from cdp.errors import CdpError, NotFoundError, NotPermittedError
from cdp.identity import Identifier, IdentityService, profiles_of
from cdp.policy import Bundle
from cdp.portrait import queries
from cdp.portrait.model import Portrait
from cdp.profiles import ProfileService, TimelineEvent
from cdp.segments import SegmentService
from cdp.store import Committer, Connection, retrying

T = TypeVar("T")
CONTROLLER = "controller"
"""The built-in destination of internal uses."""


class PortraitService:
    """One person, seen from every stage.

    Every verb takes the ``actor`` and the ``purpose`` that the audit log names, and raises
    ``NotPermittedError`` for a purpose that is not internal, or for which the person is restrained.
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
        bundle: Bundle,
    ) -> None:
        self._committer = committer
        self._ids = ids
        self._identity = identity
        self._profiles = profiles
        self._ledger = ledger
        self._segments = segments
        self._audit = audit
        self.adopt(bundle)

    def adopt(self, bundle: Bundle) -> None:
        """Take the purposes of ``bundle``."""
        self._purposes = bundle.purposes

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

        def read(connection: Connection, profile_no: int) -> list[TimelineEvent]:
            return self._profiles.timeline(connection, profile_no, limit, before)

        return self._use(actor, purpose, "profile.events", self._by_id(profile_id), read)

    def identifiers(self, actor: str, purpose: str, profile_id: str) -> list[Identifier]:
        """Return the profile's identities, their values sealed."""
        find = self._by_id(profile_id)
        return self._use(actor, purpose, "profile.identifiers", find, self._identity.identifiers)

    def links(self, actor: str, purpose: str, profile_id: str) -> list[dict[str, object]]:
        """Return everything that was decided about the profile's links, with its evidence."""
        find = self._by_id(profile_id)
        return self._use(actor, purpose, "profile.links", find, self._identity.links)

    def consents(self, actor: str, purpose: str, profile_id: str) -> list[Standing]:
        """Return the profile's state of consent for every purpose, with its reason."""

        def read(connection: Connection, profile_no: int) -> list[Standing]:
            members = self._identity.consent_members(connection, [profile_no])
            return list(self._ledger.states_of(connection, members[profile_no]).values())

        return self._use(actor, purpose, "profile.consents", self._by_id(profile_id), read)

    def uses(
        self, actor: str, purpose: str, profile_id: str, limit: int, after_index: int | None = None
    ) -> list[AuditEntry]:
        """Return the audit entries that concern the profile, newest first."""

        def read(connection: Connection, profile_no: int) -> list[AuditEntry]:
            return self._audit.search(connection, self._about(connection, profile_no), limit, after_index)

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

        :param read: given the connection and the profile's number.
        :param about: what else the audit entry says.
        :raises NotFoundError: the id is none of this workspace.
        """
        return self._use(actor, purpose, action, self._by_id(profile_id), read, about)

    # -- many -----------------------------------------------------------------------------------

    def page(
        self, actor: str, purpose: str, limit: int, after: str | None = None, segment: str | None = None
    ) -> tuple[list[Portrait], int]:
        """Return up to ``limit`` portraits behind profile id ``after``, and how many there are in all.

        :param segment: only members of this segment, as last evaluated.
        :raises NotFoundError: there is no such segment.
        """
        self._check_internal(actor, purpose, "profile.list")
        number = 0 if after is None else self._ids.decode(after)
        chosen = None if segment is None else self._segments.members(segment, actor=actor).bitmap

        def run() -> tuple[list[Portrait], int]:
            with self._committer.batch() as batch:
                connection = batch.connection
                evaluations = queries.evaluations(connection)
                excluded = self._segments.restrained(connection)
                hidden = self._restrained(connection, purpose)
                if chosen is None:
                    found = self._profile_page(connection, limit, number, hidden)
                    total = queries.count_profiles(connection) - len(hidden)
                else:
                    members = BitMap(profiles_of(connection, chosen).values()) - hidden
                    rank, total = members.rank(number), len(members)
                    found = list(members[rank : rank + limit])
                portraits = [self._portrait(connection, no, evaluations, excluded) for no in found]
                subjects = [n for no in found for n in self._identity.members(connection, no)]
                batch.record(_entry("profile.list", actor, purpose, subjects, people=len(found)))
            return portraits, total

        return retrying(run)

    def about(self, connection: Connection, profile_id: str) -> AuditFilter:
        """Return the filter for the audit entries that concern a profile."""
        number = self._identity.profile_of(connection, self._ids.decode(profile_id))
        return self._about(connection, number)

    def _about(self, connection: Connection, profile_no: int) -> AuditFilter:
        return AuditFilter(identity_nos=tuple(self._identity.members(connection, profile_no)))

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
        read: Callable[[Connection, int], T],
        about: Mapping[str, str | int] | None = None,
    ) -> T:
        """Find a person, read of them, record both; the result counts once all of it has committed."""
        self._check_internal(actor, purpose, action)

        def run() -> T | CdpError:
            with self._committer.batch() as batch:
                profile_no = find(batch.connection)
                if profile_no is None:
                    batch.record(_entry(action, actor, purpose, (), outcome="failed"))
                    return NotFoundError("nobody has this identifier")
                members = self._identity.members(batch.connection, profile_no)
                if self._is_restrained(batch.connection, profile_no, purpose):
                    batch.record(_entry(action, actor, purpose, members, outcome="denied"))
                    return NotPermittedError("the use of this person's data is restrained for this purpose")
                result = read(batch.connection, profile_no)
                entry = _entry(action, actor, purpose, members)
                batch.record(msgspec.structs.replace(entry, object=dict(about or {})))
            return result

        found = retrying(run)
        if isinstance(found, CdpError):
            raise found
        return found

    def _check_internal(self, actor: str, purpose: str, action: str) -> None:
        """Refuse a purpose that is not internal, on record."""
        stated = self._purposes.get(purpose)
        if stated is None or not stated.internal:
            with self._committer.batch() as batch:
                batch.record(_entry(action, actor, purpose, (), outcome="denied"))
            known = ", ".join(sorted(key for key, held in self._purposes.items() if held.internal))
            raise NotPermittedError(f"people are read for an internal purpose only: {known}")

    def _is_restrained(self, connection: Connection, profile_no: int, purpose: str) -> bool:
        if not self._purposes[purpose].restrainable:
            return False
        members = self._identity.consent_members(connection, [profile_no])[profile_no]
        return self._ledger.states_of(connection, members)[purpose].state in RESTRAINING

    def _restrained(self, connection: Connection, purpose: str) -> BitMap:
        """Return all profiles that are restrained for a purpose."""
        restrainable = self._purposes[purpose].restrainable
        return self._ledger.restrained(connection, purpose) if restrainable else BitMap()

    def _profile_page(self, connection: Connection, limit: int, after: int, hidden: BitMap) -> list[int]:
        """Return up to ``limit`` profile numbers above ``after`` that are not ``hidden``."""
        found: list[int] = []
        while len(found) < limit:
            more = self._identity.profile_page(connection, limit, after)
            found += [profile_no for profile_no in more if profile_no not in hidden]
            if len(more) < limit:
                break
            after = more[-1]
        return found[:limit]

    def _read(self, connection: Connection, profile_no: int) -> Portrait:
        evaluations, excluded = queries.evaluations(connection), self._segments.restrained(connection)
        return self._portrait(connection, profile_no, evaluations, excluded)

    def _portrait(
        self, connection: Connection, profile_no: int, evaluations: Mapping[str, BitMap], excluded: BitMap
    ) -> Portrait:
        """Return a portrait.

        :param excluded: the profiles that no segment holds any more, evaluated again or not.
        """
        observed = self._profiles.traits(connection, profile_no)
        members = self._identity.members(connection, profile_no)
        # A merged profile stands in an older evaluation under the number it had then.
        within = BitMap(members)
        return Portrait(
            id=self._ids.encode(profile_no),
            profile_no=profile_no,
            traits={
                name: None if found.value is None else msgspec.json.decode(found.value)
                for name, found in sorted(observed.items())
            },
            masked_fields=tuple(sorted(name for name, found in observed.items() if found.value is None)),
            segments=()
            if profile_no in excluded
            else tuple(name for name, held in evaluations.items() if within.intersect(held)),
            identities=len(members),
        )


def _entry(
    action: str,
    actor: str,
    purpose: str,
    subjects: Sequence[int],
    *,
    people: int | None = None,
    outcome: Outcome = "allowed",
) -> Entry:
    return Entry(
        action=action,
        actor=actor,
        outcome=outcome,
        purpose=purpose,
        destination=CONTROLLER,
        people={} if people is None else {"people": people},
        subjects=tuple(subjects),
    )
