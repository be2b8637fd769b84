"""The export manifest: a leaf for each identity, by which presence and absence are provable. Pure.

Position = HMAC-SHA-256(the identity's proof secret, export id); value = SHA-256 of the field plan
as canonical JSON. Whoever holds a proof secret finds its position; nobody else can tell whose a leaf is.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

import rfc8785

from cdp.audit import sparse_root
from cdp.gate.model import FieldPlan
from cdp.policy import Transform

_HALF = 32


def position(proof_secret: bytes, export_id: str) -> bytes:
    """Return where an identity's leaf stands, 32 bytes."""
    return hmac.digest(proof_secret, export_id.encode(), "sha256")


def plan_value(fields: Sequence[str], plan: FieldPlan) -> bytes:
    """Return the value of a leaf: which fields were to leave, and how."""
    return sha256(rfc8785.dumps(dict(zip(fields, map(word, plan), strict=True)))).digest()


def word(transform: Transform) -> str:
    """Return a transform as text: ``kind`` or ``kind:level``."""
    return f"{transform.kind}:{transform.argument}" if transform.argument else transform.kind


def leaves(
    export_id: str, secrets: Mapping[int, bytes], values: Iterable[tuple[Iterable[int], bytes]]
) -> dict[bytes, bytes]:
    """Return position → value of every identity in ``values`` (sets of identities with their value)."""
    return {
        position(secrets[identity_no], export_id): value
        for identities, value in values
        for identity_no in identities
    }


def root(tree: Mapping[bytes, bytes]) -> bytes:
    """Return the root of the compact sparse Merkle tree over the leaves."""
    return sparse_root(tree)


def pack(tree: Mapping[bytes, bytes]) -> bytes:
    """Return the leaves sorted and packed as position(32) ‖ value(32)."""
    return b"".join(place + tree[place] for place in sorted(tree))


def size(packed: bytes) -> int:
    """Return how many leaves ``pack`` packed."""
    return len(packed) // (2 * _HALF)


def unpack(packed: bytes) -> dict[bytes, bytes]:
    """Return the leaves that ``pack`` packed."""
    return {
        packed[at : at + _HALF]: packed[at + _HALF : at + 2 * _HALF]
        for at in range(0, len(packed), 2 * _HALF)
    }
