"""Reports, each made over one snapshot and put on record before it is shown.

1. One snapshot is read; the report names its instant, the policies in force, the log's size and newest
   checkpoint then.
2. Its entry in the log holds its name, its period, that size, and the SHA-256 of its canonical JSON
   (RFC 8785) without ``entry``: whoever is handed a report can hold it against the log.
3. Only then is it shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import rfc8785
from pyroaring import BitMap

from cdp.audit import AuditEntry, AuditLog, Entry
from cdp.clock import Clock, Micros, rfc3339
from cdp.crypto import ProfileIds, Rotation
from cdp.errors import CdpError, InvalidInputError, NotFoundError
from cdp.gate import Gate, Refusal
from cdp.identity import members_of, profiles_of
from cdp.ingest import DataCatalogue
from cdp.policy import Bundle
from cdp.reports import blast, losses, notices, queries
from cdp.reports.blast import Reach, Scope, reach
from cdp.reports.log import logged
from cdp.reports.period import Period, Piece, check_pieces
from cdp.reports.processing import ASKING, Done, activities, flags, gather
from cdp.reports.queries import EVERY, Only
from cdp.segments import SegmentService
from cdp.store import Committer, Connection

_PURPOSE = "compliance_review"
_IMPORT = "import"
_NOWHERE = "no place is recorded: every law that is configured"


class House(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers for the processing, and how it is secured.

    :param name: the controller, and ``contact``: how it and its data protection officer are reached.
    :param backup_days: for how long backups of keys are kept.
    """

    name: str
    contact: str
    four_eyes: bool
    backup_days: int


