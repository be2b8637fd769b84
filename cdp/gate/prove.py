"""Proving that somebody was, or was not, in an export.

Two compact sparse Merkle trees stand behind an export (privacy.md, "Export manifest"): M, who was decided
for, and D, who was taken out again in the same decision. Released is who is in M and not in D. Their roots
are in the audit entry; a proof is checked against them by ``verify_presence`` and ``verify_absence`` of
``cdp.audit``. The leaves of both are kept, so the erasure of one person takes away no proof about others.

Invariant: a proof is about one key, and says nothing of anybody else but hashes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from pyroaring import BitMap

from cdp.access import Principal
from cdp.audit import AuditFilter, AuditLog, Entry, Manifest, SparseProof, sparse_prove
from cdp.crypto import Keyring
from cdp.errors import ConflictError, NotFoundError
from cdp.gate import manifest, queries
from cdp.gate.admit import Refusal
from cdp.gate.issue import Referring
from cdp.gate.judge import Judge
from cdp.gate.replay import queries as replay_queries
from cdp.store import Committer, Connection, Store, chunks

_AT_ONCE = 20_000


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Where one identity stands in an export.

    :param audit_index: of the entry that holds the roots.
    :param position: 32 bytes; ``value`` what stands there in M, None when nothing does.
    :param released: it is in M and not in D.
    """

    export_id: str
    audit_index: int
    position: bytes
    released: bool
    value: bytes | None
    decided: SparseProof
    taken_out: SparseProof
    manifest_root: bytes
    changed_root: bytes


