"""Render: one fetch of an export, from the decision of then to the rows of now.

Steps, at each fetch:

1. Check the export's destination, the key and its purpose again; the policies are those of now.
2. A published checkpoint must cover the export's entry.
3. Read one snapshot: (M∖D) ∩ permitted now, without whoever is restrained for evaluating segments; a field's
   transform is the meet of then and now. Decided anew is whoever anything happened to since L; everybody,
   when the bundle or the category of what the definition read is another one (``bind.chosen_by``), or the
   decision's ``valid_until`` has passed.
4. Commit the fetch, its entry, and that everybody of whom a row may still leave is held there. Nothing has
   left so far.
5. Piece by piece, sorted by ``profile_ref``, each at the moment at which it is handed over: the key, the
   switch, the contract and the policies; the age of the grants; in a snapshot the head, and where that moved,
   everybody restrained or relinked since. Values are read, opened and transformed ahead, a chunk at a time;
   of whoever was decided anew they are read again.
6. Commit the entry of the end, with whom it skipped. Without it all count as delivered.

Invariant: no piece handed over after a restraining commit holds that person, however slowly it is taken.

Whose links changed since L is skipped: identities that joined have no leaf in the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from pyroaring import BitMap

from cdp.access import AccessService, Principal
from cdp.audit import AuditLog, Entry
from cdp.clock import Clock
from cdp.crypto import Keyring
from cdp.errors import IntegrityError, NotAuthenticatedError, NotFoundError, UnavailableError
from cdp.gate import manifest, queries
from cdp.gate.admit import Refusal
from cdp.gate.deliveries import Deliveries
from cdp.gate.fetch import Fetch
from cdp.gate.judge import Judge
from cdp.gate.model import ADDRESSES, Column, Value
from cdp.gate.rows import Linking, Reading, Row, RowReader
from cdp.gate.transform import REF, pseudonymiser
from cdp.segments import SegmentService
from cdp.store import Committer, Connection, Store, erased, read_head, retrying

Unsubscribe = Callable[[int, str, str], str]
"""Makes the link that withdraws an identity from a purpose, for the rows of a destination."""
_CHUNK = 5000
"""People whose values are read at once: of more of them more lie beside each other."""


def _unknown(reason: str = "unknown_export") -> Refusal:
    """Return the refusal, made anew: a kept error keeps alive what was at hand where it was raised."""
    return Refusal(reason, NotFoundError("there is no export with this id for this key"))


class Renderer:
    """Begins fetches, and checks what they hand over.

    :param destination_key: returns the key of a destination's pseudonyms.
    :param unsubscribe: makes the links of rows, where a destination declares them.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        keyring: Keyring,
        audit: AuditLog,
        access: AccessService,
        segments: SegmentService,
        judge: Judge,
        rows: RowReader,
        deliveries: Deliveries,
        destination_key: Callable[[str], bytes],
        unsubscribe: Unsubscribe,
        clock: Clock,
    ) -> None:
        self._store = store
        self._committer = committer
        self._keyring = keyring
        self._audit = audit
        self._access = access
        self._segments = segments
        self._judge = judge
        self._rows = rows
        self._deliveries = deliveries
        self._destination_key = destination_key
        self._unsubscribe = unsubscribe
        self._clock = clock

    def begin(self, export_id: str, principal: Principal, only: BitMap | None) -> Stream:
        """Begin a fetch: steps 1 to 4.

        :param only: the identities of those asked for; None for everybody in the export.
        """
        fetch = self._open(export_id, principal, only)  # 1
        self._cover(fetch.given.audit_index)  # 2
        with self._store.reading() as connection:  # 3
            fetch.checked, epoch = read_head(connection)
            self._keyring.observe_epoch(epoch)
            self._choose(connection, fetch)
        anchors = retrying(lambda: self._begin(fetch))  # 4
        key = self._destination_key(fetch.given.destination)
        columns, read = self._rows.reader(
            fetch.question.terms,
            fetch.question.bundle.fields,
            [plan for plan, people in fetch.plans.items() if people],
            key,
            self._clock.now(),
            self._linking(fetch),
        )
        return Stream(self._store, self, fetch, columns, self._sorted(key, anchors), anchors, read)

    def _linking(self, fetch: Fetch) -> Linking | None:
        given, bundle = fetch.given, fetch.question.bundle
        if not bundle.destinations[given.destination].unsubscribe_url:
            return None
        used = bundle.purposes[given.purpose].channels
        return Linking(
            tuple(kind for channel, kind in ADDRESSES.items() if channel in used),
            lambda number: self._unsubscribe(number, given.purpose, given.destination),
        )

    # -- before the first byte ------------------------------------------------------------------

    def _open(self, export_id: str, principal: Principal, only: BitMap | None) -> Fetch:
        asked = Entry(action="export.fetch", actor=principal.actor)
        with self._store.reading() as connection:
            stored = queries.load_export(connection, export_id)
        if stored is None:
            self._judge.refuse(asked, _unknown())
        given = stored.authorisation
        asked = msgspec.structs.replace(
            asked, purpose=given.purpose, destination=given.destination, object={"export": given.export_id}
        )
        if principal.destination != given.destination:
            self._judge.refuse(asked, _unknown("other_destination"))
        with self._store.reading() as connection:
            admitted = self._judge.admitted(connection, asked, principal, given.destination, given.purpose)
            inputs = self._judge.chosen_by(connection, asked, admitted[0], stored)
        question = self._judge.bind(admitted, inputs, given.fields)
        if question.bundle.destinations[given.destination].unsubscribe_url:
            asked = msgspec.structs.replace(asked, object={**asked.object, "links": "withdraw"})
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
        chosen, changed = _sets(fetch.stored)
        for one, held in zip(fetch.stored.classes, chosen, strict=True):
            identities = held - changed
            if fetch.only is not None:
                identities &= fetch.only
            fetch.choose(identities, queries.memberships(connection, identities), one.plan)
        fetch.start()
        question, stored = fetch.question, fetch.stored
        anew = fetch.aged(self._clock.now()) or (
            (question.bundle.sha256, question.terms.inputs) != (fetch.given.bundle, stored.inputs)
        )
        self._decide(connection, fetch, fetch.given.ledger_position, anew=anew)

    def _begin(self, fetch: Fetch) -> dict[int, int]:
        """Commit the fetch; returns profile_no → the identity its pseudonym is anchored to."""
        given = fetch.given
        with self._committer.batch() as batch:
            fetch.deny(erased(batch.connection, fetch.waiting))  # whoever was since they were chosen
            known = queries.anchors(batch.connection, given.destination)
            anchors = fetch.anchors(known)
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
            fetch.held = {anchor: fetch.members(no) for no, anchor in anchors.items()}
            fetch.fresh = self._deliveries.begin(batch, fetch.stored, fetch.held)
            batch.record(msgspec.structs.replace(fetch.asked, people={"delivered": fetch.expected}))
        if batch.commit_no == fetch.checked + 1:
            fetch.checked = batch.commit_no  # only we came between
        return anchors

    def _sorted(self, key: bytes, anchors: Mapping[int, int]) -> list[Row]:
        """Return the rows of those who wait, sorted; without a key there is none."""
        pseudonym = pseudonymiser(key, REF)
        held = self._keyring.pseudonym_secrets(anchors.values())
        return sorted(
            [
                (pseudonym(secret), profile_no, secret)
                for profile_no, anchor in anchors.items()
                if (secret := held.get(anchor)) is not None
            ]
        )

    # -- while it streams -----------------------------------------------------------------------

    def recheck(self, connection: Connection, fetch: Fetch) -> BitMap:
        """Hold a fetch against everything as it is now; returns who was decided anew.

        :raises NotPermittedError: nothing more may leave; it is recorded.
        :raises NotAuthenticatedError: the key was revoked or has expired; likewise.
        """
        head, epoch = read_head(connection)
        self._keyring.observe_epoch(epoch)
        given, now = fetch.given, self._clock.now()
        if not self._is_live(connection, fetch, head):
            ended = NotAuthenticatedError("the API key was revoked or has expired")
            self._judge.refuse(fetch.asked, Refusal("key_ended", ended))
        admitted = self._judge.admitted(
            connection, fetch.asked, fetch.principal, given.destination, given.purpose
        )
        since, anew = fetch.checked, fetch.aged(now)
        inputs = self._judge.chosen_by(connection, fetch.asked, admitted[0], fetch.stored)
        if admitted[0] is not fetch.question.bundle or inputs != fetch.question.terms.inputs:
            fetch.question = self._judge.bind(admitted, inputs, given.fields)
            since, anew = given.ledger_position, True  # everybody's decision is an old one
        if head == fetch.checked and not anew:
            return BitMap()
        again = self._decide(connection, fetch, since, anew=anew)
        fetch.checked = head
        return again

    def _decide(self, connection: Connection, fetch: Fetch, since: int, *, anew: bool) -> BitMap:
        """Decide about everybody to whom something happened since a commit; returns who that was.

        :param anew: about everybody who waits.
        """
        objected = self._segments.restrained(connection) & fetch.waiting
        fetch.deny(objected)
        touched, relinked = self._judge.facts.touched_since(
            connection, since, fetch.waiting, fetch.people, fetch.question.bundle
        )
        again = BitMap(fetch.waiting) if anew else touched
        members = {no: fetch.members(no) for no in again}
        fetch.decided(again, self._judge.decide(connection, fetch.question, members, relinked))
        return again | objected

    def _is_live(self, connection: Connection, fetch: Fetch, head: int) -> bool:
        """Return whether the key still holds; it can be revoked by a commit only, and expires by itself."""
        expires = fetch.principal.expires_at
        if expires is not None and expires <= self._clock.now():
            return False
        if fetch.key_seen != head:
            if not self._access.is_live(connection, fetch.principal):
                return False
            fetch.key_seen = head
        return True

    def end(self, fetch: Fetch) -> None:
        """Commit the end of a fetch, with whom it skipped."""
        delivered = BitMap([number for no in fetch.delivered for number in fetch.members(no)])
        skipped = fetch.expected - len(fetch.delivered)
        with self._committer.batch() as batch:
            queries.end_fetch(
                batch.connection, fetch.fetch_no, fetch.identities - delivered, self._clock.now()
            )
            left = {anchor: held for anchor, held in fetch.held.items() if held[0] in delivered}
            self._deliveries.end(batch, fetch.key, (fetch.fetch_no, fetch.started_at), fetch.fresh, left)
            batch.record(
                msgspec.structs.replace(
                    fetch.asked,
                    action="export.fetched",
                    people={"delivered": len(fetch.delivered), "skipped": skipped},
                )
            )


