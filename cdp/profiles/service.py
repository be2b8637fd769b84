"""What is known of a profile: folded traits, timeline."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cdp.access import AccessService, Source
from cdp.clock import Clock, Micros
from cdp.identity import IdentityService
from cdp.ingest import timeline
from cdp.policy import Bundle
from cdp.profiles import queries
from cdp.profiles.attest import ADDING, attest
from cdp.profiles.fold import Trust, fold
from cdp.profiles.model import CORRECTION, Observation, Survivor, TimelineEvent
from cdp.store import Connection


class ProfileService:
    """Reads profiles; values that are sealed stay sealed."""

    def __init__(
        self, identity: IdentityService, access: AccessService, bundle: Bundle, clock: Clock
    ) -> None:
        self._identity = identity
        self._access = access
        self._clock = clock
        self.adopt(bundle)

    def adopt(self, bundle: Bundle) -> None:
        """Fold as ``bundle`` says."""
        self._bundle = bundle

    def observations(
        self, connection: Connection, profile_nos: Iterable[int], names: Collection[str] | None = None
    ) -> dict[str, dict[int, Observation]]:
        """Return trait name → profile_no → the surviving observation.

        :param names: only these traits; all when None.
        """
        fields = self._bundle.fields
        wanted = None if names is None else fields.folded_from(names)
        observed = queries.observations(connection, profile_nos, wanted)
        return self._fold(connection, observed, names)

    def by_identity(
        self, connection: Connection, identity_nos: Iterable[int], names: Collection[str]
    ) -> dict[str, dict[int, Observation]]:
        """Return trait name → identity_no → the observation that survives among its own."""
        wanted = self._bundle.fields.folded_from(names)
        return self._fold(connection, queries.of_identities(connection, identity_nos, wanted), names)

    carriers = staticmethod(queries.carriers)

    def identifiers(
        self, connection: Connection, profile_nos: Iterable[int], kind: str
    ) -> dict[int, tuple[int, bytes]]:
        """Return profile_no → (identity_no, sealed value) of its newest identifier of type ``kind``."""
        return self._identity.values(connection, profile_nos, kind)

    def trust(self) -> Trust:
        """Return how far sources are trusted, by their name, else by their kind: trait → source_id → rank.

        Of the traits of which the most trusted source holds; what ``fields.yaml`` says of a trait stands over
        ``source_trust`` of ``identity.yaml``.
        """
        return self._ranked(self._access.list_sources())

    def _fold(
        self, connection: Connection, observed: Iterable[Observation], names: Collection[str] | None
    ) -> dict[str, dict[int, Observation]]:
        trust = self._ranked(self._access.read_sources(connection))
        found = fold(observed, self._bundle.fields, trust, self._clock.now())
        return found if names is None else {name: held for name, held in found.items() if name in names}

    def _ranked(self, sources: Iterable[Source]) -> Trust:
        known = list(sources)
        common = self._bundle.identity.source_trust
        return {
            name: {
                source.source_id: ranks.get(source.name, ranks.get(source.kind, 0))
                for ranks in ({**common, **rule.trust},)
                for source in known
            }
            for name, rule in self._bundle.fields.traits.items()
            if rule.survivorship == "most_trusted"
        }

    def traits(self, connection: Connection, profile_no: int) -> dict[str, Observation]:
        """Return the folded traits of one profile by name."""
        return {
            name: held[profile_no]
            for name, held in sorted(self.observations(connection, [profile_no]).items())
        }

    def survivors(self, connection: Connection, profile_no: int) -> dict[str, Survivor]:
        """Return the folded traits of one profile by name, each with its source and the rule it holds by."""
        return self.survivors_of(connection, [profile_no]).get(profile_no, {})

    def survivors_of(
        self, connection: Connection, profile_nos: Iterable[int], names: Collection[str] | None = None
    ) -> dict[int, dict[str, Survivor]]:
        """Return profile_no → trait name → the same, read together; nobody who has no trait.

        :param names: only these traits; all when None.
        """
        sources = self._access.read_sources(connection)
        wanted = None if names is None else self._bundle.fields.folded_from(names)
        return attest(
            queries.observations(connection, profile_nos, wanted),
            self._bundle.fields,
            self._ranked(sources),
            {CORRECTION: "rectification"} | {source.source_id: source.name for source in sources},
            self._clock.now(),
        )

    def observed(self, connection: Connection, identity_nos: Iterable[int]) -> list[Observation]:
        """Return everything that was ever observed of some identities, the newest first."""
        found = queries.of_identities(connection, identity_nos)
        return sorted(found, key=lambda one: (-one.observed_at, one.event_id, one.name))

    def survivors_among(self, connection: Connection, observed: Iterable[Observation]) -> dict[str, Survivor]:
        """Return trait name → what holds of some observations, as if they were of one profile."""
        sources = self._access.read_sources(connection)
        held = attest(
            (one._replace(profile_no=0) for one in observed),
            self._bundle.fields,
            self._ranked(sources),
            {source.source_id: source.name for source in sources},
            self._clock.now(),
        )
        return held.get(0, {})

    def comparable(self) -> frozenset[str]:
        """Return the traits of which sources may contradict each other in clear."""
        rules = self._bundle.fields.traits.items()
        return frozenset(name for name, rule in rules if rule.clear and rule.survivorship not in ADDING)

    disputed = staticmethod(queries.disputed)

    def timeline(
        self,
        connection: Connection,
        profile_no: int,
        limit: int,
        before: tuple[Micros, Micros, bytes] | None = None,
    ) -> list[TimelineEvent]:
        """Return events of a profile, newest first.

        :param before: (occurred_at, received_at, event id) of the last event of the page before.
        """
        rows = timeline(connection, self._identity.members(connection, profile_no), limit, before)
        return [
            TimelineEvent(
                event_id=row.event_id,
                identity_no=row.identity_no,
                source_id=row.source_id,
                type=row.type,
                name=row.name,
                occurred_at=row.occurred_at,
                received_at=row.received_at,
                properties=None if row.properties is None else row.properties.encode(),
                more=row.sealed is not None,
            )
            for row in rows
        ]
