"""The compact sparse Merkle tree of an export's manifest, pure.

A map from 32-byte positions to values whose root proves for *every* position either that it is in
the map, with its value, or that it is not.

Invariants:

1. The tree has 256 levels; bit 0 of a position (its most significant) chooses left (0) or right (1)
   at the top. An empty subtree is 32 zero bytes; a subtree with one leaf *is* that leaf,
   ``SHA-256(0x00 ‖ position ‖ value)``; every other is ``SHA-256(0x01 ‖ left ‖ right)``.
2. So a map has exactly one root, whatever the order it was made in.
3. A proof walks the bits of the position asked for. Because a leaf, a node and an empty subtree can
   never have the same hash, no root has a proof of presence *and* one of absence for a position,
   also when whoever made the tree lies.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from cdp.audit.merkle import node_hash

EMPTY = bytes(32)
POSITION_BYTES = 32
_LEVELS = 256


class SparseProof(NamedTuple):
    """A path to where a position is, or would be.

    :param siblings: hashes beside the path, top first; their number is the depth where it ends.
    :param other: (position, value) of the leaf of *another* position on which the path ends; None
        when it ends on the asked leaf or on an empty subtree.
    """

    siblings: tuple[bytes, ...]
    other: tuple[bytes, bytes] | None = None


def sparse_leaf(position: bytes, value: bytes) -> bytes:
    """Return the hash of one leaf."""
    return sha256(b"\x00" + position + value).digest()


def sparse_root(leaves: Mapping[bytes, bytes]) -> bytes:
    """Return the root of {position: value}.

    :raises ValueError: a position is not 32 bytes long.
    """
    tree = _Tree(leaves)
    return tree.hash(0, len(tree.positions), 0)


def sparse_prove(leaves: Mapping[bytes, bytes], position: bytes) -> SparseProof:
    """Return the proof that ``position`` is, or is not, in the map.

    :raises ValueError: a position is not 32 bytes long.
    """
    tree = _Tree(leaves)
    _check(position)
    siblings = []
    first, end, depth = 0, len(tree.positions), 0
    while end - first > 1:
        middle = tree.split(first, end, depth)
        if _bit(position, depth):
            siblings.append(tree.hash(first, middle, depth + 1))
            first = middle
        else:
            siblings.append(tree.hash(middle, end, depth + 1))
            end = middle
        depth += 1
    other = None
    if first < end and tree.positions[first] != position:
        other = (tree.positions[first], leaves[tree.positions[first]])
    return SparseProof(tuple(siblings), other)


def verify_presence(root: bytes, position: bytes, value: bytes, proof: SparseProof) -> bool:
    """Tell whether the map behind ``root`` holds ``value`` at ``position``."""
    if len(position) != POSITION_BYTES or proof.other is not None:
        return False
    return _climb(position, sparse_leaf(position, value), proof.siblings) == root


def verify_absence(root: bytes, position: bytes, proof: SparseProof) -> bool:
    """Tell whether the map behind ``root`` holds nothing at ``position``."""
    if len(position) != POSITION_BYTES:
        return False
    if proof.other is None:
        return _climb(position, EMPTY, proof.siblings) == root
    other, value = proof.other
    depth = len(proof.siblings)
    if len(other) != POSITION_BYTES or other == position or depth > _LEVELS:
        return False
    if any(_bit(other, level) != _bit(position, level) for level in range(depth)):
        return False
    return _climb(position, sparse_leaf(other, value), proof.siblings) == root


class _Tree:
    """Sorted positions with their leaf hashes; a subtree is a slice of them."""

    def __init__(self, leaves: Mapping[bytes, bytes]) -> None:
        self.positions = sorted(leaves)
        for position in self.positions:
            _check(position)
        self._hashes = [sparse_leaf(position, leaves[position]) for position in self.positions]

    def split(self, first: int, end: int, depth: int) -> int:
        """Return where, in positions[first:end], bit ``depth`` turns from 0 to 1."""
        return bisect_left(self.positions, 1, first, end, key=lambda position: _bit(position, depth))

    def hash(self, first: int, end: int, depth: int) -> bytes:
        """Return the hash of the subtree over positions[first:end] at ``depth``."""
        if first == end:
            return EMPTY
        if end - first == 1:
            return self._hashes[first]
        middle = self.split(first, end, depth)
        return node_hash(self.hash(first, middle, depth + 1), self.hash(middle, end, depth + 1))


def _climb(position: bytes, result: bytes, siblings: Sequence[bytes]) -> bytes:
    """Return the root that ``result`` at the end of the path leads to; no root when malformed."""
    if len(siblings) > _LEVELS or any(len(sibling) != len(EMPTY) for sibling in siblings):
        return b""
    for depth in reversed(range(len(siblings))):
        sibling = siblings[depth]
        result = node_hash(sibling, result) if _bit(position, depth) else node_hash(result, sibling)
    return result


def _bit(position: bytes, depth: int) -> int:
    return position[depth >> 3] >> (7 - (depth & 7)) & 1


def _check(position: bytes) -> None:
    if len(position) != POSITION_BYTES:
        raise ValueError("a position is 32 bytes long")
