"""The export manifest: a leaf for each identity, by which presence and absence are provable. Pure.

Position = HMAC-SHA-256(the identity's proof secret, export id); value = SHA-256 of the field plan
as canonical JSON. Whoever holds a proof secret finds its position; nobody else can tell whose a leaf is.
"""

from __future__ import annotations

import hmac
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from operator import ge

import rfc8785

from cdp.audit import sparse_root
from cdp.errors import IntegrityError
from cdp.gate.model import FieldPlan
from cdp.policy import Transform

_HALF = 32
_LEAF = 2 * _HALF
TAKEN_OUT = bytes(32)
"""The value of each leaf of D."""


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
    return len(packed) // _LEAF


class Leaves(Mapping[bytes, bytes]):
    """The leaves that ``pack`` packed, as they lie: of a million people they take 64 MB, and no more.

    :raises IntegrityError: they are not sorted and distinct, or the last one is not whole.
    """

    def __init__(self, packed: bytes) -> None:
        self._packed = packed
        self._count = size(packed)
        places = list(self)
        if len(packed) % _LEAF or any(map(ge, places, islice(places, 1, None))):
            raise IntegrityError("an export is not as it was stored: its manifest is no sorted leaves")

    def position(self, at: int) -> bytes:
        """Return the position of the leaf at a place in their order."""
        return self._packed[at * _LEAF : at * _LEAF + _HALF]

    def place(self, position: bytes) -> int | None:
        """Return the place of a position's leaf in their order; None where there is none."""
        at = bisect_left(range(self._count), position, key=self.position)
        return at if at < self._count and self.position(at) == position else None

    def value(self, at: int) -> bytes:
        """Return the value of the leaf at a place in their order."""
        return self._packed[at * _LEAF + _HALF : (at + 1) * _LEAF]

    def __getitem__(self, position: bytes) -> bytes:
        at = self.place(position)
        if at is None:
            raise KeyError(position)
        return self.value(at)

    def __iter__(self) -> Iterator[bytes]:
        return map(self.position, range(self._count))

    def __len__(self) -> int:
        return self._count
