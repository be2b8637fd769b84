"""What controllers are told of their requests: a status when they ask, a callback at each change.

1. ``report`` compares where a request stands with what was told last, in the transaction that moved it, and
   queues a callback to each of its URLs for a change. That work was taken up moves no state, and that a
   recipient is late is nobody's act: ``follow`` reports those.
2. ``send`` makes the callbacks that are due: claims each, signs its body, posts it, and settles what came of
   it. 2xx is taken; anything else is tried again at the times of ``cdp.export.retries``, then has failed.
3. A URL is told its changes in order: the next one waits until the one before was tried; one that was tried
   in vain gives way to it.
4. When a request is over and nobody is left to call, the key of its addresses is destroyed.

Invariants: an address that is called is checked as for webhooks; a callback holds no personal data; an
address is stored sealed, as a controller may have put anything into it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from prometheus_client import Gauge

from cdp.audit import Entry
from cdp.clock import DAY, SECOND, Clock, Micros
from cdp.crypto import CertifiedSigner, Keyring, Place, open_sealed, seal
from cdp.errors import KeyAccessError, SealError
from cdp.export import next_try
from cdp.policy import Bundle
from cdp.rights import queries as requests
from cdp.rights.deadline import due_at
from cdp.rights.model import RightsRequest
from cdp.rights.opendsr import queries, say
from cdp.rights.opendsr.model import FINAL, AskedKind, Callback, Status, Taken, status_of
from cdp.rights.opendsr.transport import Answer, Call, Transport
from cdp.store import Batch, Committer, Connection, retrying

_CALLBACKS = Gauge("cdp_opendsr_callbacks", "OpenDSR callbacks to controllers by state", ["state"])
_AT_ONCE = 20
_FOLLOWED = 500  # requests of one turn
_CLAIMED = 60 * SECOND  # longer than a call lasts
_GONE = Answer(status=0, error="expired")  # nobody can say any more where
_URLS = msgspec.json.Decoder(list[str])

Results = Callable[[RightsRequest], str | None]
"""Where what a request gave can be fetched: unguessable and expiring; None where there is nothing."""


class Reports:
    """Tells controllers where their requests stand.

    :param domain: ours, for which the certificate of ``signer`` is; None where OpenDSR is not set up.
    """

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        transport: Transport,
        policy: Callable[[], Bundle],
        clock: Clock,
        *,
        domain: str,
        signer: CertifiedSigner | None,
        results: Results,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._transport = transport
        self._policy = policy
        self._clock = clock
        self.domain = domain
        self.signer = signer
        self._results = results
        self._prefix = Place(keyring.workspace, "opendsr_requests", "callbacks").prefix()

    # -- where a request stands -----------------------------------------------------------------

    def standing(self, connection: Connection, request: RightsRequest) -> Status:
        """Return where a request stands."""
        now = self._clock.now()
        waiting = any(
            child.open and not child.late(now)
            for child in queries.children_of(connection, request.request_id)
        )
        return status_of(request, waiting=waiting)

    def expected_at(self, kind: AskedKind, submitted_at: Micros) -> Micros:
        """Return by when a request is to be over: the earliest deadline of all, less recipients' time.

        The laws that bind the person would tell where they live, and that they are known.
        """
        bundle = self._policy()
        recipients = [one.opendsr for one in bundle.destinations.values() if one.opendsr is not None]
        margin = max((one.within_days for one in recipients), default=0) * DAY if kind == "erasure" else 0
        rights = bundle.rights
        return due_at(submitted_at, rights.deadlines.get(kind, {}).values(), rights.time_zone) - margin

    def said(
        self, taken: Taken, request: RightsRequest, standing: Status, *, callback_url: str | None = None
    ) -> bytes:
        """Return the body that says where a request stands."""
        results = None
        if standing == "completed" and request.kind != "erasure":
            url = self._results(request)
            results = () if url is None else (url,)
        return say.status(
            str(taken.key_id),
            taken.subject_request_id,
            taken.expected_at + request.due_at - taken.due_at,
            standing,
            results=results,
            callback_url=callback_url,
        )

    def headers(self, body: bytes) -> dict[str, str]:
        """Return the headers of a body of ours, signed where we can sign."""
        return say.headers(self.domain, None if self.signer is None else self.signer.sign(body))

    # -- changes --------------------------------------------------------------------------------

    def report(self, batch: Batch, request: RightsRequest) -> None:
        """Queue what is to be told of a request's change; nothing where no controller made it."""
        connection = batch.connection
        taken = queries.taken(connection, request.request_id, lock=True)
        if taken is None or taken.reported in FINAL:
            return
        standing = self.standing(connection, request)
        if standing == taken.reported:
            return
        now, step = self._clock.now(), taken.step + 1
        queries.report(connection, request.request_id, standing, step)
        queries.supersede(connection, request.request_id)
        queries.add_callbacks(
            connection,
            batch.id,
            [
                Callback(
                    request_id=request.request_id,
                    step=step,
                    url_no=number,
                    status=standing,
                    state="queued",
                    created_at=now,
                    attempts=0,
                    next_attempt_at=now,
                )
                for number in range(taken.urls)
            ],
        )
        batch.record(
            Entry(
                action="opendsr.report",
                actor="system",
                purpose="rights",
                object={"request": request.request_id, "status": standing},
                counts={"callbacks": taken.urls},
            )
        )

    def follow(self) -> None:
        """Report what changed without a step: work that was taken up, recipients that are late."""
        with self._committer.store.reading() as connection:
            found = queries.begun(connection, _FOLLOWED)
            found += queries.late_parents(connection, self._clock.now(), _FOLLOWED)
        for request_id in found:
            retrying(partial(self._report_again, request_id))

    def _report_again(self, request_id: str) -> None:
        with self._committer.batch() as batch:
            request = requests.find(batch.connection, request_id)
            if request is not None:
                self.report(batch, request)

    # -- addresses ------------------------------------------------------------------------------

    def sealed_urls(self, request_id: str, urls: tuple[str, ...]) -> bytes | None:
        """Return the addresses of a request as they are stored; None for none."""
        if not urls:
            return None
        key = self._keyring.bucket(_bucket(request_id))
        return seal(key, self._prefix, request_id.encode(), 0, msgspec.json.encode(urls))

    def _url(self, taken: Taken, number: int) -> str:
        key = self._keyring.bucket(_bucket(taken.request_id))
        opened = open_sealed(key, self._prefix, taken.request_id.encode(), 0, taken.callbacks or b"")
        return _URLS.decode(opened)[number]

    # -- sending --------------------------------------------------------------------------------

    def turn(self) -> None:
        """Report and send what there is, for as long as somebody takes it."""
        self.follow()
        while self.send():
            pass

    def send(self) -> int:
        """Make the callbacks that are due; returns how many were taken."""
        if self.signer is None:
            return 0
        now = self._clock.now()
        with self._committer.store.reading() as connection:
            due = queries.due_callbacks(connection, now, _AT_ONCE)
        mine = retrying(partial(self._claim, due, now)) if due else []
        calls = {number: call for number, one in enumerate(mine) if (call := self._call(one)) is not None}
        answers = dict(zip(calls, self._transport.calls(list(calls.values())), strict=True))
        told = [(one, answers.get(number, _GONE)) for number, one in enumerate(mine)]
        if told:
            retrying(partial(self._settle, told))
        self._forget()
        return sum(not answer.error for _, answer in told)

    def _claim(self, due: Sequence[Callback], now: Micros) -> list[Callback]:
        with self._committer.batch() as batch:
            until = now + _CLAIMED
            return [one for one in due if queries.claim_callback(batch.connection, one, now, until)]

    def _call(self, callback: Callback) -> Call | None:
        """Return what to post; None when nobody can say any more where."""
        with self._committer.store.reading() as connection:
            taken = queries.taken(connection, callback.request_id)
            request = requests.find(connection, callback.request_id)
        if taken is None or request is None:
            return None
        try:
            url = self._url(taken, callback.url_no)
        except (KeyAccessError, SealError):
            return None
        body = self.said(taken, request, callback.status, callback_url=url)
        return Call(method="POST", url=url, headers=self.headers(body), body=body)

    def _settle(self, told: Sequence[tuple[Callback, Answer]]) -> None:
        now = self._clock.now()
        with self._committer.batch() as batch:
            for callback, answer in told:
                again = None if answer is _GONE else next_try(callback.attempts, answer.wait, now)
                queries.settle_callback(batch.connection, callback, answer.error, again)
                about: dict[str, str | int] = {
                    "request": callback.request_id,
                    "status": callback.status,
                    "url": callback.url_no,
                }
                batch.record(
                    Entry(
                        action="opendsr.callback",
                        actor="system",
                        outcome="failed" if answer.error else "allowed",
                        purpose="rights",
                        object=about,
                    )
                )

    def _forget(self) -> None:
        with self._committer.store.reading() as connection:
            over = queries.told_all(connection, _AT_ONCE)
        if over:
            self._keyring.destroy_buckets([_bucket(request_id) for request_id in over])
            retrying(partial(self._forget_urls, over))

    def _forget_urls(self, request_ids: list[str]) -> None:
        with self._committer.batch() as batch:
            queries.forget_urls(batch.connection, request_ids)

    def observe(self) -> None:
        """Bring the figures that ``/metrics`` shows up to date."""
        _CALLBACKS.clear()
        for state, count in self.counts().items():
            _CALLBACKS.labels(state).set(count)

    def counts(self) -> dict[str, int]:
        """Return how many callbacks there are, by state."""
        with self._committer.store.reading() as connection:
            return queries.count_callbacks(connection)


def _bucket(request_id: str) -> str:
    return f"opendsr/{request_id}"