class Reports:
    """Makes reports.

    :param policy: returns the bundle in force as a connection sees it.
    """

    def __init__(
        self,
        committer: Committer,
        audit: AuditLog,
        policy: Callable[[Connection], Bundle],
        gate: Gate,
        segments: SegmentService,
        catalogue: DataCatalogue,
        rotation: Rotation,
        ids: ProfileIds,
        house: House,
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._audit = audit
        self._policy = policy
        self._gate = gate
        self._segments = segments
        self._catalogue = catalogue
        self._rotation = rotation
        self._ids = ids
        self._house = house
        self._clock = clock

    # -- records of processing ------------------------------------------------------------------

    def processing(self, actor: str, period: Period) -> dict[str, Any]:
        """Make the records of processing activities (GDPR Art. 30) of what was done in a period."""
        undeclared = self._catalogue.undeclared()

        def body(connection: Connection, bundle: Bundle, now: Micros) -> dict[str, Any]:
            done, senders = self._done(connection, period), queries.senders(connection)
            return {
                "controller": {"name": self._house.name or None, "contact": self._house.contact or None},
                "activities": activities(bundle, done, now),
                "security": self._security(),
                **flags(
                    bundle, done, undeclared, period.from_, {no: name for no, (name, _) in senders.items()}
                ),
            }

        return self._made(
            actor, "processing", "Records of processing activities (GDPR Art. 30)", period, body
        )

    def _done(self, connection: Connection, period: Period) -> Done:
        senders = queries.senders(connection)
        shown = blast.shown_fields(self._audit, connection, period)
        shown.pop("", None)
        return Done(
            uses=[use for use in queries.uses(connection, period) if not use.action.startswith(ASKING)],
            sent=gather(
                queries.decisions(connection, period),
                queries.departures(connection, period),
                lambda export_id: queries.released(connection, export_id),
            ),
            revealed=shown,
            evaluated=self._segments.all_read(connection),
            told=[
                (senders.get(source, (str(source), ""))[0], name)
                for source, name, _ in queries.told_by(connection, None, None)
            ],
            people=lambda identities: len(_people(connection, identities)),
        )

    def _security(self) -> list[dict[str, str]]:
        keys = self._rotation.status(counted=False)
        four = "two officers" if self._house.four_eyes else "one officer (four eyes are switched off)"
        said = {
            "storage": "AES-256-GCM per field under a key of each person, which erasure destroys",
            "root of the keys": keys.provider.partition(" ")[0].partition(":")[0],
            "key version": f"{keys.current}; backups of keys are kept {self._house.backup_days} days",
            "pseudonyms": "each destination has its own, made with a key of its own",
            "access": "API keys with role, purposes and end; every use of personal data is in the log",
            "log": "Merkle tree with signed checkpoints (RFC 6962, C2SP tlog-checkpoint)",
            "changes of policies": f"activated by {four}",
        }
        return [{"measure": measure, "how": how} for measure, how in said.items()]

    # -- breaches -------------------------------------------------------------------------------

    def scope(self, destination: str, key: str, source: str) -> Scope:
        """Return what was breached, by its names.

        :raises NotFoundError: something is named that never was.
        """
        with self._committer.store.reading() as connection:
            known = destination in self._policy(connection).destinations
            if destination and not known and not queries.was_destination(connection, destination):
                raise NotFoundError("there is no such destination, and never was")
            scope = Scope(
                destination=destination,
                key=key,
                source=source,
                key_id=queries.key_named(connection, key) if key else None,
                source_id=queries.source_named(connection, source) if source else None,
            )
        if key and scope.key_id is None:
            raise NotFoundError("there is no API key of this name, and never was")
        if source and scope.source_id is None:
            raise NotFoundError("there is no source of this name")
        return scope

    def blast_radius(
        self, actor: str, scope: Scope, period: Period, noticed_at: Micros | None = None
    ) -> dict[str, Any]:
        """Say whom and what a breach reaches, where it went and by when the authority is told.

        :param noticed_at: when it was noticed; now when None.
        :raises InvalidInputError: it was noticed in the future.
        """

        def body(connection: Connection, bundle: Bundle, now: Micros) -> dict[str, Any]:
            noticed = now if noticed_at is None else noticed_at
            if noticed > now:
                raise InvalidInputError("noticed_at lies in the future")
            found = reach(self._audit, connection, scope, period, now)
            return {
                "scope": scope.shown(),
                "clock": blast.clock(noticed, now),
                **self._reached(connection, bundle, scope, period, found, now),
            }

        return self._made(
            actor,
            "blast_radius",
            "Blast radius of a breach (GDPR Art. 33, 34)",
            period,
            body,
            purpose=_PURPOSE,
            about=scope.logged(),
        )

    def _reached(
        self,
        connection: Connection,
        bundle: Bundle,
        scope: Scope,
        period: Period,
        found: Reach,
        now: Micros,
    ) -> dict[str, Any]:
        profile_of = profiles_of(connection, found.identities)
        people = BitMap(profile_of.values())
        places = self._gate.places(connection, people, bundle, now)
        somewhere = BitMap.union(BitMap(), *places.values())
        told = queries.recalls(
            connection,
            Period(from_=period.from_, to=max(period.to, now + 1)),
            Only(destination=scope.destination),
        )
        held = self._gate.deliveries.held(connection, found.identities) if found.identities else []
        lies = queries.quarantined(connection, scope.source_id) if scope.source_id is not None else []
        return {
            "people": {
                "known": len(people),
                "identities_erased_since": len(found.identities) - len(profile_of),
                "listed_by": "GET /api/v1/reports/blast-radius/people",
            },
            "jurisdictions": [
                {"jurisdiction": name, "people": len(some)}
                for name, some in sorted({**places, _NOWHERE: people - somewhere}.items())
                if some
            ],
            "what": blast.contents(bundle, found),
            "where_sent": blast.recipients(
                bundle, found, lambda identities: len(_people(connection, identities)), now
            ),
            "held_now": [
                {
                    "destination": audience.destination,
                    "purpose": audience.purpose,
                    "segment": audience.segment,
                    "people": len(anchors),
                }
                for audience, anchors in held
                if scope.destination in {"", audience.destination}
            ],
            "told_to_remove": blast.told_back(told, {name for _, name in found.sent}, now),
            "looked_at": list(blast.looked_at(found)),
            "received": {
                "events": found.events,
                "first": rfc3339(found.first) if found.events else None,
                "last": rfc3339(found.last) if found.events else None,
                "in_quarantine": sum(count for _, count, _ in lies),
            },
        }

    def concerned(
        self, actor: str, purpose: str, scope: Scope, period: Period, limit: int, after: int
    ) -> list[tuple[int, str]]:
        """Return (number, id) of the people of a breach above a number, ascending; it is recorded of each.

        :param purpose: an internal purpose.
        :raises NotPermittedError: the purpose is none, or the policies stand against it.
        """
        with self._committer.batch() as batch:
            connection = batch.connection
            may = self._gate.inside.admit(connection, purpose, shows=False)
            refused: CdpError | None = may.error if isinstance(may, Refusal) else None
            people: list[int] = []
            if refused is None:
                found = reach(self._audit, connection, scope, period, self._clock.now())
                every = BitMap(profiles_of(connection, found.identities).values())
                people = [number for number in every if number > after][:limit]
            members = members_of(connection, people)
            batch.record(
                Entry(
                    action="report.people",
                    actor=actor,
                    outcome="allowed" if refused is None else "denied",
                    purpose=purpose,
                    destination="controller",
                    object={"report": "blast_radius", **scope.logged()},
                    people={"people": len(people)},
                    subjects=tuple(number for numbers in members.values() for number in numbers),
                )
            )
        if refused is not None:
            raise refused
        return [(number, self._ids.encode(number)) for number in people]

    # -- withheld -------------------------------------------------------------------------------

    def audience_loss(
        self, actor: str, period: Period, by: Piece, *, mine: int | None = None, only: Only = EVERY
    ) -> dict[str, Any]:
        """Say why people were withheld, over time.

        :param mine: the key of a marketer, who sees what they asked for themselves, noised; None: exactly.
        """
        check_pieces(period, by)

        def exact(connection: Connection, _bundle: Bundle, _now: Micros) -> dict[str, Any]:
            def matches(entry: AuditEntry) -> bool:
                said = (str(entry.object.get("segment", "")), entry.destination, entry.purpose)
                return all(wanted in ("", one) for wanted, one in zip(only, said, strict=True))

            issued = logged(self._audit, connection, period, "recall.issue", "allowed")
            refused = logged(self._audit, connection, period, "export.authorise", "denied")
            return {
                "by": by,
                "exact": True,
                "audiences": losses.audiences(
                    queries.decisions(connection, period, only),
                    queries.departures(connection, period, only),
                    queries.recalls(connection, period, only),
                    filter(matches, issued),
                    by,
                    lambda raw: len(_people(connection, BitMap.deserialize(raw))),
                ),
                "refused_whole": losses.refusals(filter(matches, refused), by),
            }

        def noised(connection: Connection, _bundle: Bundle, _now: Micros) -> dict[str, Any]:
            own = queries.decisions(connection, period, only, mine)
            return {"by": by, "exact": False, "audiences": losses.noised_audiences(own, by)}

        title = "Audience loss: why people were withheld"
        return self._made(actor, "audience_loss", title, period, exact if mine is None else noised)

    # -- notices --------------------------------------------------------------------------------

    def imported(self, actor: str, period: Period) -> dict[str, Any]:
        """Say who came by import in a period, by source, and was given no notice within a month (Art. 14)."""

        def body(connection: Connection, _bundle: Bundle, now: Micros) -> dict[str, Any]:
            kinds = queries.senders(connection)
            told = queries.informed(connection)
            rows = []
            imports = {number: name for number, (name, kind) in kinds.items() if kind == _IMPORT}
            for number, name in sorted(imports.items(), key=lambda one: one[1]):
                came = queries.arrivals(connection, number)
                came = came[(came[:, 1] >= period.from_) & (came[:, 1] < period.to)]
                numbers = {*came[:, 0].tolist(), *told[:, 0].tolist()}
                people = profiles_of(connection, numbers)
                rows.append({"source": name, **notices.imported(came, told, people, now)})
            return {"sources": rows, "within_days": 30}

        title = "Notice to people whose data was imported (GDPR Art. 14)"
        return self._made(actor, "notices", title, period, body, purpose=_PURPOSE)

    # -- how ------------------------------------------------------------------------------------

    def _made(
        self,
        actor: str,
        name: str,
        title: str,
        period: Period,
        body: Callable[[Connection, Bundle, Micros], dict[str, Any]],
        *,
        purpose: str = "",
        about: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        now = self._clock.now()
        with self._committer.store.reading() as connection:  # 1
            bundle = self._policy(connection)
            newest = self._audit.latest_checkpoint(connection)
            size = self._audit.size(connection)
            report: dict[str, Any] = {
                "report": name,
                "title": title,
                "made_at": rfc3339(now),
                "period": period.shown(),
                "bundle": bundle.sha256,
                "log": {
                    "size": size,
                    "signed_up_to": 0 if newest is None else newest.size,
                    "checkpoint": None if newest is None else newest.note,
                },
                **body(connection, bundle, now),
            }
        digest = hashlib.sha256(rfc8785.dumps(report)).hexdigest()
        said: dict[str, str | int] = {
            "report": name,
            **period.shown(),
            "bundle": bundle.sha256,
            "log_size": size,
            "sha256": digest,
            **(about or {}),
        }
        with self._committer.batch() as batch:  # 2
            batch.record(
                Entry(
                    action="report.make",
                    actor=actor,
                    purpose=purpose,
                    destination="controller" if purpose else "",
                    object=said,
                )
            )
        return {**report, "entry": {"index": batch.audit_indexes[0], "sha256": digest}}  # 3


def _people(connection: Connection, identities: Iterable[int]) -> set[int]:
    return set(profiles_of(connection, identities).values())