def _sets(stored: queries.Stored) -> tuple[list[BitMap], BitMap]:
    """Return the identities of each class, and D.

    :raises IntegrityError: they are not as many as the manifest has leaves, or no sets.
    """
    try:
        chosen = [BitMap.deserialize(one.identities) for one in stored.classes]
        changed = BitMap.deserialize(stored.changed)
    except ValueError:
        raise IntegrityError("an export is not as it was stored: one of its sets cannot be read") from None
    if sum(map(len, chosen)) != manifest.size(stored.manifest):
        raise IntegrityError("an export is not as it was stored: its people are not those of its manifest")
    return chosen, changed


class Stream:
    """The rows of a fetch: steps 5 and 6. Whoever takes a piece decides how many rows at most.

    :param rows: of everybody of whom one might leave, in their order.
    :param anchors: profile_no → the identity its pseudonym is anchored to.
    """

    def __init__(
        self,
        store: Store,
        renderer: Renderer,
        fetch: Fetch,
        columns: tuple[Column, ...],
        rows: Sequence[Row],
        anchors: Mapping[int, int],
        read: Reading,
    ) -> None:
        self.columns = columns
        self.format = fetch.given.format
        self._store = store
        self._renderer = renderer
        self._fetch = fetch
        self._rows = rows
        self._anchors = anchors
        self._read = read
        self._at = 0
        self._ahead: list[tuple[str, int, tuple[Value, ...]]] = []
        self._ended = False

    def named(self) -> dict[str, int]:
        """Return profile_ref → anchor."""
        return {profile_ref: self._anchors[profile_no] for profile_ref, profile_no, _ in self._rows}

    def moved(self) -> BitMap:
        """Return the anchors of those gathered to whom something happened since: their rows may not leave."""
        with self._store.reading() as connection:
            self._renderer.recheck(connection, self._fetch)
        return BitMap([self._anchors[no] for no in self._fetch.moved])

    def take(self, limit: int) -> list[tuple[str, tuple[Value, ...]]]:
        """Return (profile_ref, values) of the next people, each permitted now; none at the end."""
        if self._ended:
            return []
        with self._store.reading() as connection:
            again = self._renderer.recheck(connection, self._fetch)
            if again and self._ahead:
                last = self._rows[self._at - _CHUNK : self._at]
                fresh = self._look(connection, [row for row in last if row[1] in again])
                self._ahead = [
                    (ref, no, fresh.get(no, values))
                    for ref, no, values in self._ahead
                    if no in self._fetch.waiting
                ]
            while not self._ahead and self._at < len(self._rows):
                rows = self._rows[self._at : self._at + _CHUNK]
                values = self._look(connection, rows)
                self._ahead = [(ref, no, values[no]) for ref, no, _ in rows if no in values]
                self._at += _CHUNK
        if not self._ahead:
            retrying(lambda: self._renderer.end(self._fetch))  # 6
            self._ended = True
            return []
        piece, self._ahead = self._ahead[:limit], self._ahead[limit:]
        self._fetch.deliver(BitMap([no for _, no, _ in piece]))
        return [(ref, values) for ref, _, values in piece]

    def _look(self, connection: Connection, rows: Sequence[Row]) -> dict[int, tuple[Value, ...]]:
        """Return profile_no → values of those who may leave."""
        waiting = self._fetch.waiting
        return self._read(connection, [row for row in rows if row[1] in waiting], self._fetch.plans)
