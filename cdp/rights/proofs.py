"""What an identity check looks at: documents, and what an officer notes.

Invariants: each is sealed under a key of its request alone, from a bucket, as the person may not be known;
when the check ends, either way, the key is destroyed and the rows are deleted (``end``). Reading one is on
record. What the restore of a backup brings back has no key, and goes with the next ``forget``.
"""

from __future__ import annotations

from collections.abc import Callable

from cdp.clock import Clock
from cdp.crypto import Keyring, Place, open_sealed, seal
from cdp.errors import ConflictError, InvalidInputError, KeyAccessError, NotFoundError
from cdp.rights import queries
from cdp.rights.model import Proof, RightsRequest
from cdp.rights.steps import about, entry
from cdp.store import Batch, Committer, retrying

MOST = 20
MOST_BYTES = 1 << 20
NAMED = "named"
_AT_ONCE = 500


class Proofs:
    """Keeps them for as long as the check lasts."""

    def __init__(self, committer: Committer, keyring: Keyring, clock: Clock) -> None:
        self._committer = committer
        self._keyring = keyring
        self._clock = clock
        self._prefix = Place(keyring.workspace, "rights_proofs", "sealed").prefix()

    def add(self, actor: str, request_id: str, method: str, content: bytes) -> int:
        """Keep a proof; returns its number.

        :raises NotFoundError: there is no such request.
        :raises ConflictError: it does not wait for an identity check.
        :raises InvalidInputError: it is empty or too large, or there are too many.
        """
        if not 0 < len(content) <= MOST_BYTES:
            raise InvalidInputError(f"a proof has 1 to {MOST_BYTES:,} bytes")
        keep = self.sealing(request_id, method, content)

        def run() -> int:
            with self._committer.batch() as batch:
                request = queries.find(batch.connection, request_id, lock=True)
                if request is None:
                    raise NotFoundError("there is no such request")
                if request.state != "identity_check":
                    raise ConflictError(f"the request is {request.state}")
                proof_no = keep(batch)
                said = {**about(request), "method": method}
                batch.record(entry("rights.proof", actor, request.identity_nos, said))
            return proof_no

        return retrying(run)

    def sealing(self, request_id: str, method: str, content: bytes) -> Callable[[Batch], int]:
        """Return what stores a proof in a batch; its key is committed before that begins."""
        try:
            key = self._keyring.bucket(_bucket(request_id))
        except KeyAccessError:
            raise ConflictError("the identity check has ended") from None

        def keep(batch: Batch) -> int:
            held = queries.proof_numbers(batch.connection, request_id)
            if len(held) >= MOST:
                raise InvalidInputError(f"a request has at most {MOST} proofs")
            proof_no, now = max(held, default=0) + 1, self._clock.now()
            sealed = seal(key, self._prefix, _row(request_id, proof_no), 0, content)
            queries.add_proof(batch.connection, batch.id, request_id, proof_no, method, now, sealed)
            return proof_no

        return keep

    def read(self, actor: str, request_id: str) -> list[Proof]:
        """Return the proofs of a request, opened.

        :raises NotFoundError: there is no such request.
        """

        def run() -> list[Proof]:
            with self._committer.batch() as batch:
                request = queries.find(batch.connection, request_id)
                if request is None:
                    raise NotFoundError("there is no such request")
                rows = queries.proofs(batch.connection, request_id)
                batch.record(entry("rights.proof_read", actor, request.identity_nos, about(request)))
                if not rows or request.state != "identity_check":
                    return []
                key = self._keyring.bucket(_bucket(request_id))
                return [
                    Proof(
                        proof_no=proof_no,
                        method=method,
                        at=at,
                        content=open_sealed(key, self._prefix, _row(request_id, proof_no), 0, sealed),
                    )
                    for proof_no, method, at, sealed in rows
                ]

        return retrying(run)

    def end(self, batch: Batch, request: RightsRequest) -> None:
        """Destroy what an identity check looked at: it has ended in this batch."""
        self._keyring.destroy_buckets([_bucket(request.request_id)])
        queries.delete_proofs(batch.connection, [request.request_id])

    def forget(self) -> None:
        """Destroy what is there of checks that have ended (a backup brings it back)."""
        with self._committer.store.reading() as connection:
            over = queries.overdue_proofs(connection, _AT_ONCE)
        if over:
            self._keyring.destroy_buckets([_bucket(request_id) for request_id in over])
            with self._committer.batch() as batch:
                queries.delete_proofs(batch.connection, over)


def _bucket(request_id: str) -> str:
    return f"rights/{request_id}"


def _row(request_id: str, proof_no: int) -> bytes:
    return f"{request_id}/{proof_no}".encode()
