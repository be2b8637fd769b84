"""The consent ledger: what is appended, to whom, and the state that follows.

Invariants:

1. A grant goes to one identity, the authenticated one; an unverified browser's word to a device only. A
   restraint goes to every identity named and every identity then in their profiles (rules 3, 4).
2. Only changes are appended: every act, and a stamp that is news (``news.py``). Stamps on every event cost
   no rows.
3. A grant that names no notice was given on the one in force at the time. Of a purpose that policies do not
   declare nothing can be granted; what restrains it is recorded, for the day on which they do again.
4. Evidence is sealed under the identity's ``proof`` key, or not kept at all.
5. Of contradictory statements in one message the restraining one is the later (it wins ties anyway).
6. Restraints, acts that may lift them, and stamps that leave out recipients reach the journal before their
   transaction takes the head.
7. ``consent_standings`` is a function of the records, the links and the rules under whose name it is kept;
   age is applied at each read, so an expiry needs no writer. States that are not whole in the reader's
   snapshot are not told.
8. What is told later of a profile has a later ``received_at``, whatever the clocks of the hosts say:
   restraints rank by it. Whoever appends holds the components of those it names locked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec
from pyroaring import BitMap

from cdp.clock import Clock, Micros, random_id
from cdp.consent import queries
from cdp.consent.anew import queries as anew
from cdp.consent.attach import after, bound_by, concerned, describe, restrains
from cdp.consent.derive import derive, keep
from cdp.consent.grade import version_status
from cdp.consent.model import GPC, Appended, Draft, Member, OnRecord, Record, Standing
from cdp.consent.news import Latest, Track, without_others
from cdp.consent.precedence import may_lift
from cdp.consent.rules import Rules
from cdp.consent.standings import Standings
from cdp.consent.states import queries as states
from cdp.crypto import Keyring, Place, seal
from cdp.errors import UnavailableError
from cdp.policy import Bundle, Purpose
from cdp.store import Batch, Connection

_DERIVING = "consent is being derived under the policies now in force; try again"

Journal = Callable[[Batch, Sequence[Record]], None]
"""Told, in the batch that holds them, of new records that take something away or may lift (6)."""


class ConsentLedger:
    """Appends to the ledger, keeps the derived states and answers what is permitted by the person."""

    def __init__(
        self, keyring: Keyring, bundle: Bundle, clock: Clock, journal: Journal | None = None
    ) -> None:
        self._keyring = keyring
        self._clock = clock
        self._journal = journal
        self._place = Place(keyring.workspace, "consent_records", "sealed").prefix()
        self.adopt(bundle)

    def adopt(self, bundle: Bundle) -> None:
        """Work under ``bundle``; states that depend on what changed in it are then to be derived anew."""
        self._bundle = bundle
        self.rules = Rules(bundle)

    # -- writing --------------------------------------------------------------------------------

    def append(
        self,
        batch: Batch,
        drafts: Sequence[Draft],
        members: Mapping[int, Sequence[Member]],
        profile_of: Mapping[int, int],
        told: dict[int, list[Record]] | None = None,
    ) -> Appended:
        """Append what is new in ``drafts``.

        :param members: profile_no → its members, for every profile that the drafts touch.
        :param profile_of: identity_no → profile_no, for every identity that the drafts name.
        :param told: what is on record of the members, where that was read already; what is new is added.
        """
        devices = {m.identity_no for profile in members.values() for m in profile if m.device}
        everyone = [concerned(draft, members, profile_of) for draft in drafts]
        whole = dict.fromkeys(number for numbers in everyone for number in numbers)
        told = self.told(batch.connection, whole) if told is None else told
        last = Latest((one for number in whole for one in told.get(number, ())), self.rules.lifts_gpc)
        first_id = random_id()
        records: list[Record] = []
        evidence: list[bytes | None] = []
        narrowing: set[int] = set()
        taken: list[tuple[int, ...]] = []
        unknown = unbound = 0
        for draft, numbers in zip(drafts, everyone, strict=True):
            start = len(records)
            dated = after(draft, last.received(numbers))
            for statement in sorted(draft.statements, key=restrains):
                purpose = self._bundle.purposes.get(statement.purpose)
                if purpose is None and not restrains(statement):
                    unknown += 1
                    continue
                bound = bound_by(draft, statement, numbers, devices)
                unbound += not bound
                said = describe(dated, statement, purpose) if statement.act else None
                fresh = [
                    number for number in bound if last.is_news(number, said or statement, draft.named[0])
                ]
                if fresh and statement.signal == GPC:
                    there = {profile_of[number] for number in draft.named}
                    profiles = [members[profile_no] for profile_no in there]
                    fresh = last.unsettled(fresh, statement.purpose, draft.named, profiles)
                if not fresh:
                    continue
                said = said or describe(dated, statement, purpose)  # a stamp: often said, seldom news
                for number in fresh:
                    record = msgspec.structs.replace(
                        said, record_id=first_id + len(records), identity_no=number
                    )
                    if last.narrows(number, statement):
                        narrowing.add(record.record_id)
                    last.add(record)
                    told.setdefault(number, []).append(record)
                    records.append(record)
                    evidence.append(statement.evidence)
            own = sorted(records[start:], key=lambda record: record.identity_no not in draft.named)
            taken.append(tuple(record.record_id for record in own))
        kept = self._sealed(records, evidence)
        queries.add_records(batch.connection, batch.id, kept)
        if self._journal is not None and kept:
            decisive = [one for one in kept if one.record_id in narrowing or _restrains_or_lifts(one)]
            self._journal(batch, decisive)
        home = {m.identity_no: profile_no for profile_no, profile in members.items() for m in profile}
        return Appended(
            profiles=frozenset(home[record.identity_no] for record in records),
            records=tuple(taken),
            unknown=unknown,
            unbound=unbound,
        )

    def restore(self, batch: Batch, records: Sequence[Record]) -> list[Record]:
        """Append records that a journal kept and this database lacks; ``refresh`` their profiles afterwards.

        A stamp among them is there for the recipients that it leaves out; it grants nothing by itself.

        :returns: those that were lacking.
        """
        connection = batch.connection
        held = queries.known(connection, [record.record_id for record in records])
        lacking = [record for record in records if record.record_id not in held]
        if stamped := {one.identity_no for one in lacking if _is_stamped_grant(one)}:
            granted = {
                (one.identity_no, one.purpose): one.received_at
                for one in reversed(queries.records_of(connection, stamped, decisive=True))
                if one.state == "granted"
            }
            lacking = [
                one
                for one in lacking
                if not _is_stamped_grant(one)
                or granted.get((one.identity_no, one.purpose), one.received_at) < one.received_at
            ]
        queries.add_records(connection, batch.id, lacking)
        return lacking

    def _sealed(self, records: Sequence[Record], evidence: Sequence[bytes | None]) -> list[Record]:
        proven = {r.identity_no for r, proof in zip(records, evidence, strict=True) if proof is not None}
        deks = self._keyring.openable(proven, "proof") if proven else {}
        kept = []
        for record, proof in zip(records, evidence, strict=True):
            dek = deks.get(record.identity_no)
            if proof is not None and dek is not None:
                row_key = record.record_id.to_bytes(8)
                envelope = seal(dek, self._place, row_key, record.identity_no, proof)
                kept.append(msgspec.structs.replace(record, sealed=envelope))
            else:
                kept.append(record)
        return kept

    def refresh(
        self,
        batch: Batch,
        members: Mapping[int, Sequence[Member]],
        gone: Collection[int],
        told: OnRecord | None = None,
    ) -> None:
        """Derive the states of these profiles again, and forget those of profiles that are gone.

        Rows that stay the same are not touched, so ``changed_since`` names only real changes. States of other
        policies are kept so no longer: those may come back before anybody has derived the rest.

        :param members: profile_no → its members, for every profile whose links or records changed.
        :param told: what is on record of all of them, where that was read already.
        """
        if members or gone:
            self.begin_deriving(batch)
            now = self._clock.now()
            keep(batch.connection, batch.id, self.rules, self.rules.purposes, members, gone, now, told)

    def refresh_ahead(
        self, batch: Batch, rules: Rules, members: Mapping[int, Sequence[Member]], gone: Collection[int]
    ) -> None:
        """Do so under rules that are not in force, for the purposes of which the states would be others."""
        purposes = rules.other_than(self.rules)
        anew.hold(batch.connection, [rules.names[key] for key in purposes])
        keep(batch.connection, states.AHEAD, rules, purposes, members, gone, self._clock.now())

    def derive(
        self,
        connection: Connection,
        members: Mapping[int, Sequence[Member]],
        only: Collection[str] | None = None,
    ) -> dict[tuple[int, str], Standing]:
        """Return (profile_no, purpose) → state as it follows from the records now, under this bundle.

        :param members: profile_no → its members.
        :param only: these purposes; all when None.
        """
        return derive(connection, self.rules, members, self._clock.now(), only)

    def is_derived(self, connection: Connection) -> bool:
        """True when all states were derived under this bundle, or under one that is the same to them."""
        return anew.whole(connection).issuperset(self.rules.names.values())

    def check_derived(self, connection: Connection) -> None:
        """Refuse while states are those of other policies: what they grant may be granted no longer.

        :raises UnavailableError: they are being derived anew.
        """
        self._whole(connection, *self.rules.names)

    def _whole(self, connection: Connection, *purposes: str) -> list[str]:
        """Return the names under which purposes' states are whole at the snapshot of ``connection``.

        :raises UnavailableError: they are being derived.
        """
        names = [self.rules.names.get(purpose, "") for purpose in purposes]
        if not anew.whole(connection).issuperset(names):
            raise UnavailableError(_DERIVING)
        return names

    def begin_deriving(self, batch: Batch) -> None:
        """Note that states of other policies than these are kept so no longer; hold those that are not whole.

        So a state that this batch keeps and a page of what is made never cross, and marking waits for it.
        """
        names, whole = set(self.rules.names.values()), anew.whole(batch.connection)
        if whole - names:
            anew.discard(batch.connection, names)
        if names - whole:
            anew.hold(batch.connection, names - whole)

    def mark_derived(self, batch: Batch) -> None:
        """Note that everybody's states are there: of a ledger that is empty yet."""
        anew.mark_whole(batch.connection, self.rules.names.values())

    def naming(self, connection: Connection, purposes: Collection[str]) -> BitMap:
        """Return the profiles that hold a grant for named recipients; they may rest on several grants."""
        return states.naming(connection, self._whole(connection, *purposes))

    confirmed = staticmethod(queries.confirmed)

    def told_until(self, connection: Connection, profile_of: Mapping[int, int]) -> dict[int, Micros]:
        """Return profile_no → when the newest record of its members was received, where there is any.

        :param profile_of: identity_no → profile_no.
        """
        newest: dict[int, Micros] = {}
        for number, at in queries.told_until(connection, profile_of).items():
            newest[profile_of[number]] = max(at, newest.get(profile_of[number], at))
        return newest

    # -- reading --------------------------------------------------------------------------------

    def states(
        self, connection: Connection, purpose: str, among: Collection[int] | None = None
    ) -> dict[int, Standing]:
        """Return profile_no → state of one purpose; a profile about which nothing was said is absent.

        :param among: only these profiles; everybody when None.
        """
        (name,) = self._whole(connection, purpose)
        return {no: self._aged(state) for no, state in states.states_of(connection, name, among).items()}

    def kept_states(self, connection: Connection, profile_no: int) -> dict[str, Standing]:
        """Return purpose → state of one profile, of every purpose: what ``states_of`` tells, read as kept."""
        self.check_derived(connection)
        held = states.states_for(connection, [profile_no])
        kept = {key: held.get((profile_no, name)) for key, name in self.rules.names.items()}
        return {key: _silent(key) if state is None else self._aged(state) for key, state in kept.items()}

    def _aged(self, state: Standing) -> Standing:
        """Return a state as it is now, which is not kept."""
        ends = state.expires_at
        if state.state != "granted" or ends is None or ends > self._clock.now():
            return state
        return msgspec.structs.replace(state, state="stale", reason="stale_expired")

    def standings(
        self, connection: Connection, purpose: str, among: Iterable[int] | None = None
    ) -> Standings:
        """Return the states of one purpose as columns.

        :param among: only these profiles; everybody when None.
        """
        (name,) = self._whole(connection, purpose)
        return states.standings(connection, name, among)

    def states_of(
        self, connection: Connection, members: Sequence[Member], track: Track | None = None
    ) -> dict[str, Standing]:
        """Return purpose → state of one profile, of every purpose; only restraints of ``track`` if given."""
        numbers = [member.identity_no for member in members]
        records = without_others(queries.records_of(connection, numbers, decisive=True), track)
        told = {one.purpose: one for one in self.rules.standings(members, records, self._clock.now())}
        return {key: told.get(key) or _silent(key) for key in self.rules.purposes}

    def stale(self, connection: Connection) -> dict[str, dict[str, int]]:
        """Return purpose → reason (``stale_expired``, ``stale_notice``) → how many profiles, now."""
        found: dict[str, dict[str, int]] = defaultdict(dict)
        self.check_derived(connection)
        for purpose, reason, count in states.stale(connection, self.rules.names.values(), self._clock.now()):
            found[purpose][reason] = count
        return found

    def purpose(self, key: str) -> Purpose | None:
        """Return a purpose as declared now."""
        return self._bundle.purposes.get(key)

    @property
    def controller(self) -> str:
        """Who answers for the processing: the title of the built-in destination ``controller``."""
        found = (one.title for one in self._bundle.destinations.values() if one.role == "controller")
        return next(found, "")

    def restrained(self, connection: Connection, purpose: str) -> BitMap:
        """Return the profiles with a restraint on ``purpose`` or anything above it.

        :raises UnavailableError: consent is being derived under policies that just came in force.
        """
        return states.restrained(connection, *self._whole(connection, purpose))

    def changed_since(self, connection: Connection, commit_no: int) -> BitMap:
        """Return the profiles of which a state changed after ``commit_no``; relinked ones aside.

        What other policies changed aside, too: those are another bundle.
        """
        return states.changed_since(connection, commit_no)

    def regraded(self, connection: Connection, purpose: str, held: ConsentLedger, alone: BitMap) -> Standings:
        """Return the states of one purpose, graded anew under this bundle.

        Right where only the purpose's notices and validity differ from those that the table was derived
        under, and only for profiles of one identity, whose number they bear, without named recipients: they
        rest on one grant.

        :param held: the ledger whose states are in the table.
        :param alone: those profiles; others are left out.
        """
        stated = self._bundle.purposes[purpose]
        notices = [(notice.id, notice.version) for notice in stated.notices]
        statuses = [version_status(stated, *notice) for notice in notices]
        current = [notice for notice, status in zip(notices, statuses, strict=True) if status == "current"]
        (name,) = held._whole(connection, purpose)
        return states.standings(connection, name, None).regraded(
            alone,
            states.resting_grants(connection, name, notices),
            statuses,
            stated.validity_days,
            states.informed(connection, purpose, current),
            self._clock.now(),
        )

    def decisive(
        self, connection: Connection, identity_nos: Iterable[int], upto: int | None = None
    ) -> list[Record]:
        """Return as much of these identities' records as precedence looks at.

        :param upto: as of this commit; now when None.
        """
        return queries.records_of(connection, identity_nos, decisive=True, upto=upto)

    records_of = staticmethod(queries.records_of)
    told = staticmethod(queries.told)


def _silent(purpose: str) -> Standing:
    """Return the state of a purpose about which nothing was said."""
    return Standing(purpose=purpose, state="missing", reason="no_record")


def _is_stamped_grant(record: Record) -> bool:
    return record.state == "granted" and not record.act


def _restrains_or_lifts(record: Record) -> bool:
    """True but of grants that leave alone what was said before: stamps, and imports that name recipients."""
    return record.state != "granted" or may_lift(record) or (record.act and not record.recipients)
