"""The gate: authorise an export, render it. The only maker of ``Released``.

Authorising stands in ``authorise.py``, under the numbers of privacy.md. **Render**, at each fetch:

1. Check the export's destination, the key and its purpose again; the policies are those of now.
2. A published checkpoint must cover the export's entry.
3. Read one snapshot: (M∖D) ∩ permitted now; a field's transform is the meet of then and now. Decided
   anew is whoever anything happened to since L; everybody, when the bundle is another one or the
   decision's ``valid_until`` has passed.
4. Commit the fetch and its entry, which mark all of M∖D delivered. Nothing has left so far.
5. Chunk by chunk, sorted by ``profile_ref``: a snapshot, in it the head; where that moved, everybody
   restrained or relinked since is decided anew. Then values are read, opened, transformed.
6. Commit the entry of the end, with whom it skipped. Without it all count as delivered.

The claim that holds: no row read after a restraining commit contains that person.

Whose links changed since L is skipped: identities that joined have no leaf in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from pyroaring import BitMap

from cdp.access import Principal
from cdp.audit import AuditLog, Entry
from cdp.clock import Clock, Micros, random_id
from cdp.consent import ConsentLedger
from cdp.crypto import Keyring
from cdp.errors import NotFoundError, UnavailableError
from cdp.gate import queries
from cdp.gate.admit import Refusal
from cdp.gate.authorise import Authoriser
from cdp.gate.decide import meet_plans
from cdp.gate.facts import FactReader
from cdp.gate.judge import Judge, Question
from cdp.gate.model import Authorisation, FieldPlan, Partition, Released, Rendering, Request
from cdp.gate.opening import Opener
from cdp.gate.queries import Stored
from cdp.gate.rows import Reading, Row, RowReader
from cdp.gate.transform import pseudonym
from cdp.policy import Bundle
from cdp.profiles import ProfileService
from cdp.segments import SegmentService
from cdp.store import Committer, Connection, Store, chunks, read_head, retrying

_CHUNK = 2000
_REF = "profile_ref"


class Gate:
    """Decides what may leave, and renders it.

    ``bundle`` holds the policies in force; activating others replaces it.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        keyring: Keyring,
        bundle: Bundle,
        ledger: ConsentLedger,
        segments: SegmentService,
        profiles: ProfileService,
        audit: AuditLog,
        clock: Clock,
    ) -> None:
        self.bundle = bundle
        self._store = store
        self._committer = committer
        self._keyring = keyring
        self._audit = audit
        self._clock = clock
        opener = Opener(keyring)
        facts = FactReader(ledger, segments, profiles, opener)
        self._judge = Judge(committer, lambda: self.bundle, facts, clock)
        self._authoriser = Authoriser(store, committer, keyring, audit, segments, self._judge, clock)
        self._rows = RowReader(keyring, profiles, opener)

    def authorise(self, request: Request, *, dry_run: bool = False) -> Authorisation:
        """Decide an export and store the decision; a dry run stores only its audit entry.

        :raises InvalidInputError: no purpose is stated, or a field is not declared.
        :raises NotPermittedError: the key, the destination or the policies stand against the whole of
            it, or fewer people than the destination's minimum remain.
        :raises NotFoundError: there is no such destination or segment.
        """
        return retrying(lambda: self._authoriser(request, dry_run=dry_run))

    def find(self, export_id: str) -> Authorisation | None:
        """Return an export as decided; None when there is none."""
        with self._store.reading() as connection:
            return queries.find_export(connection, export_id)

    def exports(
        self,
        *,
        limit: int,
        before: tuple[Micros, str] | None = None,
        destination: str | None = None,
        requested_by: int | None = None,
    ) -> list[Authorisation]:
        """Return exports as decided, newest first.

        :param before: (created_at, export id) of the last one of the page before.
        :param destination: only of this destination; ``requested_by`` only those a key asked for.
        """
        with self._store.reading() as connection:
            return queries.list_exports(
                connection, limit=limit, before=before, destination=destination, requested_by=requested_by
            )

    def render(self, export_id: str, principal: Principal) -> Rendering:
        """Begin a fetch: when this returns, its entry is committed and no byte has left.

        :raises NotFoundError: there is no such export for this key.
        :raises NotPermittedError: the key's purposes, or the destination's state, stand against it.
        :raises UnavailableError: no published checkpoint covers the export yet.
        """
        fetch = self._open(export_id, principal)  # 1
        self._cover(fetch.given.audit_index)  # 2
        with self._store.reading() as connection:  # 3
            fetch.checked, epoch = read_head(connection)
            self._keyring.observe_epoch(epoch)
            self._choose(connection, fetch)
        anchors = retrying(lambda: self._begin(fetch))  # 4
        rows = self._sorted(fetch, anchors)
        key = self._destination_key(fetch.given.destination)
        fields = fetch.question.bundle.fields
        columns, read = self._rows.reader(
            fetch.question.terms, fields, set(fetch.plans.values()), key, self._clock.now()
        )
        stream = self._stream(fetch, rows, read)
        return Rendering(format=fetch.given.format, columns=columns, rows=stream)

    # -- before the first byte ------------------------------------------------------------------

    def _open(self, export_id: str, principal: Principal) -> _Fetch:
        asked = Entry(action="export.fetch", actor=principal.actor)
        with self._store.reading() as connection:
            stored = queries.load_export(connection, export_id)
        unknown = Refusal("unknown_export", NotFoundError("there is no export with this id for this key"))
        if stored is None:
            self._judge.refuse(asked, unknown)
        given = stored.authorisation
        asked = msgspec.structs.replace(
            asked, purpose=given.purpose, destination=given.destination, object={"export": given.export_id}
        )
        if principal.destination != given.destination:
            self._judge.refuse(asked, msgspec.structs.replace(unknown, reason="other_destination"))
        admitted = self._judge.admit(asked, principal, given.destination, given.purpose)
        question = self._judge.bind(admitted, stored.inputs, given.fields)
        return _Fetch(stored, question, principal, asked)

    def _cover(self, audit_index: int) -> None:
        if not self._covered(audit_index):
            self._audit.sign_checkpoint(self._committer)
        if not self._covered(audit_index):
            raise UnavailableError("no published checkpoint of the audit log covers this export yet")

    def _covered(self, audit_index: int) -> bool:
        with self._store.reading() as connection:
            checkpoint = self._audit.latest_checkpoint(connection)
        return checkpoint is not None and checkpoint.size > audit_index

    def _choose(self, connection: Connection, fetch: _Fetch) -> None:
        """Find the profiles of M∖D and what is permitted of each, then and now."""
        changed = BitMap.deserialize(fetch.stored.changed)
        for one in fetch.stored.classes:
            identities = BitMap.deserialize(one.identities) - changed
            fetch.identities |= identities
            for number, profile_no in queries.profiles_of(connection, identities).items():
                fetch.members.setdefault(profile_no, []).append(number)
                fetch.then[profile_no] = one.plan
        given, question = fetch.given, fetch.question
        again, relinked = self._judge.facts.touched_since(
            connection, given.ledger_position, fetch.members, question.bundle
        )
        if fetch.ages(self._clock.now()) or given.bundle != question.bundle.sha256:
            again = BitMap(fetch.members)
        fetch.plans = dict(fetch.then)  # as decided at L, for everybody to whom nothing happened since
        members = {no: fetch.members[no] for no in again}
        fetch.decided(again, self._judge.decide(connection, question, members, relinked))

    def _begin(self, fetch: _Fetch) -> dict[int, int]:
        """Commit the fetch; returns profile_no → the identity its pseudonym is anchored to."""
        given = fetch.given
        with self._committer.batch() as batch:
            known = queries.anchors(batch.connection, given.destination)
            anchors = {
                profile_no: next(
                    (number for number in sorted(fetch.members[profile_no]) if number in known), profile_no
                )
                for profile_no in fetch.plans
            }
            queries.set_anchors(batch.connection, given.destination, known | BitMap(anchors.values()))
            queries.start_fetch(
                batch.connection,
                fetch.fetch_no,
                given.export_id,
                fetch.principal.key_id,
                batch.id,
                self._clock.now(),
            )
            batch.record(msgspec.structs.replace(fetch.asked, people={"delivered": given.counts.released}))
        if batch.commit_no == fetch.checked + 1:
            fetch.checked = batch.commit_no  # only we came between
        return anchors

    def _sorted(self, fetch: _Fetch, anchors: Mapping[int, int]) -> list[tuple[str, int, bytes]]:
        """Return (profile_ref, profile_no, the anchor's secret), sorted; without a key there is no row."""
        key = self._destination_key(fetch.given.destination)
        held = self._keyring.pseudonym_secrets(anchors.values())
        return sorted(
            (pseudonym(key, _REF, held[anchor]), profile_no, held[anchor])
            for profile_no, anchor in anchors.items()
            if anchor in held
        )

    def _destination_key(self, destination: str) -> bytes:
        return self._keyring.secret(f"destination/{destination}")

    # -- the stream -----------------------------------------------------------------------------

    def _stream(
        self, fetch: _Fetch, rows: Sequence[tuple[str, int, bytes]], read: Reading
    ) -> Iterator[Released]:
        for chunk in chunks(rows, _CHUNK):  # 5
            with self._store.reading() as connection:
                self._recheck(connection, fetch)
                allowed = [row for row in chunk if row[1] in fetch.plans]
                values = read(
                    connection,
                    [Row(profile_no, secret, fetch.plans[profile_no]) for _, profile_no, secret in allowed],
                )
            fetch.delivered.update(profile_no for _, profile_no, _ in allowed)
            for (profile_ref, _, _), row in zip(allowed, values, strict=True):
                yield Released(profile_ref, row)
        self._end(fetch)  # 6

    def _recheck(self, connection: Connection, fetch: _Fetch) -> None:
        """Decide anew about everybody to whom something happened since the last look."""
        head, epoch = read_head(connection)
        self._keyring.observe_epoch(epoch)
        if not self._judge.in_force(fetch.question):
            given = fetch.given
            admitted = self._judge.admit(fetch.asked, fetch.principal, given.destination, given.purpose)
            fetch.question = self._judge.bind(admitted, fetch.stored.inputs, given.fields)
            fetch.checked = given.ledger_position  # everybody's decision is an old one
            fetch.all_again = True
        elif fetch.ages(self._clock.now()):
            fetch.all_again = True
        elif head == fetch.checked:
            return
        people = BitMap(fetch.plans) - fetch.delivered
        left = {no: fetch.members[no] for no in people}
        touched, relinked = self._judge.facts.touched_since(
            connection, fetch.checked, left, fetch.question.bundle
        )
        again = people if fetch.all_again else touched
        members = {no: left[no] for no in again}
        fetch.decided(again, self._judge.decide(connection, fetch.question, members, relinked))
        fetch.checked, fetch.all_again = head, False

    def _end(self, fetch: _Fetch) -> None:
        delivered = BitMap(number for no in fetch.delivered for number in fetch.members[no])
        skipped = fetch.given.counts.released - len(fetch.delivered)
        with self._committer.batch() as batch:
            queries.end_fetch(
                batch.connection, fetch.fetch_no, fetch.identities - delivered, self._clock.now()
            )
            batch.record(
                msgspec.structs.replace(
                    fetch.asked,
                    action="export.fetched",
                    people={"delivered": len(fetch.delivered), "skipped": skipped},
                )
            )


