"""OpenDSR 2.0 as processor: what controllers ask of us (sections 3 to 7).

A request is taken in in these steps:

1. Its body is read whole and checked; what does not fit is refused without repeating any of it.
2. A body that was taken in before, under the same ``subject_request_id`` of the same controller, is answered
   as it was the first time; another body under that id is refused.
3. Those it names are looked up. Nobody may have any of the identities: the request is taken in all the same,
   and answered alike.
4. The request is opened as one of somebody verified, as the controller has seen to that, and stored together
   with what the controller calls it and where it wants to be told.

Invariants: a controller, which is the key that called, sees its own requests and no other; of the body only a
keyed digest is kept, as it holds identities; every body that leaves is signed as it stands.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import lru_cache, partial

from cdp.access import Principal
from cdp.audit import Entry
from cdp.clock import Clock
from cdp.crypto import CertifiedSigner, Keyring, derive
from cdp.errors import ConflictError, InvalidInputError, NotFoundError
from cdp.export import check_url
from cdp.identity import IdentityService
from cdp.policy import Bundle
from cdp.rights import queries as requests
from cdp.rights.model import NOBODY, RightsRequest
from cdp.rights.opendsr import queries, say
from cdp.rights.opendsr.model import Callback, Submission, Taken
from cdp.rights.opendsr.read import is_request_id, read_submission
from cdp.rights.opendsr.reports import Reports
from cdp.rights.service import RightsService
from cdp.store import Batch, Committer

CERTIFICATE = "/v2/certificate.pem"
_OVER = "the request is not pending any more"


class OpenDsrProcessor:
    """Answers controllers; every answer is (body, headers).

    :param public_url: where controllers reach this server; its host is our domain.
    :param loopback: whether this machine may be called back: for tests.
    """

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        identity: IdentityService,
        rights: RightsService,
        reports: Reports,
        policy: Callable[[], Bundle],
        clock: Clock,
        *,
        public_url: str,
        loopback: bool,
    ) -> None:
        self._committer = committer
        self._digest_key = derive(keyring.secret("index"), b"cdp/opendsr/v1", keyring.workspace.encode())
        self._identity = identity
        self._rights = rights
        self._reports = reports
        self._policy = policy
        self._clock = clock
        self._certificate_url = public_url.rstrip("/") + CERTIFICATE
        self._check_url = partial(check_url, loopback=loopback)
        self._signed = lru_cache(16)(self._sign)  # what anybody may ask for is signed once

    @property
    def domain(self) -> str:
        """Our domain."""
        return self._reports.domain

    @property
    def signer(self) -> CertifiedSigner:
        """What signs.

        :raises NotFoundError: OpenDSR is not set up here.
        """
        if self._reports.signer is None:
            raise NotFoundError(
                "OpenDSR is not set up here; CDP_OPENDSR_CERTIFICATE and CDP_OPENDSR_KEY do that"
            )
        return self._reports.signer

    def discovery(self) -> tuple[bytes, dict[str, str]]:
        """Say what we are.

        :raises NotFoundError: OpenDSR is not set up here.
        """
        return self._signed(self.signer, say.discovery(self._declared, self._certificate_url))

    def take(self, principal: Principal, raw: bytes) -> tuple[bytes, dict[str, str]]:
        """Take in a request.

        :param principal: the controller.
        :param raw: the body, as it came.
        :raises MalformedBodyError: it is no JSON.
        :raises InvalidInputError: it does not say what it has to, or its id stands for another request.
        :raises NotFoundError: OpenDSR is not set up here.
        """
        signer = self.signer
        asked = read_submission(  # 1
            raw,
            domain=self.domain,
            now=self._clock.now(),
            declared=self._declared,
            check_url=self._check_url,
        )
        digest = hmac.digest(self._digest_key, raw, "sha256")
        taken = self._as_before(principal, asked, digest)  # 2
        if taken is None:
            try:
                taken = self._open(principal, asked, digest)
            except ConflictError:  # the very same call, twice at a time
                taken = self._as_before(principal, asked, digest)
                if taken is None:
                    raise
        controller, request_id = str(principal.key_id), taken.subject_request_id
        body = say.created(controller, request_id, taken.received_at, taken.expected_at, raw)
        return self._sign(signer, body)

    def standing(self, principal: Principal, subject_request_id: str) -> tuple[bytes, dict[str, str]]:
        """Say where a request stands.

        :raises NotFoundError: this controller has no such request, or OpenDSR is not set up here.
        """
        signer = self.signer
        taken = self._own(principal, subject_request_id)
        request = self._rights.find(principal.actor, taken.request_id)
        with self._committer.store.reading() as connection:
            standing = self._reports.standing(connection, request)
        return self._sign(signer, self._reports.said(taken, request, standing))

    def cancel(self, principal: Principal, subject_request_id: str) -> tuple[bytes, dict[str, str]]:
        """Take a request back that is still pending.

        :raises NotFoundError: this controller has no such request, or OpenDSR is not set up here.
        :raises InvalidInputError: it is not pending any more.
        """
        signer, received_at = self.signer, self._clock.now()
        taken = self._own(principal, subject_request_id)
        with self._committer.store.reading() as connection:
            request = requests.find(connection, taken.request_id)
            standing = None if request is None else self._reports.standing(connection, request)
        if standing != "pending":
            raise InvalidInputError(_OVER)
        try:
            self._rights.cancel(principal.actor, taken.request_id)
        except ConflictError:
            raise InvalidInputError(_OVER) from None
        return self._sign(signer, say.cancelled(str(principal.key_id), subject_request_id, received_at))

    def callbacks(self, request_id: str) -> tuple[Taken | None, list[Callback]]:
        """Return what is known of a request that a controller made, for the officer's eyes."""
        with self._committer.store.reading() as connection:
            return queries.taken(connection, request_id), queries.callbacks_of(connection, request_id)

    # -- inside ---------------------------------------------------------------------------------

    def _declared(self, kind: str) -> bool:
        return self._policy().identity.of(kind) is not None

    def _own(self, principal: Principal, subject_request_id: str) -> Taken:
        found = None
        if is_request_id(subject_request_id):
            with self._committer.store.reading() as connection:
                found = queries.taken_as(connection, principal.key_id, subject_request_id)
        if found is None:
            raise NotFoundError("there is no request of this id")
        return found

    def _as_before(self, principal: Principal, asked: Submission, digest: bytes) -> Taken | None:
        with self._committer.store.reading() as connection:
            known = queries.taken_as(connection, principal.key_id, asked.subject_request_id)
        if known is not None and not hmac.compare_digest(known.digest, digest):
            raise InvalidInputError("subject_request_id stands for another request already")
        return known

    def _open(self, principal: Principal, asked: Submission, digest: bytes) -> Taken:
        made: list[Taken] = []
        expected_at = self._reports.expected_at(asked.kind, asked.submitted_at)

        def store(batch: Batch, request: RightsRequest) -> None:  # 4
            taken = Taken(
                request_id=request.request_id,
                key_id=principal.key_id,
                subject_request_id=asked.subject_request_id,
                kind=asked.kind,
                digest=digest,
                received_at=request.opened_at,
                expected_at=max(request.opened_at, expected_at),
                due_at=request.due_at,
                callbacks=self._reports.sealed_urls(request.request_id, asked.callbacks),
                urls=len(asked.callbacks),
            )
            if not queries.add_taken(batch.connection, batch.id, taken):
                raise ConflictError("the request was taken in meanwhile")
            batch.record(_entry(principal, asked, request))
            made[:] = [taken]

        with self._committer.store.reading() as connection:  # 3
            found = [self._identity.find(connection, *identifier) for identifier in asked.identifiers]
        numbers = list(dict.fromkeys(number for number in found if number is not None))
        self._rights.open(
            principal.actor,
            numbers[0] if numbers else NOBODY,
            asked.kind,
            "opendsr",
            others=numbers[1:],
            regulation=asked.regulation,
            external_id=asked.subject_request_id,
            submitted_at=asked.submitted_at,
            also=store,
        )
        return made[0]

    def _sign(self, signer: CertifiedSigner, body: bytes) -> tuple[bytes, dict[str, str]]:
        return body, say.headers(self.domain, signer.sign(body))


def _entry(principal: Principal, asked: Submission, request: RightsRequest) -> Entry:
    return Entry(
        action="opendsr.take",
        actor=principal.actor,
        purpose="rights",
        object={
            "request": request.request_id,
            "kind": asked.kind,
            "regulation": asked.regulation,
            "regulation_given": int(asked.regulation_given),
        },
        counts={"ignored": asked.ignored, "callbacks": len(asked.callbacks)},
        subjects=request.identity_nos,
    )