class Prover:
    """Makes proofs; each is recorded, and so is each refusal."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        keyring: Keyring,
        audit: AuditLog,
        judge: Judge,
        refer: Referring,
    ) -> None:
        self._store = store
        self._committer = committer
        self._keyring = keyring
        self._audit = audit
        self._judge = judge
        self._refer = refer

    def of_reference(self, principal: Principal, export_id: str, profile_ref: str) -> Proof:
        """Return the proof about the identity that a reference is made from.

        References cannot be turned round, so every one of the destination is made again: seconds for a
        million.

        That somebody was in an export is a use of it: a destination needs what it needs to fetch, and is told
        of nobody but whom a fetch of the export that went to its end gave it.

        :raises NotFoundError: there is no such export, or no such reference at its destination, or the
            destination did not receive it.
        :raises NotPermittedError: the key's purposes, or the destination's state, stand against it.
        """
        asked = Entry(action="export.prove", actor=principal.actor)
        unknown = Refusal("unknown_reference", NotFoundError("there is no such reference in this export"))
        with self._store.reading() as connection:
            stored = queries.load_export(connection, export_id)
            if stored is None:
                self._judge.refuse(asked, unknown)
            given = stored.authorisation
            known = queries.known_anchors(connection, given.destination)
            if principal.is_recipient:
                known &= self._received(connection, stored)
        asked = msgspec.structs.replace(
            asked, purpose=given.purpose, destination=given.destination, object={"export": export_id}
        )
        if principal.destination:
            self._judge.admit(asked, principal, given.destination, given.purpose)
        anchor = self._anchor(given.destination, known, profile_ref)
        if anchor is None:
            self._judge.refuse(asked, unknown)
        return self.of_identities(principal.actor, export_id, [anchor])[0]

    @staticmethod
    def _received(connection: Connection, stored: queries.Stored) -> BitMap:
        """Return the identities that a destination was given; no fetch of a delta has it all."""
        given = stored.authorisation
        if given.mode != "full":
            return BitMap()
        released = BitMap.union(BitMap(), *(BitMap.deserialize(one.identities) for one in stored.classes))
        released -= BitMap.deserialize(stored.changed)
        fetches = queries.fetches_of(connection, given.export_id)
        ended = (released - skipped for _, finished_at, skipped in fetches if finished_at is not None)
        return BitMap.union(BitMap(), *ended)

    def _anchor(self, destination: str, known: BitMap, profile_ref: str) -> int | None:
        for part in chunks(known, _AT_ONCE):
            for anchor, released in self._refer(destination, part, ()).items():
                if released.profile_ref == profile_ref:
                    return anchor
        return None

    def manifests(self, export_ids: Iterable[str]) -> Iterator[Manifest]:
        """Yield the manifests of exports.

        Who was taken out while one was decided is not shown of an export of before that was kept, once one of
        them was erased.
        """
        for export_id in export_ids:
            with self._store.reading() as connection:
                stored = queries.load_export(connection, export_id)
                kept = replay_queries.kept(connection, export_id)
            if stored is None:
                continue
            with suppress(ConflictError):
                yield Manifest(export_id, stored.manifest, manifest.pack(self.taken_out(stored, kept)))
                continue
            yield Manifest(export_id, stored.manifest, None)

    def of_identities(
        self, actor: str, export_id: str, identity_nos: Iterable[int], *, purpose: str | None = None
    ) -> list[Proof]:
        """Return the proof about each identity whose key is there.

        :param purpose: what they are looked at for; what the export was for when None.
        :raises NotFoundError: there is no such export.
        :raises ConflictError: it is older than the kept leaves of D, and somebody taken out was erased.
        """
        numbers = tuple(identity_nos)
        held = self._keyring.proof_secrets(numbers)
        known = [held[number] for number in numbers if number in held]
        return self._of(actor, export_id, known, purpose, numbers)

    def of_secret(self, actor: str, export_id: str, secret: bytes, *, purpose: str) -> Proof:
        """Return the proof about whoever holds a proof secret: of somebody erased nobody else has it.

        Whom it is about is in no log. Raises what ``of_identities`` does.
        """
        return self._of(actor, export_id, [secret], purpose, ())[0]

    def file(self, proof: Proof) -> dict[str, Any]:
        """Return a proof as a file that stands alone: with the entry, and what puts it in the signed log.

        A checkpoint that covers the entry is signed where there is none.

        :raises AuditError: the log signs none: it does not extend an earlier one.
        """
        index = proof.audit_index
        with self._store.reading() as connection:
            checkpoint = self._audit.latest_checkpoint(connection)
        if checkpoint is None or checkpoint.size <= index:
            checkpoint = self._audit.sign_checkpoint(self._committer)
        with self._store.reading() as connection:
            (entry,) = self._audit.search(connection, AuditFilter(), 1, index + 1)
            inclusion = self._audit.inclusion(connection, index, checkpoint.size)
        return {
            "export": proof.export_id,
            "position": proof.position.hex(),
            "value": None if proof.value is None else proof.value.hex(),
            "decided": path(proof.decided),
            "taken_out": path(proof.taken_out),
            "manifest_root": proof.manifest_root.hex(),
            "changed_root": proof.changed_root.hex(),
            "audit_index": index,
            "entry": entry.data.decode(),
            "inclusion": [base64.b64encode(node).decode() for node in inclusion],
            "checkpoint": checkpoint.note,
        }

    def _of(
        self,
        actor: str,
        export_id: str,
        secrets: Iterable[bytes],
        purpose: str | None,
        subjects: tuple[int, ...],
    ) -> list[Proof]:
        with self._store.reading() as connection:
            stored = queries.load_export(connection, export_id)
            kept = replay_queries.kept(connection, export_id)
        if stored is None:
            raise NotFoundError("there is no export with this id for this key")
        given = stored.authorisation
        decided = manifest.Leaves(stored.manifest)
        taken_out = self.taken_out(stored, kept)
        proofs = []
        for secret in secrets:
            place = manifest.position(secret, export_id)
            proofs.append(
                Proof(
                    export_id=export_id,
                    audit_index=given.audit_index,
                    position=place,
                    released=place in decided and place not in taken_out,
                    value=decided.get(place),
                    decided=sparse_prove(decided, place),
                    taken_out=sparse_prove(taken_out, place),
                    manifest_root=given.manifest_root,
                    changed_root=given.changed_root,
                )
            )
        with self._committer.batch() as batch:
            batch.record(
                Entry(
                    action="export.prove",
                    actor=actor,
                    purpose=given.purpose if purpose is None else purpose,
                    destination=given.destination,
                    object={"export": export_id},
                    subjects=subjects,
                )
            )
        return proofs

    # -- who was taken out ----------------------------------------------------------------------

    def taken_out(self, stored: queries.Stored, kept: replay_queries.Kept | None) -> Mapping[bytes, bytes]:
        """Return the leaves of D: as they are kept, or made again for an export older than that.

        :raises ConflictError: they cannot be made again: one of these people was erased.
        """
        if kept is not None:
            return manifest.Leaves(kept.taken_out)
        given = stored.authorisation
        made = self._made_again(given.export_id, BitMap.deserialize(stored.changed), given.changed_root)
        if made is None:
            raise ConflictError(
                "the version that decided this export kept no leaves of who was taken out, and one of these "
                "people was erased since; nobody can be proved in it, or not in it"
            )
        return made

    def _made_again(self, export_id: str, changed: BitMap, root: bytes) -> dict[bytes, bytes] | None:
        secrets = self._keyring.proof_secrets(changed).values()
        made = {manifest.position(secret, export_id): manifest.TAKEN_OUT for secret in secrets}
        return made if manifest.root(made) == root else None

    def keep_older(self) -> int:
        """Keep the leaves of D of exports decided before they were kept, as far as the secrets exist.

        Called at each start: from then on no erasure takes away what proves others in or out.

        :returns: how many exports lack them for good, as one of these people was erased before.
        """
        with self._store.reading() as connection:
            lacking = replay_queries.without_leaves(connection, manifest.root({}))
        lost = 0
        for export_id, changed, root in lacking:
            made = self._made_again(export_id, changed, root)
            if made is None:
                lost += 1
                continue
            with self._committer.batch() as batch:
                kept = replay_queries.Kept(manifest.pack(made))
                replay_queries.add_record(batch.connection, export_id, kept)
        return lost


def path(proof: SparseProof) -> dict[str, Any]:
    """Return a proof of a tree as JSON: hashes in hex, from the top down."""
    other = None if proof.other is None else [part.hex() for part in proof.other]
    return {"siblings": [sibling.hex() for sibling in proof.siblings], "other": other}
