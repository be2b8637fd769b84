"""The consent ledger: what is appended, to whom, and the state that follows.

Invariants:

1. A grant goes to one identity, the authenticated one; an unverified browser's word to a device only. A
   restraint goes to every identity named and every identity then in their profiles (rules 3, 4).
2. Only changes are appended: every act; a stamp that grants only where nothing was recorded; a stamp
   that restrains only over a grant or a milder restraint (rule 2). Stamps on every event cost no rows.
3. A grant that names no notice was given on the one in force at the time.
4. Evidence is sealed under the identity's ``proof`` key, or not kept at all.
5. ``consent_states`` is a function of the records, the links and the bundle; age is applied at each
   read, so an expiry needs no writer.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec
from pyroaring import BitMap

from cdp.clock import Clock, Micros, random_id
from cdp.consent import queries
from cdp.consent.model import RESTRAINING, Draft, Member, Record, RecordState, Standing, Statement
from cdp.consent.precedence import SEVERITY, standing
from cdp.consent.queries import Last
from cdp.crypto import Keyring, Place, seal
from cdp.policy import Bundle, Notice, covers, lineage
from cdp.store import Batch, Connection

_LEGAL_BASIS: dict[RecordState, str] = {
    "granted": "consent",
    "refused": "consent",
    "withdrawn": "consent",
    "opted_out": "opt_out",
    "objected": "legitimate_interest",
    "restricted": "",
}
_MAX_TEXT = 500


class ConsentLedger:
    """Appends to the ledger, keeps the derived states and answers what is permitted by the person."""

    def __init__(self, keyring: Keyring, bundle: Bundle, clock: Clock) -> None:
        self._keyring = keyring
        self._bundle = bundle
        self._clock = clock
        self._purposes = hashlib.sha256(
            msgspec.json.encode(bundle.purposes, order="deterministic")
        ).hexdigest()
        self._place = Place(keyring.workspace, "consent_records", "sealed").prefix()
        self._below = {
            above: [purpose for key, purpose in bundle.purposes.items() if covers(above, key)]
            for above in bundle.purposes
        }

    # -- writing --------------------------------------------------------------------------------

    def append(
        self,
        batch: Batch,
        drafts: Sequence[Draft],
        members: Mapping[int, Sequence[Member]],
        profile_of: Mapping[int, int],
    ) -> frozenset[int]:
        """Append what is new in ``drafts``; returns the profiles that have a new record.

        :param members: profile_no → its members, for every profile that the drafts touch.
        :param profile_of: identity_no → profile_no, for every identity that the drafts name.
        """
        devices = {m.identity_no for profile in members.values() for m in profile if m.device}
        everyone = [_everyone(draft, members, profile_of) for draft in drafts]
        last = queries.newest(batch.connection, dict.fromkeys(no for numbers in everyone for no in numbers))
        first_id = random_id()
        records: list[Record] = []
        evidence: list[bytes | None] = []
        for draft, numbers in zip(drafts, everyone, strict=True):
            grantee = _grantee(draft, devices)
            for statement in draft.statements:
                concerned = numbers if statement.state in RESTRAINING else grantee
                fresh = [no for no in concerned if _is_change(last.get((no, statement.purpose)), statement)]
                if not fresh:
                    continue
                said = self._record(draft, statement)
                for number in fresh:
                    last[number, statement.purpose] = Last(
                        statement.state, statement.act, statement.event_time
                    )
                    record_id = first_id + len(records)
                    records.append(msgspec.structs.replace(said, record_id=record_id, identity_no=number))
                    evidence.append(statement.evidence)
        queries.add_records(batch.connection, batch.id, self._sealed(records, evidence))
        home = {m.identity_no: profile_no for profile_no, profile in members.items() for m in profile}
        return frozenset(home[record.identity_no] for record in records)

    def _record(self, draft: Draft, statement: Statement) -> Record:
        """Return what is recorded of a statement, before it is known of whom."""
        notice_id, version, sha256 = self._notice(statement, min(statement.event_time, draft.received_at))
        return Record(
            record_id=0,
            identity_no=0,
            purpose=statement.purpose,
            state=statement.state,
            act=statement.act,
            event_time=statement.event_time,
            received_at=draft.received_at,
            source_kind=draft.source_kind,
            source_id=draft.source_id,
            verified=draft.verified,
            event_type=statement.event_type,
            legal_basis=_LEGAL_BASIS[statement.state],
            signal=_plain(statement.signal),
            expires_at=statement.expires_at,
            notice_id=notice_id,
            notice_version=version,
            notice_sha256=sha256,
            language=_plain(statement.language),
            method=_plain(statement.method),
            jurisdiction=_plain(statement.jurisdiction),
            recipients=tuple(sorted({_plain(name) for name in statement.recipients})),
        )

    def _notice(self, statement: Statement, at: Micros) -> tuple[str, int | None, str]:
        """Return id, version and digest of the notice that a statement was made on."""
        named, version = statement.notice_id, statement.notice_version
        purpose = self._bundle.purposes.get(statement.purpose)
        found: Notice | None = None
        if purpose is not None and named:
            kept = (n for n in purpose.notices if n.id == named and version in {None, n.version})
            found = max((n for n in kept if version or n.in_force_from <= at), key=_version, default=None)
        elif purpose is not None and statement.state == "granted":
            found = purpose.notice_at(at)
        if found is None:
            return _plain(named), version, ""
        return found.id, found.version, found.sha256

    def _sealed(self, records: Sequence[Record], evidence: Sequence[bytes | None]) -> list[Record]:
        proven = {r.identity_no for r, proof in zip(records, evidence, strict=True) if proof is not None}
        deks = self._keyring.deks(proven, "proof") if proven else {}
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

    def refresh(self, batch: Batch, members: Mapping[int, Sequence[Member]], gone: Collection[int]) -> None:
        """Derive the states of these profiles again, and forget those of profiles that are gone.

        Rows that stay the same are not touched, so ``changed_since`` names only real changes.

        :param members: profile_no → its members, for every profile whose links or records changed.
        """
        connection, now = batch.connection, self._clock.now()
        numbers = [member.identity_no for profile in members.values() for member in profile]
        of_identity: dict[int, list[Record]] = defaultdict(list)
        for record in queries.records_of(connection, numbers, decisive=True):
            of_identity[record.identity_no].append(record)
        held = queries.states_for(connection, {*members, *gone})
        wanted: dict[tuple[int, str], Standing] = {}
        for profile_no, profile in members.items():
            records = [record for member in profile for record in of_identity.get(member.identity_no, ())]
            for state in self._standings(profile, records, now):
                wanted[profile_no, state.purpose] = state
        changed = {key: state for key, state in wanted.items() if held.get(key) != state}
        queries.delete_states(connection, [key for key in held if key not in wanted or key in changed])
        queries.add_states(connection, batch.id, [(key[0], state) for key, state in changed.items()])

    def _standings(self, profile: Sequence[Member], records: Sequence[Record], now: Micros) -> list[Standing]:
        """Return the state of every purpose that ``records`` say something about."""
        by_purpose: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_purpose[record.purpose].append(record)
        touched = {purpose.key: purpose for key in by_purpose for purpose in self._below.get(key, ())}
        return [
            standing(
                purpose,
                profile,
                [record for above in lineage(purpose.key) for record in by_purpose.get(above, ())],
                now,
            )
            for purpose in touched.values()
        ]

    def is_derived(self, connection: Connection) -> bool:
        """True when the states were derived under the purposes of this bundle."""
        return queries.derived_under(connection) == self._purposes

    def mark_derived(self, batch: Batch) -> None:
        """Note that every state was derived under the purposes of this bundle."""
        queries.mark_derived(batch.connection, self._purposes)

    def speakers(self, connection: Connection, after: int, limit: int) -> list[int]:
        """Return up to ``limit`` identity numbers above ``after`` about which something is recorded."""
        return queries.speakers(connection, after, limit)

    # -- reading --------------------------------------------------------------------------------

    def states(
        self, connection: Connection, purpose: str, among: Collection[int] | None = None
    ) -> dict[int, Standing]:
        """Return profile_no → state of one purpose; a profile about which nothing was said is absent.

        :param among: only these profiles; everybody when None.
        """
        now = self._clock.now()
        found = queries.states_of_purpose(connection, purpose, among)
        for profile_no, state in found.items():
            if state.expires_at is not None and state.expires_at <= now and state.state == "granted":
                found[profile_no] = _expired(state)
        return found

    def states_of(self, connection: Connection, members: Sequence[Member]) -> dict[str, Standing]:
        """Return purpose → state of one profile, for every configured purpose."""
        records = queries.records_of(connection, [member.identity_no for member in members])
        now = self._clock.now()
        return {
            key: standing(purpose, members, records, now) for key, purpose in self._bundle.purposes.items()
        }

    def restrained(self, connection: Connection, purpose: str) -> BitMap:
        """Return the profiles with a restraint on ``purpose`` or anything above it."""
        return queries.restrained(connection, purpose)

    def changed_since(self, connection: Connection, commit_no: int) -> BitMap:
        """Return the profiles of which a state changed after ``commit_no``; relinked ones aside."""
        return queries.changed_since(connection, commit_no)

    def records_of(self, connection: Connection, identity_nos: Iterable[int]) -> list[Record]:
        """Return every record of these identities, in the order in which they came in."""
        return queries.records_of(connection, identity_nos)

    def has_records(self, connection: Connection, identity_nos: Iterable[int]) -> bool:
        """Return whether anything was ever recorded about one of these identities."""
        return queries.any_record(connection, identity_nos)


def _everyone(
    draft: Draft, members: Mapping[int, Sequence[Member]], profile_of: Mapping[int, int]
) -> list[int]:
    """Return the identities that a restraint of ``draft`` is written to: named, then in their profiles."""
    numbers = dict.fromkeys(draft.named)
    for profile_no in dict.fromkeys(profile_of[number] for number in draft.named):
        numbers.update(dict.fromkeys(member.identity_no for member in members[profile_no]))
    return list(numbers)


def _grantee(draft: Draft, devices: Collection[int]) -> tuple[int, ...]:
    """Return the identity that a grant of ``draft`` is written to: one or none (rules 3, 4)."""
    chosen = draft.authenticated
    if draft.source_kind == "browser" and not draft.verified and chosen not in devices:
        chosen = next((number for number in draft.named if number in devices), None)
    return () if chosen is None else (chosen,)


def _is_change(last: Last | None, statement: Statement) -> bool:
    if last is None:
        return True
    if statement.act:
        return last != Last(statement.state, statement.act, statement.event_time)
    if statement.state == "granted":
        return False  # a stamp grants only where nothing was recorded
    return last.state == "granted" or SEVERITY.index(statement.state) > SEVERITY.index(last.state)


def _expired(state: Standing) -> Standing:
    return msgspec.structs.replace(state, state="stale", reason="stale_expired")


def _version(notice: Notice) -> int:
    return notice.version


def _plain(text: str) -> str:
    """Return ``text`` as every database can hold it: no NUL, no lone surrogate, of bounded length."""
    return text and text.encode(errors="replace").decode().replace("\0", "")[:_MAX_TEXT]
