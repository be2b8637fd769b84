"""Reading one person across the stages, for officers and stewards with a stated purpose.

Every read here is a use, under the rules of ``use.py``. What is sealed is named and not opened, but for the
values of identifiers, of which a mask is shown where the policies permit as much; the entry then names the
types that were opened. An id that a merge retired answers for the survivor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TypeVar

from pyroaring import BitMap

from cdp.access import AccessService
from cdp.audit import AuditFilter, AuditLog, AuditPage
from cdp.clock import Micros
from cdp.consent import ConsentLedger, Standing
from cdp.crypto import ProfileIds
from cdp.errors import CdpError, DefinitionError, NotFoundError, UnavailableError
from cdp.gate import Admitted, Gate, Refusal
from cdp.identity import IdentityService, profiles_of
from cdp.portrait import queries
from cdp.portrait.draw import Drawer
from cdp.portrait.model import Link, Portrait, ShownEvent, ShownIdentifier
from cdp.portrait.reasons import ShownWhy, shown_reason
from cdp.portrait.show import shown_event, shown_identifier, shown_link, shown_traits
from cdp.portrait.use import Person, Use, Users
from cdp.profiles import ProfileService
from cdp.segments import SegmentService
from cdp.store import Batch, Committer, Connection

T = TypeVar("T")


class PortraitService:
    """One person, seen from every stage.

    Every verb takes the ``actor`` and the ``purpose`` that the audit log names, and raises
    ``NotPermittedError`` for a purpose that is not internal, or for which the controller or the person is
    barred by the policies, and ``UnavailableError`` while consent is being derived under others. Those about
    a profile raise ``NotFoundError`` where its id is none of this workspace.
    """

    def __init__(
        self,
        committer: Committer,
        ids: ProfileIds,
        identity: IdentityService,
        access: AccessService,
        profiles: ProfileService,
        ledger: ConsentLedger,
        segments: SegmentService,
        audit: AuditLog,
        gate: Gate,
    ) -> None:
        self._ids = ids
        self._identity = identity
        self._access = access
        self._profiles = profiles
        self._ledger = ledger
        self._segments = segments
        self._audit = audit
        self._gate = gate
        self._store = committer.store
        self._users = Users(committer, identity, ledger, gate)
        self._draw = Drawer(ids, profiles, segments)

    # -- one person -----------------------------------------------------------------------------

    def lookup(self, actor: str, purpose: str, kind: str, value: str) -> Portrait:
        """Return the portrait of whoever has this identifier.

        :raises InvalidInputError: the identifier type is not declared.
        :raises NotFoundError: nobody has it.
        """

        def find(connection: Connection) -> int | None:
            identity_no = self._identity.find(connection, kind, value)
            return None if identity_no is None else self._identity.profile_of(connection, identity_no)

        self._evaluate(find)
        return self._users.one(actor, purpose, "profile.lookup", find, self._portrait)

    def portrait(self, actor: str, purpose: str, profile_id: str) -> Portrait:
        """Return the portrait of a profile."""
        self._evaluate(self._by_id(profile_id))
        return self._users.one(actor, purpose, "profile.read", self._by_id(profile_id), self._portrait)

    def events(
        self,
        actor: str,
        purpose: str,
        profile_id: str,
        limit: int,
        before: tuple[Micros, Micros, bytes] | None = None,
    ) -> list[ShownEvent]:
        """Return the profile's events, newest first; ``before`` as in ``ProfileService.timeline``."""

        def read(use: Use) -> list[ShownEvent]:
            found = self._profiles.timeline(use.connection, use.person.profile_no, limit, before)
            names = self._sources(use.connection)
            return [shown_event(event, names.get(event.source_id), use.person.view) for event in found]

        return self._users.one(actor, purpose, "profile.events", self._by_id(profile_id), read)

    def identifiers(
        self, actor: str, purpose: str, profile_id: str, limit: int, after: str | None = None
    ) -> list[ShownIdentifier]:
        """Return the profile's identifiers, masked, in the order in which they became known.

        :param after: the id of the last identifier of the page before.
        """
        above = 0 if after is None else self._ids.decode(after)

        def read(use: Use) -> list[ShownIdentifier]:
            connection, (profile_no, _, view) = use.connection, use.person
            held = queries.identifier_page(connection, profile_no, limit, above)
            masks = self._gate.masked(connection, view, profile_no, [item[:3] for item in held])
            if masks:
                opened = {item.type for item in held if item.identity_no in masks}
                use.about["masked"] = ",".join(sorted(opened))
            told = queries.sources_of(connection, [(item.batch, item.event_id) for item in held])
            names = self._sources(connection)
            return [
                shown_identifier(
                    item,
                    masks.get(item.identity_no),
                    names.get(told.get((item.batch, item.event_id), 0)),
                    view,
                    device=self._identity.rules.is_device(item.type),
                )
                for item in held
            ]

        return self._users.one(actor, purpose, "profile.identifiers", self._by_id(profile_id), read)

    def links(
        self,
        actor: str,
        purpose: str,
        profile_id: str,
        limit: int,
        before: queries.LinkPlace | None = None,
    ) -> list[Link]:
        """Return what was decided about the profile's links, newest first, with the evidence.

        A link that was set aside has its other end in another profile: the entry names that person, too.

        :param before: the place of the last link of the page before.
        """

        def read(use: Use) -> list[Link]:
            connection = use.connection
            held = queries.link_page(connection, use.person.profile_no, limit, before)
            ends = queries.types_of(connection, {number for link in held for number in (link.low, link.high)})
            use.others.update(ends)
            views = self._users.views(use, {profile_no for _, profile_no in ends.values()})
            told = {link: (link.told[0], link.event_id) for link in held if link.told is not None}
            sources, names = queries.sources_of(connection, list(told.values())), self._sources(connection)
            seen = {number: (kind, views[profile_no]) for number, (kind, profile_no) in ends.items()}
            return [
                shown_link(
                    link,
                    (seen.get(link.low), seen.get(link.high)),
                    names.get(sources.get(told[link], 0)) if link in told else None,
                )
                for link in held
            ]

        return self._users.one(actor, purpose, "profile.links", self._by_id(profile_id), read)

    def consents(self, actor: str, purpose: str, profile_id: str) -> list[Standing]:
        """Return the profile's state of consent for every purpose, with its reason."""

        def read(use: Use) -> list[Standing]:
            return list(self._ledger.kept_states(use.connection, use.person.profile_no).values())

        return self._users.one(actor, purpose, "profile.consents", self._by_id(profile_id), read)

    def why(self, actor: str, purpose: str, profile_id: str, segment: str) -> ShownWhy:
        """Return why the profile is in a segment, or is not: each condition, and what decides it.

        :raises NotFoundError: there is no such segment.
        :raises DefinitionError: it no longer holds.
        """

        def read(use: Use) -> ShownWhy | Refusal:
            connection, (profile_no, _, view) = use.connection, use.person
            found = self._segments.why(connection, segment, profile_no)
            use.about["version"] = found.version
            inputs = found.categories
            refused = self._gate.inside.unlisted(use.admitted, inputs) or view.refused(inputs)
            if refused is not None:
                return refused
            known = self._profiles.survivors_of(connection, [profile_no])
            traits, _ = shown_traits(known.get(profile_no, {}), view)
            return ShownWhy(why=found, reason=shown_reason(found.reason, view, traits))

        about = {"segment": segment}
        return self._users.one(actor, purpose, "profile.why", self._by_id(profile_id), read, about)

    def uses(
        self,
        actor: str,
        purpose: str,
        profile_id: str,
        limit: int,
        after_index: int | None = None,
        size: int | None = None,
    ) -> AuditPage:
        """Return the audit entries that concern the profile, newest first; see ``AuditLog.page``."""

        def read(use: Use) -> AuditPage:
            about = AuditFilter(identity_nos=tuple(use.person.numbers))
            return self._audit.page(use.connection, about, limit, after_index, size)

        return self._users.one(actor, purpose, "profile.uses", self._by_id(profile_id), read)

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

        :param read: given the connection and the identity that the id names, which was a profile of its own
            before it was merged; it shows no field.
        :param about: what else the audit entry says.
        """
        return self._users.one(
            actor,
            purpose,
            action,
            self._by_id(profile_id),
            lambda use: read(use.connection, self._ids.decode(profile_id)),
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
        self._users.check(actor, purpose, "profile.list")
        number = 0 if after is None else self._ids.decode(after)
        chosen = None if segment is None else self._segments.members(segment, actor=actor)
        inputs = frozenset[str]() if chosen is None else chosen.categories

        def read(
            batch: Batch, admitted: Admitted, hidden: BitMap
        ) -> tuple[tuple[list[Portrait], int], list[Person]]:
            connection = batch.connection
            if chosen is None:
                total = queries.count_profiles(connection) - len(hidden)
                more = partial(self._identity.profile_page, connection)
            else:
                members = BitMap(profiles_of(connection, chosen.bitmap).values()) - hidden
                total = len(members)
                more = partial(_behind, members)
            people = self._users.page(connection, admitted, more, limit, number, hidden, inputs)
            return (self._draw(connection, admitted, people), total), people

        return self._users.several(actor, purpose, "profile.list", inputs, read)

    def about(self, connection: Connection, profile_id: str) -> AuditFilter:
        """Return the filter for the audit entries that concern a profile."""
        number = self._identity.profile_of(connection, self._ids.decode(profile_id))
        return AuditFilter(identity_nos=tuple(self._identity.members(connection, number)))

    # -- how ------------------------------------------------------------------------------------

    def _by_id(self, profile_id: str) -> Callable[[Connection], int]:
        number = self._ids.decode(profile_id)
        return lambda connection: self._identity.profile_of(connection, number)

    def _evaluate(self, find: Callable[[Connection], int | None]) -> None:
        """Evaluate the segments anew that were last evaluated while the person was one with somebody else.

        One that cannot be evaluated now is not shown (``draw.py``).
        """
        held: dict[str, queries.Evaluation] = {}
        since = 0
        with self._store.reading() as connection, suppress(CdpError):  # which the read itself tells
            profile_no = find(connection)
            if profile_no is not None:
                numbers = self._identity.members(connection, profile_no)
                since = max(queries.parted_at(connection, numbers).values(), default=0)
                held = queries.evaluations(connection) if since else {}
        for name, one in held.items():
            if one.as_of < since:
                with suppress(DefinitionError, NotFoundError, UnavailableError):
                    self._segments.evaluate(name)

    def _portrait(self, use: Use) -> Portrait:
        (portrait,) = self._draw(use.connection, use.admitted, [use.person])
        return portrait

    def _sources(self, connection: Connection) -> dict[int, str]:
        return {source.source_id: source.name for source in self._access.read_sources(connection)}


def _behind(members: BitMap, limit: int, after: int) -> list[int]:
    rank = members.rank(after)
    return list(members[rank : rank + limit])
