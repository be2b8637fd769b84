"""What is known of a profile: folded traits, timeline."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cdp.access import AccessService, Source
from cdp.clock import Micros
from cdp.identity import IdentityService
from cdp.ingest import timeline
from cdp.policy import Bundle
from cdp.profiles import queries
from cdp.profiles.fold import fold
from cdp.profiles.model import Observation, TimelineEvent
from cdp.store import Connection


class ProfileService:
    """Reads profiles; values that are sealed stay sealed."""

    def __init__(self, identity: IdentityService, access: AccessService, bundle: Bundle) -> None:
        self._identity = identity
        self._access = access
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
        observed = queries.observations(connection, profile_nos, names)
        return fold(observed, self._bundle.fields, self._trust(connection))

    def identifiers(
        self, connection: Connection, profile_nos: Iterable[int], kind: str
    ) -> dict[int, tuple[int, bytes]]:
        """Return profile_no → (identity_no, sealed value) of its newest identifier of type ``kind``."""
        return self._identity.values(connection, profile_nos, kind)

    def trust(self) -> dict[int, int]:
        """Return source_id → trust, by the source's name, else by its kind (``identity.yaml``)."""
        return self._ranked(self._access.list_sources())

    def _trust(self, connection: Connection) -> dict[int, int]:
        return self._ranked(self._access.read_sources(connection))

    def _ranked(self, sources: Iterable[Source]) -> dict[int, int]:
        ranks = self._bundle.identity.source_trust
        return {source.source_id: ranks.get(source.name, ranks.get(source.kind, 0)) for source in sources}

    def traits(self, connection: Connection, profile_no: int) -> dict[str, Observation]:
        """Return the folded traits of one profile by name."""
        return {
            name: held[profile_no]
            for name, held in sorted(self.observations(connection, [profile_no]).items())
        }

    def timeline(
        self, connection: Connection, profile_no: int, limit: int, before: tuple[Micros, bytes] | None = None
    ) -> list[TimelineEvent]:
        """Return events of a profile, newest first.

        :param before: (occurred_at, event id) of the last event of the page before.
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
