"""The Merkle tree of the audit log (RFC 6962 section 2.1, RFC 9162 section 2.1), pure.

Invariants:

1. A leaf is ``SHA-256(0x00 ‖ entry)``, a node ``SHA-256(0x01 ‖ left ‖ right)``, the empty tree
   ``SHA-256("")``. A tree of n > 1 leaves splits at the largest power of two below n.
2. A complete subtree never changes. It is named (level, index): the hash over the leaves
   ``[index << level, (index + 1) << level)``, and stored at ``position(level, index)``: positions
   count hashes in the order in which appending completes them, so a growing log only adds at the
   end and reading positions in order replays the appends.
3. Every hash that a root or a proof needs spans leaves that complete subtrees cover, so making one
   reads O(log n) stored hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()

Span = tuple[int, int]
"""Leaves [first, end)."""
Nodes = Callable[[int, int], bytes]
"""(level, index) → the hash of that complete subtree."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry as a leaf."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node over its two children."""
    return sha256(b"\x01" + left + right).digest()


def root(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes.

    Level by level, and what has no sibling goes up as it is: the same tree as splitting at the largest power
    of two (RFC 9162, 2.1.1).
    """
    level = list(leaves)
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        level = above + level[2 * len(above) :]
    return level[0] if level else EMPTY_ROOT


class Frontier:
    """The compact range of a log: all that appending and the root need of what came before.

    :param size: leaves so far.
    :param packed: hashes of the complete subtrees, largest (leftmost) first, one for each 1 bit of
        ``size``, 32 bytes each.
    :raises ValueError: ``packed`` is not as long as ``size`` asks.
    """

    def __init__(self, size: int = 0, packed: bytes = b"") -> None:
        if len(packed) != size.bit_count() * HASH_BYTES:
            raise ValueError("a frontier needs one hash for each complete subtree")
        self.size = size
        self.hashes = unpack(packed)

    def append(self, leaf: bytes) -> list[bytes]:
        """Add one leaf hash; returns the hashes this completes, in the order of their positions."""
        completed = [leaf]
        for _ in range(completed_levels(self.size)):
            completed.append(node_hash(self.hashes.pop(), completed[-1]))
        self.hashes.append(completed[-1])
        self.size += 1
        return completed

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        return _fold(self.hashes)

    def packed(self) -> bytes:
        """Return the hashes as the constructor takes them."""
        return b"".join(self.hashes)


def unpack(packed: bytes) -> list[bytes]:
    """Cut concatenated hashes apart."""
    return [packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES)]


def completed_levels(leaf_index: int) -> int:
    """Return how many levels above it the leaf ``leaf_index`` completes: its trailing 1 bits."""
    return (~leaf_index & (leaf_index + 1)).bit_length() - 1


def position(level: int, index: int) -> int:
    """Return where the hash of a complete subtree is stored, from 0."""
    return position_count(((index + 1) << level) - 1) + level


def position_count(size: int) -> int:
    """Return how many hashes a log of ``size`` leaves stores."""
    return 2 * size - size.bit_count()


# -- proofs: which leaves each hash spans ---------------------------------------------------------


def inclusion_spans(index: int, size: int) -> list[Span]:
    """Return what each hash of the proof of leaf ``index`` in ``size`` spans, leaf side first.

    RFC 9162 section 2.1.3.1. :raises ValueError: not 0 ≤ index < size.
    """
    if not 0 <= index < size:
        raise ValueError("an inclusion proof needs 0 <= index < size")
    spans: list[Span] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((first, middle))
            first = middle
    return spans[::-1]


def consistency_spans(old: int, new: int) -> list[Span]:
    """Return what each hash of the proof from size ``old`` to ``new`` spans.

    RFC 9162 section 2.1.4.1. :raises ValueError: not 0 ≤ old ≤ new.
    """
    if not 0 <= old <= new:
        raise ValueError("a consistency proof needs 0 <= old <= new")
    if old in (0, new):
        return []
    spans: list[Span] = []
    first, end = 0, new
    while end != old:
        middle = first + _split(end - first)
        if old <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((first, middle))
            first = middle
    if first > 0:  # otherwise the last hash is the old root itself, which the verifier holds
        spans.append((first, end))
    return spans[::-1]


def subtrees(span: Span) -> list[tuple[int, int]]:
    """Return the complete subtrees (level, index) that cover a span of the tree, left to right."""
    first, end = span
    found = []
    while first < end:
        level = (end - first).bit_length() - 1
        found.append((level, first >> level))
        first += 1 << level
    return found


def span_hash(span: Span, nodes: Nodes) -> bytes:
    """Return the hash over the leaves of a span, e.g. ``(0, size)`` for the root at ``size``."""
    return _fold([nodes(level, index) for level, index in subtrees(span)])


def _split(size: int) -> int:
    """Return the largest power of two strictly below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def _fold(hashes: Sequence[bytes]) -> bytes:
    """Join complete subtrees, smallest first."""
    if not hashes:
        return EMPTY_ROOT
    return reduce(lambda right, left: node_hash(left, right), reversed(hashes))


# -- proofs: verification -------------------------------------------------------------------------
#
# RFC 9162 walks the bits of two numbers to find out on which side each hash belongs and when the
# proof must end. The spans say both at once; what is accepted is the same (the tests compare).


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether ``leaf`` (a leaf hash) is number ``index`` of the tree (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size or not _are_hashes((leaf, *proof)):
        return False
    spans = inclusion_spans(index, size)
    if len(proof) != len(spans):
        return False
    result = leaf
    for (first, _), sibling in zip(spans, proof, strict=True):
        result = node_hash(result, sibling) if first > index else node_hash(sibling, result)
    return result == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether the tree of ``new`` leaves begins with that of ``old`` (RFC 9162, 2.1.4.2).

    Every tree extends the empty one, so ``old`` = 0 asks only for the empty root and no proof.
    """
    if not 0 <= old <= new or not _are_hashes(proof):
        return False
    if old == 0:
        proved = old_root == EMPTY_ROOT and (_are_hashes((new_root,)) if new else new_root == EMPTY_ROOT)
        return proved and not proof
    if old == new:
        return old_root == new_root and not proof
    spans = consistency_spans(old, new)
    if len(proof) != len(spans):
        return False
    rest = list(zip(spans, proof, strict=True))
    old_result = old_root if old & (old - 1) == 0 else rest.pop(0)[1]
    new_result = old_result
    for (first, _), sibling in rest:
        if first >= old:
            new_result = node_hash(new_result, sibling)
        else:
            old_result, new_result = node_hash(sibling, old_result), node_hash(sibling, new_result)
    return old_result == old_root and new_result == new_root


def _are_hashes(values: Iterable[bytes]) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
