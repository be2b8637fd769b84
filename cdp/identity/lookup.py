"""What there is: who an identifier belongs to, who a profile is made of, what was decided about its links."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache

import msgspec

from cdp.access import Source
from cdp.consent import Member
from cdp.crypto import BlindIndex
from cdp.errors import InvalidInputError, NotFoundError
from cdp.identity import members, queries, watch
from cdp.identity.identifiers import EARLIER, VERSION, Normaliser
from cdp.identity.index import Indexes
from cdp.identity.model import Identifier
from cdp.identity.reach import Reach, reach_of
from cdp.ingest import Classified, Indexed
from cdp.policy import IdentityRules
from cdp.store import Connection

AMBIGUOUS = "this may be several people's number: give it with its country code (+44 20 ...)"


class Lookup:
    """Reads identities, links and profiles, under the rules in force.

    :param regions: returns the regions that any source has.
    """

    def __init__(
        self, blind: BlindIndex, rules: IdentityRules, regions: Callable[[Connection], Iterable[str]]
    ) -> None:
        self._blind = blind
        self._regions = regions
        self.indexes = Indexes(blind)
        self.adopt(rules)

    def adopt(self, rules: IdentityRules) -> None:
        """Work under these rules; a component is linked by them when it is next touched."""
        self.rules = rules
        self.normalise = Normaliser(rules)

    def index(self, classified: Classified) -> Indexed:
        """Return an event with the blind index of each of its identifiers."""
        event = classified.event
        earlier = self.indexes.earlier(event.identifiers, event.earlier) if event.earlier else ()
        return Indexed(classified, self.indexes(event.identifiers), earlier)

    def forget(self) -> None:
        """Drop the values held in memory."""
        self.normalise.forget()
        self.indexes.forget()

    def meant(self, connection: Connection, kind: str, value: str, source: Source | None) -> tuple[str, ...]:
        """Return the values that may be meant by an identifier as a caller gives it, the likeliest first.

        They are several of a telephone number without a country code (``Normaliser.meant``), none where it
        identifies nobody.

        :param source: whose word it is: its numbers are read as in its events. Otherwise a person's, who may
            mean the region of any source.
        """
        return self._meant(kind, value, source, lambda: self._regions(connection))

    def _meant(
        self, kind: str, value: str, source: Source | None, regions: Callable[[], Iterable[str]]
    ) -> tuple[str, ...]:
        if source is None:
            return self.normalise.meant(kind, value, None, regions)
        known = self.normalise.known(kind, value, source.default_region)
        return () if known is None else (known,)

    def indexes_of(
        self, connection: Connection, given: Iterable[tuple[str, str]], source: Source | None = None
    ) -> list[list[tuple[bytes, ...]]]:
        """Return of each identifier (type, value) the blind indexes of each value that may be ``meant``.

        Each has that of this version first, and that of the version before, too, where there may be anybody
        of it.

        :raises InvalidInputError: a type is not declared in policies/identity.yaml.
        """
        regions = cache(lambda: tuple(self._regions(connection)))
        return [self._indexes_of(kind, value, source, regions) for kind, value in given]

    def _indexes_of(
        self, kind: str, value: str, source: Source | None, regions: Callable[[], Iterable[str]]
    ) -> list[tuple[bytes, ...]]:
        if self.rules.of(kind) is None:
            raise InvalidInputError("this identifier type is not declared in policies/identity.yaml")
        forms = self._meant(kind, value, source, regions)
        if not self.indexes.kept:
            return [(self._blind(kind, form, VERSION),) for form in forms]
        before = self.normalise.before(kind, value)
        return [
            (self._blind(kind, form, VERSION), self._blind(kind, before or form, EARLIER)) for form in forms
        ]

    def named(self, connection: Connection, kind: str, value: str, source: Source | None = None) -> list[int]:
        """Return the identities that may be meant by an identifier as a caller gives it (``indexes_of``)."""
        (given,) = self.indexes_of(connection, [(kind, value)], source)
        found = queries.find(connection, [index for indexes in given for index in indexes])
        first = (next((found[index] for index in indexes if index in found), None) for indexes in given)
        return list(dict.fromkeys(number for number in first if number is not None))

    def find(self, connection: Connection, kind: str, value: str, source: Source | None = None) -> int | None:
        """Return the identity of an identifier as a caller gives it, None if there is none.

        :raises InvalidInputError: the type is not declared, or the number is that of several people in
            several countries.
        """
        numbers = self.named(connection, kind, value, source)
        if len(numbers) > 1 and self._several(connection, numbers):
            # What only a refusal ever named was told together with nothing: whoever else has it is meant.
            cluster_of = queries.clusters_of(connection, numbers)
            sizes = queries.cluster_sizes(connection, numbers)
            numbers = [one for one in numbers if sizes[cluster_of[one]] > 1] or numbers
            if self._several(connection, numbers):
                raise InvalidInputError(AMBIGUOUS)
        return numbers[0] if numbers else None

    def _several(self, connection: Connection, numbers: list[int]) -> bool:
        return len(set(self.profiles_of(connection, numbers).values())) > 1

    def profile_of(self, connection: Connection, identity_no: int) -> int:
        """Return the profile that an identity belongs to now; a merged profile's old number works.

        :raises NotFoundError: there is no such identity.
        """
        found = queries.profiles_of(connection, [identity_no]).get(identity_no)
        if found is None:
            raise NotFoundError("there is no profile with this id")
        return found

    def profiles_of(self, connection: Connection, identity_nos: Iterable[int]) -> dict[int, int]:
        """Return identity_no → profile_no for those that exist."""
        return queries.profiles_of(connection, identity_nos)

    def members(self, connection: Connection, profile_no: int) -> list[int]:
        """Return the identity numbers of a profile, ascending."""
        return queries.members_of(connection, [profile_no]).get(profile_no, [])

    def identifiers(self, connection: Connection, profile_no: int) -> list[Identifier]:
        """Return the identities of a profile with their values sealed."""
        return self.identifiers_of(connection, self.members(connection, profile_no))

    def reach(self, connection: Connection, identity_nos: Collection[int]) -> Reach:
        """Return whose data may be shown to somebody who proved that these are theirs (``reach/walk.py``)."""
        return reach_of(connection, identity_nos, self.rules.is_device)

    def identifiers_of(self, connection: Connection, identity_nos: Iterable[int]) -> list[Identifier]:
        """Return some identities with their values sealed, ascending."""
        found = queries.identifiers(connection, identity_nos)
        return [msgspec.structs.replace(item, device=self.rules.is_device(item.type)) for item in found]

    def values(
        self, connection: Connection, profile_nos: Iterable[int], kind: str
    ) -> dict[int, tuple[int, bytes]]:
        """Return profile_no → (identity_no, sealed value) of its newest identifier of one type."""
        found = queries.identifiers_of_type(connection, profile_nos, kind)
        return {profile_no: (number, sealed) for profile_no, number, sealed in found}

    def profile_page(self, connection: Connection, limit: int, after: int) -> list[int]:
        """Return up to ``limit`` profile numbers above ``after``, ascending."""
        return queries.profile_page(connection, limit, after)

    def members_at(self, connection: Connection, identity_no: int, commit_no: int) -> list[Member]:
        """Return the profile in which an identity was at a commit, by the links accepted then.

        Empty when the identity did not exist yet. An identity erased since is missing.
        """
        return members.at(connection, identity_no, commit_no, self.rules.is_device)

    def members_then(
        self,
        connection: Connection,
        by_profile: Mapping[int, Sequence[int]],
        commit_no: int,
        rules: IdentityRules,
    ) -> dict[int, list[Member]]:
        """Return what consent had to know, at a commit, of profiles whose identities of then are known.

        :param by_profile: profile_no → its identity numbers; one that was erased since is left out.
        :param rules: those in force then, which say what is a device.
        """
        return members.of(connection, by_profile, rules.is_device, commit_no)

    def grouped_at(
        self, connection: Connection, identity_nos: Collection[int], commit_no: int
    ) -> list[list[int]]:
        """Return whole profiles of a commit, given as identities: their identity numbers, ascending."""
        return members.grouped(connection, identity_nos, commit_no)

    def everybody(self, connection: Connection) -> dict[int, list[int]]:
        """Return profile_no → its identity numbers, ascending, of every profile."""
        return queries.everybody(connection)

    def grown(self, connection: Connection, limit: int, after: int = 0) -> list[tuple[int, int]]:
        """Return up to ``limit`` (profile_no, size) above ``after`` of profiles as large as the alarm."""
        return watch.large(connection, self.rules.growth_alarm, limit, after)

    set_aside = staticmethod(watch.set_aside)
    alone = staticmethod(queries.alone)
    relinked_since = staticmethod(queries.relinked_since)

    def devices(self, connection: Connection, identity_nos: Iterable[int]) -> set[int]:
        """Return those of some identities that are devices."""
        types = queries.identity_types(connection, identity_nos)
        return {number for number, kind in types.items() if self.rules.is_device(kind)}

    def declared_types(self, connection: Connection, identity_nos: Iterable[int]) -> list[str]:
        """Return the types of some identities, those that are declared."""
        types = set(queries.identity_types(connection, identity_nos).values())
        return sorted(kind for kind in types if self.rules.of(kind) is not None)

    def consent_members(self, connection: Connection, profile_nos: Iterable[int]) -> dict[int, list[Member]]:
        """Return what consent must know of the identities of each profile."""
        return members.now(connection, profile_nos, self.rules.is_device)