class _Fetch:
    """One rendering on its way: whom is left to deliver under which plan, and up to where it was checked.

    ``members`` maps profile_no → its identities in M∖D; ``then`` → the plan authorised; ``plans`` →
    the meet of that and of what is permitted now, for those of whom a row may leave.
    """

    def __init__(self, stored: Stored, question: Question, principal: Principal, asked: Entry) -> None:
        self.stored = stored
        self.given = stored.authorisation
        self.question = question
        self.principal = principal
        self.asked = asked
        self.fetch_no = random_id()
        self.identities = BitMap()
        self.members: dict[int, list[int]] = {}
        self.then: dict[int, FieldPlan] = {}
        self.plans: dict[int, FieldPlan] = {}
        self.delivered = BitMap()
        self.checked = 0
        self.all_again = False
        self.aged = False

    def ages(self, now: Micros) -> bool:
        """True once, when the decision's ``valid_until`` has passed: everybody is then decided anew."""
        end = self.given.valid_until
        passed = end is not None and end <= now and not self.aged
        self.aged = self.aged or passed
        return passed

    def decided(self, people: BitMap, partition: Partition) -> None:
        """Take a decision about ``people``."""
        for person in people:
            self.plans.pop(person, None)
        width = len(self.question.terms.fields)
        for allowed, now in partition.classes:
            met: dict[FieldPlan, FieldPlan] = {}  # few plans, many people
            for person in allowed:
                then = self.then[person]
                if then not in met:
                    met[then] = meet_plans((then, now), width)
                self.plans[person] = met[then]
