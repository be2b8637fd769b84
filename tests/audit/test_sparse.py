"""The compact sparse Merkle tree of export manifests."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdp.audit import SparseProof, node_hash, sparse_prove, sparse_root, verify_absence, verify_presence
from cdp.audit.sparse import EMPTY, sparse_leaf
from cdp.audit.verify import RefusedError, is_in, manifest_root

# Positions that share long beginnings, down to all but the last bit, beside random ones.
positions = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 9).map(lambda number: number.to_bytes(32)),
    st.integers(0, 9).map(lambda number: (number << 248).to_bytes(32)),
)
maps = st.dictionaries(positions, st.binary(max_size=8), max_size=12)


def naive_root(leaves: dict[bytes, bytes], prefix: str = "") -> bytes:
    """The definition, bit text by bit text."""
    inside = {
        key: value for key, value in leaves.items() if f"{int.from_bytes(key):0256b}".startswith(prefix)
    }
    if not inside:
        return bytes(32)
    if len(inside) == 1:
        ((key, value),) = inside.items()
        return sha256(b"\x00" + key + value).digest()
    return sha256(b"\x01" + naive_root(inside, prefix + "0") + naive_root(inside, prefix + "1")).digest()


@given(maps)
@example({})
@example({bytes(32): b"", (1).to_bytes(32): b""})
def test_root_is_that_of_the_definition(leaves: dict[bytes, bytes]) -> None:
    assert sparse_root(leaves) == naive_root(leaves)


@given(maps, st.randoms())
def test_root_does_not_depend_on_order(leaves: dict[bytes, bytes], random: object) -> None:
    items = list(leaves.items())
    random.shuffle(items)  # type: ignore[attr-defined]  # Hypothesis gives a random.Random
    assert sparse_root(dict(items)) == sparse_root(leaves)


@given(maps, positions, st.binary(max_size=8))
def test_any_change_changes_the_root(leaves: dict[bytes, bytes], position: bytes, value: bytes) -> None:
    changed = leaves | {position: value}
    assert (sparse_root(changed) == sparse_root(leaves)) == (changed == leaves)


@given(maps, positions)
def test_each_position_is_proved_present_or_absent_and_never_both(
    leaves: dict[bytes, bytes], position: bytes
) -> None:
    root = sparse_root(leaves)
    for asked in {position, *leaves}:
        proof = sparse_prove(leaves, asked)
        value = leaves.get(asked, b"")
        assert verify_presence(root, asked, value, proof) == (asked in leaves)
        assert verify_absence(root, asked, proof) == (asked not in leaves)


@given(maps.filter(bool), positions, st.data())
def test_no_forged_proof_passes(leaves: dict[bytes, bytes], other: bytes, data: st.DataObject) -> None:
    root = sparse_root(leaves)
    position = data.draw(st.sampled_from(sorted(leaves)))
    value = leaves[position]
    proof = sparse_prove(leaves, position)
    # Another value, another position, a lengthened, shortened or altered path.
    assert not verify_presence(root, position, value + b"!", proof)
    if other not in leaves:
        assert not verify_presence(root, other, value, proof)
    assert not verify_presence(root, position, value, proof._replace(siblings=(*proof.siblings, EMPTY)))
    # A path to the person's own leaf, or a pretended neighbour or void, does not prove absence.
    claims = [None, (position, value), *((key, leaves[key]) for key in leaves), (other, b"")]
    for claim in claims:
        for cut in range(len(proof.siblings) + 1):
            forged = SparseProof(proof.siblings[:cut], claim)
            assert not verify_absence(root, position, forged)
    if proof.siblings:
        assert not verify_presence(root, position, value, proof._replace(siblings=proof.siblings[:-1]))
        at = data.draw(st.integers(0, len(proof.siblings) - 1))
        altered = bytearray(proof.siblings[at])
        altered[data.draw(st.integers(0, 31))] ^= 1
        siblings = (*proof.siblings[:at], bytes(altered), *proof.siblings[at + 1 :])
        assert not verify_presence(root, position, value, SparseProof(siblings))


def test_a_leaf_in_the_wrong_place_proves_nothing() -> None:
    """Whoever makes a tree by hand cannot pass off a leaf of the right half as one of the left."""
    asked, misplaced, right = bytes(32), b"\xc0" + bytes(31), b"\x80" + bytes(31)
    root = node_hash(sparse_leaf(misplaced, b"x"), sparse_leaf(right, b"y"))
    assert not verify_absence(root, asked, SparseProof((sparse_leaf(right, b"y"),), (misplaced, b"x")))


def test_the_empty_map_proves_absence_only() -> None:
    position = bytes(31) + b"\x07"
    assert sparse_root({}) == EMPTY
    assert verify_absence(EMPTY, position, SparseProof(()))
    assert not verify_presence(EMPTY, position, b"", SparseProof(()))


def test_neighbours_in_the_last_bit_lie_256_levels_down() -> None:
    left, right = bytes(32), (1).to_bytes(32)
    leaves = {left: b"a", right: b"b"}
    proof = sparse_prove(leaves, left)
    assert len(proof.siblings) == 256
    assert proof.siblings[-1] == sparse_leaf(right, b"b")
    assert set(proof.siblings[:-1]) == {EMPTY}
    assert verify_presence(sparse_root(leaves), left, b"a", proof)


def test_malformed_input_is_refused() -> None:
    position = bytes(32)
    root = sparse_root({position: b"x"})
    with pytest.raises(ValueError, match="32 bytes"):
        sparse_root({b"short": b""})
    with pytest.raises(ValueError, match="32 bytes"):
        sparse_prove({}, b"short")
    assert not verify_presence(root, b"short", b"x", SparseProof(()))
    assert not verify_absence(root, b"short", SparseProof(()))
    assert not verify_absence(root, position, SparseProof((), (b"short", b"x")))
    assert not verify_presence(root, position, b"x", SparseProof((EMPTY,) * 257))
    assert not verify_absence(root, position, SparseProof((b"short",)))


# -- the offline verifier, which shares no code with the tree above ---------------------------------

values = st.binary(min_size=32, max_size=32)
manifests = st.dictionaries(positions, values, max_size=12)


def packed(leaves: dict[bytes, bytes]) -> bytes:
    return b"".join(position + leaves[position] for position in sorted(leaves))


@given(manifests)
@example({bytes(32): bytes(32), (1).to_bytes(32): bytes(32)})
def test_the_verifier_finds_the_same_root(leaves: dict[bytes, bytes]) -> None:
    assert manifest_root(packed(leaves)) == sparse_root(leaves)


@given(manifests, positions, values, st.data())
def test_the_verifier_believes_the_same_proofs(
    leaves: dict[bytes, bytes], position: bytes, value: bytes, data: st.DataObject
) -> None:
    root = sparse_root(leaves)
    asked = data.draw(st.sampled_from([position, *leaves]))
    proof = sparse_prove(leaves, data.draw(st.sampled_from([asked, position])))
    others = [proof.other, None, (position, value), *leaves.items()]
    cut = data.draw(st.integers(0, len(proof.siblings)))
    given_proof = SparseProof(proof.siblings[:cut], data.draw(st.sampled_from(others)))
    for claimed in (leaves.get(asked, value), value):
        assert is_in(root, asked, claimed, *given_proof) == verify_presence(root, asked, claimed, given_proof)
    assert is_in(root, asked, None, *given_proof) == verify_absence(root, asked, given_proof)


@pytest.mark.parametrize(
    ("leaves", "message"),
    [
        ([b"\x01", b"\x00"], "leaf 1 is misplaced"),
        ([b"\x00", b"\x01", b"\x01"], "leaf 2 is there twice"),
    ],
)
def test_the_verifier_refuses_leaves_that_are_misplaced_or_doubled(leaves: list[bytes], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        manifest_root(b"".join(leaf * 64 for leaf in leaves))
    with pytest.raises(RefusedError, match="cut off"):
        manifest_root(bytes(63))
