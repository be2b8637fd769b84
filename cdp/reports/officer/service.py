"""The officer's queue: everything that waits for a decision or is late, the most urgent first.

Requests may be thousands: they are read by the page, in the order of the queue. All else is counted by
destination, purpose or kind, so it is few, and is made whole for each page. Nobody's data is read; looking is
on record all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from cdp.audit import AuditLog, Entry, witness_state
from cdp.clock import DAY, SECOND, Clock, Micros
from cdp.consent import ConsentLedger
from cdp.crypto import Rotation
from cdp.errors import UnavailableError
from cdp.policy import Bundle, Policies, Purpose
from cdp.reports import queries as done
from cdp.reports.officer import queries
from cdp.reports.officer.model import SEVERITIES, Item, Place, Severity
from cdp.reports.period import on_day
from cdp.store import Committer, Connection

_CONTRACT_SOON = 60 * DAY
_QUARANTINE_SOON = 7 * DAY
_UNSIGNED = 300 * SECOND
_ROTATION = DAY


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the queue.

    :param at: as of when; further pages are as of the same instant.
    :param severities: how many things there are of each; ``kinds`` likewise.
    :param more: True when the queue goes on behind the last of ``items``.
    """

    at: Micros
    items: list[Item]
    severities: dict[Severity, int]
    kinds: dict[str, int]
    more: bool


