"""Proving that somebody was, or was not, in an export.

Two compact sparse Merkle trees stand behind an export (privacy.md, "Export manifest"): M, who was decided
for, and D, who was taken out again in the same decision. Released is who is in M and not in D. Their roots
are in the audit entry; a proof is checked against them by ``verify_presence`` and ``verify_absence`` of
``cdp.audit``.

Invariant: a proof is about one key, and says nothing of anybody else but hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from pyroaring import BitMap

from cdp.access import Principal
from cdp.audit import Entry, Manifest, SparseProof, sparse_prove
from cdp.crypto import Keyring
from cdp.errors import ConflictError, NotFoundError
from cdp.gate import manifest, queries
from cdp.gate.admit import Refusal
from cdp.gate.issue import Referring
from cdp.gate.judge import Judge
from cdp.store import Committer, Connection, Store, chunks

_AT_ONCE = 20_000
_TAKEN_OUT = bytes(32)


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Where one identity stands in an export.

    :param position: 32 bytes; ``value`` what stands there in M, None when nothing does.
    :param released: it is in M and not in D.
    """

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
        judge: Judge,
        refer: Referring,
    ) -> None:
        self._store = store
        self._committer = committer
        self._keyring = keyring
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

        Who was taken out while one was decided is shown as long as all of them have their keys.
        """
        for export_id in export_ids:
            with self._store.reading() as connection:
                stored = queries.load_export(connection, export_id)
            if stored is None:
                continue
            changed = BitMap.deserialize(stored.changed)
            secrets = self._keyring.proof_secrets(changed)
            tree = {manifest.position(secrets[no], export_id): _TAKEN_OUT for no in changed if no in secrets}
            shown = manifest.root(tree) == stored.authorisation.changed_root
            yield Manifest(export_id, stored.manifest, manifest.pack(tree) if shown else None)

    def of_identities(
        self, actor: str, export_id: str, identity_nos: Iterable[int], *, purpose: str | None = None
    ) -> list[Proof]:
        """Return the proof about each identity whose key is there.

        :param purpose: what they are looked at for; what the export was for when None.
        :raises NotFoundError: there is no such export.
        :raises ConflictError: somebody taken out while it was decided was erased, so D cannot be shown again.
        """
        numbers = list(identity_nos)
        with self._store.reading() as connection:
            stored = queries.load_export(connection, export_id)
        if stored is None:
            raise NotFoundError("there is no export with this id for this key")
        given = stored.authorisation
        decided = manifest.unpack(stored.manifest)
        changed = BitMap.deserialize(stored.changed)
        secrets = self._keyring.proof_secrets([*numbers, *changed])
        taken_out = {manifest.position(secrets[no], export_id): _TAKEN_OUT for no in changed if no in secrets}
        if manifest.root(taken_out) != given.changed_root:
            raise ConflictError("somebody concerned was erased; what was taken out cannot be shown again")
        proofs = []
        for number in numbers:
            if number not in secrets:
                continue
            place = manifest.position(secrets[number], export_id)
            proofs.append(
                Proof(
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
                    subjects=tuple(numbers),
                )
            )
        return proofs
