"""The gate: authorise an export, render it. The only maker of ``Released``.

Authorising stands in ``authorise.py``, under the numbers of privacy.md. **Render**, at each fetch:

1. Check the export's destination, the key and its purpose again; the policies are those of now.
2. A published checkpoint must cover the export's entry.
3. Read one snapshot: (M∖D) ∩ permitted now; a field's transform is the meet of then and now. Decided
   anew is whoever anything happened to since L; everybody, when the bundle is another one or the
   decision's ``valid_until`` has passed.
4. Commit the fetch, its entry, and that everybody of whom a row may still leave is held there. Nothing has
   left so far.
5. Chunk by chunk, sorted by ``profile_ref``: a snapshot, in it the head; where that moved, everybody
   restrained or relinked since is decided anew. Then values are read, opened, transformed.
6. Commit the entry of the end, with whom it skipped. Without it all count as delivered.

**Recall** stands in ``recall.py`` and ``issue.py``; the references that it names are made here.

The claim that holds: no row read after a restraining commit contains that person.

Whose links changed since L is skipped: identities that joined have no leaf in the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
from pyroaring import BitMap

from cdp.access import Principal
from cdp.audit import AuditLog, Entry
from cdp.clock import Clock, Micros
from cdp.consent import ConsentLedger
from cdp.crypto import Keyring
from cdp.errors import NotFoundError, UnavailableError
from cdp.gate import queries
from cdp.gate.admit import Refusal
from cdp.gate.authorise import Authoriser
from cdp.gate.deliveries import Deliveries
from cdp.gate.facts import FactReader
from cdp.gate.feed import Feeder
from cdp.gate.fetch import Fetch
from cdp.gate.issue import Issuer
from cdp.gate.judge import Judge
from cdp.gate.model import Authorisation, Released, Rendering, Request, Value
from cdp.gate.opening import Opener
from cdp.gate.prove import Prover
from cdp.gate.recall import Recaller
from cdp.gate.rows import Reading, Row, RowReader
from cdp.gate.transform import pseudonymiser
from cdp.policy import Bundle
from cdp.profiles import ProfileService
from cdp.segments import SegmentService
from cdp.store import Committer, Connection, Store, chunks, read_head, retrying

_CHUNK = 2000
_REF = "profile_ref"


class Gate:
    """Decides what may leave, and renders it.

    :param policy: returns the bundle in force as a connection sees it.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        keyring: Keyring,
        policy: Callable[[Connection], Bundle],
        ledger: ConsentLedger,
        segments: SegmentService,
        profiles: ProfileService,
        audit: AuditLog,
        clock: Clock,
    ) -> None:
        self._store = store
        self._committer = committer
        self._keyring = keyring
        self._audit = audit
        self._clock = clock
        opener = Opener(keyring)
        self.facts = facts = FactReader(ledger, segments, profiles, opener)
        self._judge = Judge(committer, policy, facts, clock)
        self._authoriser = Authoriser(store, committer, keyring, audit, segments, self._judge, clock)
        self._rows = RowReader(keyring, profiles, opener)
        self.deliveries = Deliveries(store, committer, clock)
        self.feed = Feeder(store, committer, segments, self._judge, self.authorise, self._refer, clock)
        self.proofs = Prover(store, committer, keyring, self._judge, self._refer)
        self.recalls = Issuer(store, Recaller(store, self._judge, clock), self._refer)

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

    def received(self, connection: Connection, identity_no: int) -> list[tuple[str, str, Micros]]:
        """Return (destination, purpose, most recently when) of whoever received data of an identity.

        A fetch without an end counts for everybody in its export, as in ``render``, and a feed for everybody
        in it, read or not. The most recent first.
        """
        last: dict[tuple[str, str], Micros] = {}
        for destination, purpose, at, skipped in queries.received(connection, identity_no):
            if skipped is None or identity_no not in BitMap.deserialize(skipped):
                last[destination, purpose] = max(at, last.get((destination, purpose), 0))
        found = [(destination, purpose, at) for (destination, purpose), at in last.items()]
        return sorted(found, key=lambda one: (-one[2], one[0], one[1]))

    def render(self, export_id: str, principal: Principal) -> Rendering:
        """Begin a fetch: when this returns, its entry is committed and no byte has left.

        :raises NotFoundError: there is no such export for this key.
        :raises NotPermittedError: the key's purposes, or the destination's state, stand against it.
        :raises UnavailableError: no published checkpoint covers the export yet.
        """
        return self._render(export_id, principal, None)[0]

    def render_some(
        self, export_id: str, principal: Principal, anchors: BitMap
    ) -> tuple[Rendering, dict[str, int]]:
        """Begin a fetch of some people of an export; returns profile_ref → anchor beside it.

        Raises what ``render`` does.
        """
        with self._store.reading() as connection:
            only = queries.profile_mates(connection, anchors)
        return self._render(export_id, principal, only)

    def _render(
        self, export_id: str, principal: Principal, only: BitMap | None
    ) -> tuple[Rendering, dict[str, int]]:
        fetch = self._open(export_id, principal, only)  # 1
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
        named = {profile_ref: anchors[profile_no] for profile_ref, profile_no, _ in rows}
        return Rendering(format=fetch.given.format, columns=columns, rows=stream), named

    # -- before the first byte ------------------------------------------------------------------

    def _open(self, export_id: str, principal: Principal, only: BitMap | None) -> Fetch:
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
        return Fetch(stored, question, principal, asked, only)

    def _cover(self, audit_index: int) -> None:
        if not self._covered(audit_index):
            self._audit.sign_checkpoint(self._committer)
        if not self._covered(audit_index):
            raise UnavailableError("no published checkpoint of the audit log covers this export yet")

    def _covered(self, audit_index: int) -> bool:
        with self._store.reading() as connection:
            checkpoint = self._audit.latest_checkpoint(connection)
        return checkpoint is not None and checkpoint.size > audit_index

    def _choose(self, connection: Connection, fetch: Fetch) -> None:
        """Find the profiles of M∖D and what is permitted of each, then and now."""
        changed = BitMap.deserialize(fetch.stored.changed)
        for one in fetch.stored.classes:
            identities = BitMap.deserialize(one.identities) - changed
            if fetch.only is not None:
                identities &= fetch.only
            fetch.identities |= identities
            members = queries.grouped(connection, identities)
            fetch.then |= dict.fromkeys(members, one.plan)
            for profile_no in members.keys() & fetch.members.keys():  # of two classes, since they were merged
                members[profile_no] += fetch.members[profile_no]
            fetch.members |= members
        given, question = fetch.given, fetch.question
        again, relinked = self._judge.facts.touched_since(
            connection, given.ledger_position, fetch.members, question.bundle
        )
        if fetch.ages(self._clock.now()) or given.bundle != question.bundle.sha256:
            again = BitMap(fetch.members)
        fetch.plans = dict(fetch.then)  # as decided at L, for everybody to whom nothing happened since
        members = {no: fetch.members[no] for no in again}
        fetch.decided(again, self._judge.decide(connection, question, members, relinked))

    def _begin(self, fetch: Fetch) -> dict[int, int]:
        """Commit the fetch; returns profile_no → the identity its pseudonym is anchored to."""
        given = fetch.given
        with self._committer.batch() as batch:
            known = queries.anchors(batch.connection, given.destination)
            anchors = {no: _anchor(no, fetch.members[no], known) for no in fetch.plans}
            queries.set_anchors(batch.connection, given.destination, known | BitMap(anchors.values()))
            fetch.started_at = self._clock.now()
            queries.start_fetch(
                batch.connection,
                fetch.fetch_no,
                given.export_id,
                fetch.principal.key_id,
                batch.id,
                fetch.started_at,
            )
            fetch.held = {anchor: fetch.members[no] for no, anchor in anchors.items()}
            fetch.fresh = self.deliveries.begin(
                batch, fetch.key, fetch.stored.inputs, given.fields, fetch.held
            )
            batch.record(msgspec.structs.replace(fetch.asked, people={"delivered": fetch.expected}))
        if batch.commit_no == fetch.checked + 1:
            fetch.checked = batch.commit_no  # only we came between
        return anchors

    def _sorted(self, fetch: Fetch, anchors: Mapping[int, int]) -> list[tuple[str, int, bytes]]:
        """Return (profile_ref, profile_no, the anchor's secret), sorted; without a key there is no row."""
        pseudonym = pseudonymiser(self._destination_key(fetch.given.destination), _REF)
        held = self._keyring.pseudonym_secrets(anchors.values())
        return sorted(
            (pseudonym(held[anchor]), profile_no, held[anchor])
            for profile_no, anchor in anchors.items()
            if anchor in held
        )

    def _refer(
        self, destination: str, anchors: Iterable[int], values: tuple[Value, ...]
    ) -> dict[int, Released]:
        """Return anchor → its reference with ``values``, sorted by reference; a recall has no field."""
        pseudonym = pseudonymiser(self._destination_key(destination), _REF)
        held = self._keyring.pseudonym_secrets(anchors)
        made = {anchor: Released(pseudonym(secret), values) for anchor, secret in held.items()}
        return dict(sorted(made.items(), key=lambda item: item[1].profile_ref))

    def _destination_key(self, destination: str) -> bytes:
        return self._keyring.secret(f"destination/{destination}")

    # -- the stream -----------------------------------------------------------------------------

    def _stream(
        self, fetch: Fetch, rows: Sequence[tuple[str, int, bytes]], read: Reading
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
        retrying(lambda: self._end(fetch))  # 6

    def _recheck(self, connection: Connection, fetch: Fetch) -> None:
        """Decide anew about everybody to whom something happened since the last look."""
        head, epoch = read_head(connection)
        self._keyring.observe_epoch(epoch)
        if not self._judge.in_force(connection, fetch.question):
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

    def _end(self, fetch: Fetch) -> None:
        delivered = BitMap(number for no in fetch.delivered for number in fetch.members[no])
        skipped = fetch.expected - len(fetch.delivered)
        with self._committer.batch() as batch:
            queries.end_fetch(
                batch.connection, fetch.fetch_no, fetch.identities - delivered, self._clock.now()
            )
            left = {anchor: held for anchor, held in fetch.held.items() if held[0] in delivered}
            self.deliveries.end(batch, fetch.key, (fetch.fetch_no, fetch.started_at), fetch.fresh, left)
            batch.record(
                msgspec.structs.replace(
                    fetch.asked,
                    action="export.fetched",
                    people={"delivered": len(fetch.delivered), "skipped": skipped},
                )
            )


def _anchor(profile_no: int, members: Sequence[int], known: BitMap) -> int:
    """Return the identity that a profile's pseudonym is made from: the first known there, else its own."""
    if len(members) == 1 and members[0] == profile_no:
        return profile_no
    return next((number for number in sorted(members) if number in known), profile_no)
