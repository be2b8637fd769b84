"""OpenDSR 2.0 as controller: recipients erase, too, whom we erase (sections 8 and 12; GDPR Art. 19).

1. ``materialise`` makes out, before the keys of the person are destroyed, which recipients that speak OpenDSR
   ever received the person, and stores for each a request of its own, sealed under a key of its own. It names
   the person by the references under which that recipient received them, and by nothing else. It runs when
   the work on an erasure may begin; the erasure calls it again, in the transaction that destroys the keys.
2. When the erasure is fulfilled here these are released; where it is denied or taken back they are dropped.
3. ``turn`` posts what is released, again and again with the same id until a signed answer says that it is
   taken; then the body and its key are destroyed. It asks each hour, too, lest a callback is lost.
4. ``hear`` takes a callback: its domain, its certificate and its signature are checked before anything of it
   is read. A status only ever moves on, so a callback that is played again changes nothing.
5. What is not over by its time is *late*, which is shown until it is.

Invariants: nothing that is not signed by the declared domain moves anything; no answer is logged.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import msgspec
from prometheus_client import Gauge

from cdp.audit import Entry
from cdp.clock import DAY, SECOND, Clock, Micros
from cdp.crypto import Keyring, Place, UntrustedError, open_sealed, seal
from cdp.errors import InvalidInputError, KeyAccessError, SealError
from cdp.export import next_try
from cdp.gate import Gate
from cdp.identity import IdentityService
from cdp.policy import Bundle, OpenDsr
from cdp.rights import queries as requests
from cdp.rights.model import RightsRequest
from cdp.rights.opendsr import queries, say
from cdp.rights.opendsr.dialogue import Dialogue, Outcome
from cdp.rights.opendsr.model import Child, ChildState
from cdp.rights.opendsr.read import Told, is_request_id, read_told
from cdp.rights.opendsr.reports import Reports
from cdp.rights.opendsr.trust import Trust
from cdp.store import Batch, Committer, Connection, retrying

_CHILDREN = Gauge(
    "cdp_opendsr_recipients", "Requests to recipients by state and lateness", ["destination", "state", "late"]
)
_AT_ONCE = 10
_CLAIMED = 120 * SECOND  # longer than discovery, certificate, request and status last together
_ASK_AGAIN = 3600 * SECOND
_ASKED_FOR = 90 * DAY
_RANK: Mapping[ChildState, int] = {
    "queued": 0, "failed": 0, "refused": 0, "pending": 1, "in_progress": 2, "completed": 3, "cancelled": 3,
}  # fmt: skip


class OpenDsrFanOut:
    """Tells recipients of erasures, and hears what they say.

    :param policy: returns the bundle in force as a connection sees it.
    :param public_url: where recipients reach this server.
    """

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        gate: Gate,
        identity: IdentityService,
        reports: Reports,
        dialogue: Dialogue,
        trust: Trust,
        policy: Callable[[Connection], Bundle],
        clock: Clock,
        *,
        public_url: str,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._gate = gate
        self._identity = identity
        self._reports = reports
        self._dialogue = dialogue
        self._trust = trust
        self._policy = policy
        self._clock = clock
        self._callbacks = f"{public_url.rstrip('/')}/v2/callbacks"
        self._prefix = Place(keyring.workspace, "opendsr_children", "payload").prefix()

    # -- out of a request -----------------------------------------------------------------------

    def changed(self, batch: Batch, request: RightsRequest) -> None:
        """Follow a step of a request, in its transaction: steps 1 and 2."""
        if request.kind != "erasure":
            return
        connection, now = batch.connection, self._clock.now()
        if request.state == "in_progress":
            profiles = set(self._identity.profiles_of(connection, request.identity_nos).values())
            members = (self._identity.members(connection, profile_no) for profile_no in sorted(profiles))
            self.materialise(batch, request, [number for numbers in members for number in numbers])
        elif request.state == "fulfilled":
            queries.release_children(connection, request.request_id, now)
        elif request.state in {"denied", "cancelled", "expired"}:
            queries.drop_children(connection, request.request_id, now)

    def materialise(self, batch: Batch, request: RightsRequest, identity_nos: Iterable[int]) -> None:
        """Store what recipients are to be told of people about to be erased.

        Repeatable: a recipient is told of a reference once in a request. It comes before the keys of these
        people are destroyed and before ``Outbox.materialise_removals``, which forgets the references.

        :param identity_nos: everybody of the person.
        """
        connection = batch.connection
        recipients = _speakers(self._policy(connection))
        known = self._gate.recalls.known_as(connection, identity_nos, recipients)
        earlier = queries.children_of(connection, request.request_id)
        children = []
        for destination, released in known.items():
            told = {ref for child in earlier if child.destination == destination for ref in self._refs(child)}
            refs = [one.profile_ref for one in released if one.profile_ref not in told]
            if refs:
                children.append(self._child(request, destination, recipients[destination], refs))
        queries.add_children(connection, batch.id, children)
        for child in children:
            batch.record(
                Entry(
                    action="opendsr.prepare",
                    actor="system",
                    purpose="rights",
                    destination=child.destination,
                    object={"request": request.request_id},
                    subjects=request.identity_nos,
                )
            )

    def _child(self, request: RightsRequest, destination: str, recipient: OpenDsr, refs: list[str]) -> Child:
        child_id, now = str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)), self._clock.now()
        regulation = request.regulation or "gdpr"
        url = self._callback(child_id) if self._callbacks.startswith("https://") else None
        body = say.asked(child_id, "erasure", regulation, request.submitted_at, refs, url)
        key = self._keyring.bucket(_bucket(child_id))
        return Child(
            child_id=child_id,
            request_id=request.request_id,
            destination=destination,
            state="queued",
            payload=seal(key, self._prefix, child_id.encode(), 0, body),
            created_at=now,
            due_at=now + recipient.within_days * DAY,
            state_at=now,
        )

    def _body(self, child: Child) -> bytes:
        key = self._keyring.bucket(_bucket(child.child_id))
        return open_sealed(key, self._prefix, child.child_id.encode(), 0, child.payload or b"")

    def _refs(self, child: Child) -> list[str]:
        if child.payload is None:
            return []
        named = msgspec.json.decode(self._body(child))["subject_identities"]
        return [one["identity_value"] for one in named]

    def _callback(self, child_id: str) -> str:
        return f"{self._callbacks}/{child_id}"

    # -- sending and asking ---------------------------------------------------------------------

    def turn(self) -> int:
        """Post what is released and ask about what was taken; returns how many recipients answered."""
        now = self._clock.now()
        with self._committer.store.reading() as connection:
            due = queries.due_children(connection, now, _AT_ONCE)
            bundle = self._policy(connection)
        heard = 0
        for child in due:
            if retrying(partial(self._claim, child, now)):
                outcome = self._outcome(child, _speakers(bundle).get(child.destination))
                heard += outcome.told is not None
                retrying(partial(self._settle, child, outcome))
        self._forget()
        return heard

    def _claim(self, child: Child, now: Micros) -> bool:
        with self._committer.batch() as batch:
            return queries.claim_child(batch.connection, child, now, now + _CLAIMED)

    def _outcome(self, child: Child, recipient: OpenDsr | None) -> Outcome:
        if recipient is None:
            return Outcome(error="undeclared", refused=True)
        if child.state != "queued":
            return self._dialogue.ask(child, recipient)
        try:
            body = self._body(child)
        except (KeyAccessError, SealError):  # a backup brought it back, and the recipient may have it
            asked = self._dialogue.ask(child, recipient)
            return msgspec.structs.replace(asked, error="expired") if asked.refused else asked
        return self._dialogue.post(child, recipient, body)

    def _settle(self, child: Child, outcome: Outcome) -> None:
        with self._committer.batch() as batch:
            held = queries.child(batch.connection, child.child_id, lock=True)
            if held is None or held.state != child.state:
                return
            if outcome.told is not None:
                self._move(batch, held, outcome.told)
                return
            now = self._clock.now()
            again = self._again(child, outcome, now)
            state: ChildState = held.state
            if outcome.refused:
                state, again = "refused", None
            elif again is None:
                state = "failed"
            changed = msgspec.structs.replace(
                held,
                state=state,
                state_at=held.state_at if state == held.state else now,
                next_attempt_at=again,
                last_error=outcome.error,
            )
            queries.save_child(batch.connection, changed)
            self._record(batch, changed, "failed")
            if not changed.open:
                self._report(batch, changed)

    @staticmethod
    def _again(child: Child, outcome: Outcome, now: Micros) -> Micros | None:
        if child.state == "queued":
            return next_try(child.attempts, outcome.wait, now)
        return now + _ASK_AGAIN if now < child.created_at + _ASKED_FOR else None

    # -- what recipients say --------------------------------------------------------------------

    def hear(self, child_id: str, headers: Mapping[str, str], raw: bytes) -> None:
        """Take a callback.

        :param headers: names in lower case.
        :raises UntrustedError: its domain is none that is declared, or cannot be believed.
        :raises InvalidInputError: it is not signed by that domain, or says nothing of that request of ours.
        """
        domain = say.header(headers, "Processor-Domain").strip().lower()
        with self._committer.store.reading() as connection:
            declared = _speakers(self._policy(connection))
            child = queries.child(connection, child_id) if is_request_id(child_id) else None
        named = {name: one for name, one in declared.items() if one.domain == domain}
        if not named:
            raise UntrustedError("the domain is none that is declared")
        meant = None if child is None else named.get(child.destination)
        self._trust.check(meant or next(iter(named.values())), headers, raw)
        told = read_told(raw)
        exact = (told.subject_request_id, told.status_callback_url) == (child_id, self._callback(child_id))
        if meant is None or not exact or told.request_status is None:
            raise InvalidInputError(
                "the callback is about no request that this domain has of us at this address"
            )
        retrying(partial(self._hear, child_id, told))

    def _hear(self, child_id: str, told: Told) -> None:
        with self._committer.batch() as batch:
            held = queries.child(batch.connection, child_id, lock=True)
            if held is not None:
                self._move(batch, held, told)

    def _move(self, batch: Batch, child: Child, told: Told) -> None:
        """Follow a recipient's word, if it says more than is known."""
        now, status = self._clock.now(), told.request_status or "pending"
        further = _RANK[status] > _RANK[child.state]
        state: ChildState = status if further else child.state
        changed = msgspec.structs.replace(
            child,
            state=state,
            state_at=now if further else child.state_at,
            expected_at=told.expected_at() or child.expected_at,
            last_error="",
            next_attempt_at=None,
        )
        if changed.open:
            changed = msgspec.structs.replace(changed, next_attempt_at=now + _ASK_AGAIN)
        queries.save_child(batch.connection, changed)
        if further:
            self._record(batch, changed, "allowed")
            self._report(batch, changed)

    def _report(self, batch: Batch, child: Child) -> None:
        request = requests.find(batch.connection, child.request_id)
        if request is not None:
            self._reports.report(batch, request)

    @staticmethod
    def _record(batch: Batch, child: Child, outcome: str) -> None:
        batch.record(
            Entry(
                action="opendsr.recipient",
                actor="system",
                outcome="allowed" if outcome == "allowed" else "failed",
                purpose="rights",
                destination=child.destination,
                object={"request": child.request_id, "state": child.state, "error": child.last_error},
            )
        )

    # -- what there is --------------------------------------------------------------------------

    def children(self, request_id: str) -> list[Child]:
        """Return every recipient's part of a request."""
        with self._committer.store.reading() as connection:
            return queries.children_of(connection, request_id)

    def observe(self) -> None:
        """Bring the figures that ``/metrics`` shows up to date."""
        _CHILDREN.clear()
        for (destination, state, late), count in self.counts().items():
            _CHILDREN.labels(destination, state, str(late).lower()).set(count)

    def counts(self) -> dict[tuple[str, str, bool], int]:
        """Return how many requests to recipients there are by (destination, state, late)."""
        with self._committer.store.reading() as connection:
            return queries.count_children(connection, self._clock.now())

    def _forget(self) -> None:
        with self._committer.store.reading() as connection:
            over = queries.said_all(connection, 10 * _AT_ONCE)
        if over:
            self._keyring.destroy_buckets([_bucket(child_id) for child_id in over])
            retrying(partial(self._forget_bodies, over))

    def _forget_bodies(self, child_ids: list[str]) -> None:
        with self._committer.batch() as batch:
            queries.forget_bodies(batch.connection, child_ids)


def _speakers(bundle: Bundle) -> dict[str, OpenDsr]:
    """Return the recipients that speak OpenDSR, by destination."""
    return {name: one.opendsr for name, one in bundle.destinations.items() if one.opendsr is not None}


def _bucket(child_id: str) -> str:
    return f"opendsr/{child_id}"