class OfficerQueue:
    """Gathers what waits.

    :param policy: returns the bundle in force as a connection sees it.
    :param witness: the key of the log's witness; empty where it has none.
    """

    def __init__(
        self,
        committer: Committer,
        audit: AuditLog,
        policy: Callable[[Connection], Bundle],
        policies: Policies,
        ledger: ConsentLedger,
        rotation: Rotation,
        witness: str,
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._audit = audit
        self._policy = policy
        self._policies = policies
        self._ledger = ledger
        self._rotation = rotation
        self._witness = witness
        self._clock = clock

    def page(self, actor: str, limit: int, after: Place | None = None, at: Micros | None = None) -> Waiting:
        """Return the most urgent things behind a place; looking is recorded.

        :param at: the instant of the first page, for all that follow it.
        """
        now = self._clock.now() if at is None else at
        with self._committer.store.reading() as connection:
            few = list(self._few(connection, now))
            found = queries.open_requests(connection, "rights_request", now, after, limit + 1)
            counts = queries.count_requests(connection, now)
        items = [_request(one) for one in found]
        items += [item for item in few if after is None or item.place > after]
        items.sort(key=lambda item: item.place)
        severities = Counter({SEVERITIES[rank]: count for rank, count in counts.items()})
        severities.update(item.severity for item in few)
        kinds = Counter({"rights_request": sum(counts.values())} if counts else {})
        kinds.update(item.kind for item in few)
        shown = items[:limit]
        with self._committer.batch() as batch:
            batch.record(Entry(action="officer.queue", actor=actor, counts={"items": len(shown)}))
        return Waiting(
            at=now,
            items=shown,
            severities={name: severities[name] for name in SEVERITIES},
            kinds=dict(sorted(kinds.items())),
            more=len(items) > limit,
        )

    def _few(self, connection: Connection, now: Micros) -> Iterator[Item]:
        bundle = self._policy(connection)
        yield from map(_recalls, queries.late_recalls(connection, now))
        yield from _contracts(bundle, now)
        yield from self._stale(connection, bundle, now)
        yield from _quarantined(connection, bundle.quarantine_days * DAY, now)
        yield from self._decisions()
        yield from self._unsigned(connection, now)
        yield from self._unwitnessed()
        yield from self._rotations(now)

    def _stale(self, connection: Connection, bundle: Bundle, now: Micros) -> Iterator[Item]:
        changed = {key: since for key, one in bundle.purposes.items() if (since := _changed(one, now))}
        if not changed:
            return  # nobody's consent can rest on an old notice, so nobody is counted
        try:
            stale = self._ledger.stale(connection)
        except UnavailableError:
            return  # consent is being derived anew; the next look counts
        for key, since in changed.items():
            people = stale.get(key, {}).get("stale_notice", 0)
            if people:
                yield Item(
                    kind="stale_notice",
                    name=key,
                    severity="soon",
                    what=f"{people} consents to {key} rest on a notice that has materially changed",
                    since=since,
                    due=None,
                    command="cdp consent stale",
                    route="GET /api/v1/consents/stale",
                )

    def _decisions(self) -> Iterator[Item]:
        overview = self._policies.overview()
        for one in overview.proposals:
            yield Item(
                kind="proposal",
                name=one.proposal_id,
                severity="soon",
                what=f"policies {one.sha256[:12]} wait for a second officer",
                since=one.proposed_at,
                due=None,
                command=f"cdp policy activate --approve {one.proposal_id}",
                route="POST /api/v1/policies/activate",
            )
        for switch in overview.switches:
            if not switch.enabled:
                yield Item(
                    kind="destination_off",
                    name=switch.destination,
                    severity="ok",
                    what=f"{switch.destination} is switched off: {switch.reason}",
                    since=switch.switched_at,
                    due=None,
                    command=f"cdp policy switch {switch.destination} on --reason CODE",
                    route=f"POST /api/v1/destinations/{switch.destination}/switch",
                )

    def _unsigned(self, connection: Connection, now: Micros) -> Iterator[Item]:
        newest = self._audit.latest_checkpoint(connection)
        since = done.unsigned_since(connection, 0 if newest is None else newest.size)
        if since is not None and since + _UNSIGNED < now:
            yield Item(
                kind="log_unsigned",
                name="audit",
                severity="late",
                what="the audit log signs no checkpoint any more; what follows the last one is not pinned",
                since=since,
                due=since + _UNSIGNED,
                command="cdp audit verify",
                route="POST /api/v1/audit/checkpoint",
            )

    def _unwitnessed(self) -> Iterator[Item]:
        state = witness_state(self._committer.store, self._witness) if self._witness else None
        if state is not None and state.trouble:
            yield Item(
                kind="witness",
                name=self._witness.partition("+")[0],
                severity="late",
                what=f"the log's witness does not countersign: {state.trouble}",
                since=state.since,
                due=None,
                command="cdp audit verify",
                route="GET /api/v1/audit/checkpoint",
            )

    def _rotations(self, now: Micros) -> Iterator[Item]:
        for one in self._rotation.status(counted=False).versions:
            if one.state == "rewrapping" and one.retired_at is not None:
                what, since, due = "is still being re-wrapped", one.retired_at, one.retired_at + _ROTATION
            elif one.state == "retired" and one.destroy_at is not None and one.destroy_at + _ROTATION < now:
                what, since, due = "should have been destroyed", one.destroy_at, one.destroy_at + _ROTATION
            else:
                continue
            yield Item(
                kind="key_rotation",
                name=str(one.version),
                severity="late" if due < now else "ok",
                what=f"KEK version {one.version} {what}",
                since=since,
                due=due,
                command="cdp keys status",
                route="GET /api/v1/keyring",
            )


def _request(one: queries.OpenRequest) -> Item:
    return Item(
        kind="rights_request",
        name=one.request_id,
        severity=SEVERITIES[one.rank],
        what=f"{one.kind} request, {one.state.replace('_', ' ')}",
        since=one.opened_at,
        due=one.due_at,
        command=f"cdp rights show {one.request_id}",
        route=f"GET /api/v1/rights/requests/{one.request_id}",
    )


def _recalls(one: queries.LateRecalls) -> Item:
    return Item(
        kind="late_recalls",
        name=one.destination,
        severity="late",
        what=f"{one.destination} has not acknowledged {one.messages} recalls of {one.people} people in time",
        since=one.oldest,
        due=one.deadline,
        command=f"cdp policy switch {one.destination} off --reason CODE",
        route=f"GET /api/v1/destinations/{one.destination}/recalls",
    )


def _contracts(bundle: Bundle, now: Micros) -> Iterator[Item]:
    for name, found in bundle.destinations.items():
        if found.contract_expires is None:
            continue
        ends = on_day(found.contract_expires)
        if ends > now + _CONTRACT_SOON:
            continue
        over = ends <= now
        word = "ended" if over else "ends"
        yield Item(
            kind="contract",
            name=name,
            severity="late" if over else "soon",
            what=f"the contract {found.contract} with {name} {word} on {found.contract_expires}",
            since=ends - _CONTRACT_SOON,
            due=ends,
            command="cdp policy activate",
            route="POST /api/v1/policies/activate",
        )


def _changed(purpose: Purpose, now: Micros) -> Micros:
    """Return when the newest material version of a notice with an earlier one came; 0 when there is none."""
    first = {notice.id: notice.version for notice in sorted(purpose.notices, key=lambda one: -one.version)}
    return max(
        (
            max(notice.in_force_from, 1)
            for notice in purpose.notices
            if notice.material and notice.version > first[notice.id] and notice.in_force_from <= now
        ),
        default=0,
    )


def _quarantined(connection: Connection, kept: Micros, now: Micros) -> Iterator[Item]:
    for kind, messages, oldest in done.quarantined(connection):
        ends = oldest // DAY * DAY + kept + DAY  # the key of a day dies when the whole day is old
        left = max(ends - now, 0) // DAY
        yield Item(
            kind="quarantine",
            name=kind,
            severity="soon" if ends - now < _QUARANTINE_SOON else "ok",
            what=f"{messages} messages in quarantine ({kind}); the oldest are destroyed in {left} days",
            since=oldest,
            due=ends,
            command="cdp quarantine list",
            route=f"GET /api/v1/quarantine?kind={kind}",
        )
