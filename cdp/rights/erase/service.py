"""Erasure on request.

The steps of ``recovery.Eraser``, and then:

5. Every file is rid of them: the mirror's are rewritten, the databases' are scrubbed. Until then the request
   is in progress, and its work is taken up again each turn.
6. The log says that it is done; the proof secrets of the person are sealed for their certificate.
7. The certificate is handed over **once**: what sealed it is destroyed then, or after ``KEPT``.

Invariants: a request is fulfilled when nothing readable is left but what its certificate says; whoever asks
while another erasure of the same person is under way waits for that one. Somebody whom the platform does not
know is erased already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from cdp.audit import AuditLog, Entry
from cdp.clock import DAY, Clock, Micros
from cdp.crypto import Keyring, Place, open_sealed, seal
from cdp.errors import NotFoundError
from cdp.policy import Bundle
from cdp.recovery import Eraser, Stop, StoppedError
from cdp.rights.erase.certificate import Logged, compose
from cdp.rights.model import Denied, Fulfilled, RightsRequest
from cdp.rights.steps import CONTROLLER, PURPOSE
from cdp.store import Batch, Committer, retrying
from cdp.warehouse import Mirror

KEPT: Micros = 30 * DAY
"""How long a certificate waits to be fetched."""
BeforeDestroying = Callable[[Batch, RightsRequest, Sequence[int]], None]
_secrets = msgspec.json.Decoder(list[str]).decode


class ErasureService:
    """The fulfiller of erasure.

    ``holds`` are asked under the locks what stands against an erasure: the request is denied with the code of
    the first that answers. ``before_destroying`` is called while keys and values are there, in the
    transaction that stores the recalls, and again where that has to be repeated.
    """

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        audit: AuditLog,
        eraser: Eraser,
        mirror: Mirror,
        policy: Callable[[], Bundle],
        key_backup_days: int,
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._audit = audit
        self._eraser = eraser
        self._mirror = mirror
        self._policy = policy
        self._key_backup_days = key_backup_days
        self._clock = clock
        self._place = Place(keyring.workspace, "erasures", "certificate").prefix()
        self.holds: list[Stop] = []
        self.before_destroying: list[BeforeDestroying] = []

    def fulfil(self, request: RightsRequest) -> Fulfilled | Denied | None:
        """Do what can be done now; None: the files are not rewritten yet."""
        request_id = request.request_id
        try:
            bound = self._eraser.bind(request_id, request.identity_nos, self.holds)
        except StoppedError as stopped:
            return Denied(stopped.reason)
        if bound is None:
            return Fulfilled()
        if bound.erasure_id != request_id:
            return Fulfilled(result={"erasure": bound.erasure_id}) if bound.step == "done" else None
        done = self._eraser.advance(request_id, [partial(self._tell, request)])
        if done.step != "done":
            numbers, epoch = self._eraser.numbers(request_id)
            if not (self._mirror.is_rid_of(epoch) and self._eraser.scrub()):  # 5
                return None
            self._certify(request_id, numbers, done.deleted)
            done = self._eraser.advance(request_id)
        self._eraser.end_proofs()
        return Fulfilled(
            result={"erasure": request_id, "identities": done.identities, "entry": done.entry or 0}
        )

    def _tell(self, request: RightsRequest, batch: Batch, identity_nos: Sequence[int]) -> None:
        for one in self.before_destroying:
            one(batch, request, identity_nos)

    def _certify(self, request_id: str, numbers: Sequence[int], deleted: dict[str, int]) -> None:
        """Say in the log that it is done, and seal the secrets by which its subject finds that."""
        secrets = sorted(secret.hex() for secret in self._keyring.proof_secrets(numbers).values())
        key = self._keyring.bucket(_bucket(request_id))
        sealed = seal(key, self._place, request_id.encode(), 0, msgspec.json.encode(secrets))
        said = Entry(
            action="rights.erased",
            actor="system",
            purpose=PURPOSE,
            destination=CONTROLLER,
            object={"request": request_id},
            people={"identities": len(numbers), **{name.replace(" ", "_"): n for name, n in deleted.items()}},
            subjects=tuple(numbers),
        )

        def log() -> int:
            with self._committer.batch() as batch:
                batch.record(said)
            return batch.audit_indexes[0]

        entry = retrying(log)

        def finish() -> None:
            with self._committer.batch() as batch:
                self._eraser.finish(batch, request_id, entry, sealed)

        retrying(finish)

    # -- the certificate ------------------------------------------------------------------------

    def certificate(self, actor: str, request: RightsRequest) -> dict[str, Any]:
        """Hand the certificate of a request over, this once.

        :raises NotFoundError: the request is no erasure that is done, or its certificate was handed over, or
            nobody fetched it in time.
        """
        self._audit.sign_checkpoint(self._committer)

        def run() -> dict[str, Any] | None:
            with self._committer.batch() as batch:
                done = self._eraser.collect(batch, request.request_id)
                said = Entry(
                    action="rights.certificate",
                    actor=actor,
                    outcome="failed" if done is None else "allowed",
                    purpose=PURPOSE,
                    destination=CONTROLLER,
                    object={"request": request.request_id},
                )
                batch.record(said)
                if done is None or done.certificate is None:
                    return None
                key = self._keyring.bucket(_bucket(done.erasure_id))
                held = open_sealed(key, self._place, done.erasure_id.encode(), 0, done.certificate)
                logged = self._logged(batch, done.entry or 0)
                return compose(
                    done,
                    request.submitted_at,
                    logged,
                    _secrets(held),
                    self._policy().rights,
                    self._key_backup_days,
                )

        made = retrying(run)
        if made is None:
            raise NotFoundError("there is no certificate of this request, or it was handed over already")
        self._keyring.destroy_buckets([_bucket(request.request_id)])
        return made

    def _logged(self, batch: Batch, index: int) -> Logged:
        connection = batch.connection
        checkpoint = self._audit.latest_checkpoint(connection)
        entry = self._audit.entry(connection, index)
        if checkpoint is None or checkpoint.size <= index or entry is None:
            raise NotFoundError("no published checkpoint of the audit log covers this erasure yet")
        return Logged(
            index=index,
            data=entry.data,
            hashes=self._audit.inclusion(connection, index, checkpoint.size),
            note=checkpoint.note,
            key=self._audit.verifier_text(checkpoint),
        )

    def expire(self) -> None:
        """Destroy what has been kept for its time: certificates that nobody fetched, proof of consent."""
        for erasure_id in self._eraser.uncollected(self._clock.now() - KEPT):
            self._keyring.destroy_buckets([_bucket(erasure_id)])
            retrying(partial(self._drop, erasure_id))
        self._eraser.end_proofs()

    def _drop(self, erasure_id: str) -> None:
        with self._committer.batch() as batch:
            self._eraser.collect(batch, erasure_id)


def _bucket(request_id: str) -> str:
    return f"certificate/{request_id}"
