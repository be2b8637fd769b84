"""The gate: authorise an export, render it. The only maker of ``Released``.

Authorising stands in ``authorise.py`` and rendering in ``render.py``, under the numbers of privacy.md;
recalls stand in ``recall.py`` and ``issue.py``, and the references that they name are made here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from pyroaring import BitMap

from cdp.access import AccessService, Principal
from cdp.audit import AuditLog
from cdp.clock import Clock, Micros
from cdp.consent import ConsentLedger
from cdp.crypto import Keyring
from cdp.gate import queries
from cdp.gate.admit import Refusal
from cdp.gate.authorise import Authoriser
from cdp.gate.decide import PERMITTED
from cdp.gate.deliveries import Deliveries
from cdp.gate.facts import FactReader
from cdp.gate.feed import Feeder
from cdp.gate.inside import Admitted, Insider, View, refusal
from cdp.gate.issue import Issuer
from cdp.gate.judge import Judge
from cdp.gate.many import ManyReader, Wanted
from cdp.gate.mask import Held, Masker
from cdp.gate.model import Authorisation, Released, Rendering, Request, Revealed, Value
from cdp.gate.opening import Opener
from cdp.gate.prove import Prover
from cdp.gate.recall import Recaller
from cdp.gate.render import Renderer, Stream, Unsubscribe
from cdp.gate.rows import RowReader
from cdp.gate.subject import Subject, delivered_of
from cdp.gate.transform import REF, pseudonymiser
from cdp.identity import members_of
from cdp.policy import Bundle
from cdp.profiles import ProfileService
from cdp.segments import SegmentService
from cdp.store import Committer, Connection, Store, read_head, retrying


class Gate:
    """Decides what may leave, and renders it.

    :param policy: returns the bundle in force as a connection sees it.
    :param unsubscribe: makes the links that rows carry for destinations that declare them.
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
        access: AccessService,
        unsubscribe: Unsubscribe,
        clock: Clock,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._opener = opener = Opener(keyring)
        self.facts = facts = FactReader(ledger, segments.blocked, opener)
        self._judge = Judge(committer, policy, facts, clock)
        self._authoriser = Authoriser(store, committer, keyring, audit, segments, self._judge, clock)
        rows = RowReader(keyring, profiles, opener)
        self.inside = Insider(self._judge, rows, keyring, clock)
        self.many = ManyReader(self._judge, profiles, keyring, opener, clock)
        self._mask = Masker(keyring, opener)
        self.deliveries = Deliveries(store, committer, clock)
        self._renderer = Renderer(
            store,
            committer,
            keyring,
            audit,
            access,
            segments,
            self._judge,
            rows,
            self.deliveries,
            keyring.destination_key,
            unsubscribe,
            clock,
        )
        self.feed = Feeder(store, committer, segments, self._judge, self.authorise, self._refer, clock)
        self.proofs = Prover(store, committer, keyring, audit, self._judge, self._refer)
        self.recalls = Issuer(store, Recaller(store, self._judge, segments.restrained, clock), self._refer)

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

    def places(
        self, connection: Connection, profile_nos: Iterable[int], bundle: Bundle, now: Micros
    ) -> dict[str, BitMap]:
        """Return jurisdiction → those of some profiles of which a place in it is recorded.

        Whoever is in none has no recorded place, and falls under every jurisdiction that is configured.
        """
        return self.facts.places(connection, members_of(connection, profile_nos), bundle, now)

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
        return self._released(self._renderer.begin(export_id, principal, None))

    def render_some(
        self, export_id: str, principal: Principal, anchors: BitMap
    ) -> tuple[Rendering, dict[str, int], Callable[[], BitMap]]:
        """Begin a fetch of some people of an export, whose rows are gathered before any is handed over.

        Raises what ``render`` does.

        :returns: beside it profile_ref → anchor, and what tells, when all is stored that goes with the rows,
            the anchors of whom something happened to since they were taken: theirs may not be handed over.
        """
        with self._store.reading() as connection:
            only = queries.profile_mates(connection, anchors)
        stream = self._renderer.begin(export_id, principal, only)
        return self._released(stream), stream.named(), stream.moved

    def reveal(
        self,
        connection: Connection,
        admitted: Admitted,
        profile_no: int,
        numbers: Sequence[int],
        fields: Sequence[str],
    ) -> Revealed | Refusal:
        """Open fields of one profile for the controller; whoever asks records it before it is shown.

        Parameters and errors are those of ``Insider.reveal``.
        """
        opened = self.inside.reveal(connection, admitted, profile_no, numbers, fields)
        if isinstance(opened, Refusal):
            return opened
        row = Released(opened.profile_ref, opened.values)
        return Revealed(row=row, columns=opened.columns, plan=opened.plan, bundle=opened.bundle)

    def masked(
        self, connection: Connection, view: View, profile_no: int, held: Collection[Held]
    ) -> dict[int, Released]:
        """Return identity_no → the identifier's mask, where one may be shown; parameters as of ``Masker``."""
        reference, masks = self._mask(connection, view, profile_no, held)
        return {number: Released(reference, (mask,)) for number, mask in masks.items()}

    def subject(
        self, connection: Connection, admitted: Admitted, members: Mapping[int, Sequence[int]]
    ) -> Subject | Refusal:
        """Decide about one person and return what opens their data for them; the caller records it before.

        :param members: profile_no → those of its identities that are theirs; of several profiles where they
            proved identifiers of several.
        :raises UnavailableError: consent is being derived under other policies.
        """
        self._keyring.observe_epoch(read_head(connection)[1])
        views = self.inside.views(connection, admitted, members)
        for view in views.values():
            if view.reason != PERMITTED:
                return refusal(view.reason)
        own = {number: views[no] for no, numbers in members.items() for number in numbers}
        return Subject(self._keyring, self._opener, own, lambda values: Released("", values))

    delivered = staticmethod(delivered_of)

    def read_many(
        self,
        connection: Connection,
        admitted: Admitted,
        members: Mapping[int, Sequence[int]],
        fields: Sequence[Wanted],
    ) -> list[tuple[int, Released]]:
        """Open fields of a page of people for the controller, which recorded it before; for no eye.

        :returns: (identity_no, values aligned with ``fields``), without a reference: nobody is to be shown.

        Parameters and errors are those of ``ManyReader.read``.
        """
        rows = self.many.read(connection, admitted, members, fields)
        return [(number, Released("", values)) for number, values in rows]

    def _released(self, stream: Stream) -> Rendering:
        def take(limit: int) -> list[Released]:
            return [Released(profile_ref, values) for profile_ref, values in stream.take(limit)]

        return Rendering(format=stream.format, columns=stream.columns, take=take)

    def _refer(
        self, destination: str, anchors: Iterable[int], values: tuple[Value, ...]
    ) -> dict[int, Released]:
        """Return anchor → its reference with ``values``, sorted by reference; a recall has no field."""
        pseudonym = pseudonymiser(self._keyring.destination_key(destination), REF)
        held = self._keyring.pseudonym_secrets(anchors)
        made = {anchor: Released(pseudonym(secret), values) for anchor, secret in held.items()}
        return dict(sorted(made.items(), key=lambda item: item[1].profile_ref))
