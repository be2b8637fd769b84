"""The Merkle tree, and the verifier that shares no code with it.

Against the RFC's own recursion, the specification's vectors, attacks, and pymerkle.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from cdp.audit import merkle, verify

ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
NODE_23 = bytes.fromhex("5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e")
NODE_67 = bytes.fromhex("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0")
NODE_45 = bytes.fromhex("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a")
NODE_4567 = bytes.fromhex("6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4")
ROOT_2, ROOT_4 = bytes.fromhex(ROOTS[2]), bytes.fromhex(ROOTS[4])


class Log:
    """A log as it is stored: hashes by position."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        frontier = merkle.Frontier()
        self.stored = [digest for leaf in leaves for digest in frontier.append(leaf)]
        self.frontier = frontier

    def hashes(self, spans: Sequence[merkle.Span]) -> list[bytes]:
        return [merkle.span_hash(span, self._node) for span in spans]

    def _node(self, level: int, index: int) -> bytes:
        return self.stored[merkle.position(level, index)]

    def inclusion(self, index: int, size: int) -> list[bytes]:
        return self.hashes(merkle.inclusion_spans(index, size))

    def consistency(self, old: int, new: int) -> list[bytes]:
        return self.hashes(merkle.consistency_spans(old, new))


# -- the RFC's own text, word for word -------------------------------------------------------------


def naive_root(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return merkle.EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = naive_split(len(leaves))
    return merkle.node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def naive_split(size: int) -> int:
    k = 1
    while 2 * k < size:
        k *= 2
    return k


def naive_inclusion(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = naive_split(len(leaves))
    if index < k:
        return [*naive_inclusion(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_inclusion(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_consistency(old: int, leaves: Sequence[bytes], *, known: bool = True) -> list[bytes]:
    if old == len(leaves):
        return [] if known else [naive_root(leaves)]
    k = naive_split(len(leaves))
    if old <= k:
        return [*naive_consistency(old, leaves[:k], known=known), naive_root(leaves[k:])]
    return [*naive_consistency(old - k, leaves[k:], known=False), naive_root(leaves[:k])]


def rfc_verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162 section 2.1.3.2."""
    if index >= size:
        return False
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = merkle.node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = merkle.node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def rfc_verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """RFC 9162 section 2.1.4.2, for 0 < old < new."""
    if not proof:
        return False
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = merkle.node_hash(c, fr), merkle.node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = merkle.node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return fr == old_root and sr == new_root and sn == 0


# -- vectors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(9))
def test_roots_of_the_specification(size: int) -> None:
    assert merkle.root(LEAVES[:size]).hex() == ROOTS[size]
    assert grown(LEAVES[:size]).root().hex() == ROOTS[size]


def grown(leaves: Sequence[bytes]) -> verify.Frontier:
    """The verifier's tree."""
    tree = verify.Frontier()
    for leaf in leaves:
        tree.append(leaf)
    return tree


def test_leaf_hashes_of_the_specification() -> None:
    assert LEAVES[0].hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert LEAVES[5].hex() == "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658"
    assert LEAVES[7].hex() == "46f6ffadd3d06a09ff3c5860d2755c8b9819db7df44251788c7d8e3180de8eb1"


@pytest.mark.parametrize(
    ("index", "size", "proof"),
    [
        (0, 8, [LEAVES[1], NODE_23, NODE_4567]),
        (5, 8, [LEAVES[4], NODE_67, ROOT_4]),
        (2, 3, [ROOT_2]),
        (1, 5, [LEAVES[0], NODE_23, LEAVES[4]]),
        (0, 1, []),
    ],
)
def test_inclusion_proofs_of_the_specification(index: int, size: int, proof: list[bytes]) -> None:
    assert Log(LEAVES).inclusion(index, size) == proof
    for checker in (merkle, verify):
        assert checker.verify_inclusion(index, size, LEAVES[index], proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [
        (1, 8, [LEAVES[1], NODE_23, NODE_4567]),
        (6, 8, [NODE_45, NODE_67, ROOT_4]),
        (2, 5, [NODE_23, LEAVES[4]]),
        (5, 5, []),
        (0, 5, []),
        (0, 0, []),
    ],
)
def test_consistency_proofs_of_the_specification(old: int, new: int, proof: list[bytes]) -> None:
    assert Log(LEAVES).consistency(old, new) == proof
    for checker in (merkle, verify):
        assert checker.verify_consistency(
            old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), proof
        )


def cases(shared: Path, kind: str) -> list[tuple[str, dict[str, object]]]:
    folder = shared / "vectors" / "merkle" / "testdata" / kind
    found = [(str(path.relative_to(folder)), json.loads(path.read_text())) for path in folder.rglob("*.json")]
    assert len(found) == 98
    return found


def decoded(value: object) -> list[bytes]:
    return [b64decode(item) for item in value] if isinstance(value, list) else []


@pytest.mark.parametrize("checker", [merkle, verify])
def test_public_inclusion_vectors_and_attacks(shared: Path, checker: ModuleType) -> None:
    for name, case in cases(shared, "inclusion"):
        accepted = checker.verify_inclusion(
            int(str(case["leafIdx"])),
            int(str(case["treeSize"])),
            b64decode(str(case["leafHash"])),
            decoded(case["proof"]),
            b64decode(str(case["root"])),
        )
        assert accepted is not case["wantErr"], name


@pytest.mark.parametrize("checker", [merkle, verify])
def test_public_consistency_vectors_and_attacks(shared: Path, checker: ModuleType) -> None:
    for name, case in cases(shared, "consistency"):
        accepted = checker.verify_consistency(
            int(str(case["size1"])),
            int(str(case["size2"])),
            b64decode(str(case["root1"])),
            b64decode(str(case["root2"])),
            decoded(case["proof"]),
        )
        assert accepted is not case["wantErr"], name


# -- properties ------------------------------------------------------------------------------------

sizes = st.integers(1, 130)


def leaves_of(size: int) -> list[bytes]:
    return [merkle.leaf_hash(b"%d" % number) for number in range(size)]


@given(st.integers(0, 300))
def test_root_and_frontier_are_those_of_the_recursion(size: int) -> None:
    leaves = leaves_of(size)
    log = Log(leaves)
    assert log.frontier.root() == merkle.root(leaves) == naive_root(leaves)
    assert log.hashes([(0, size)]) == [naive_root(leaves)]
    assert len(log.stored) == merkle.position_count(size)
    again = merkle.Frontier(size, log.frontier.packed())
    again.append(leaves[0] if leaves else b"\x00" * 32)
    assert again.root() == naive_root([*leaves, leaves[0] if leaves else b"\x00" * 32])


@given(sizes, st.data())
def test_inclusion_proofs_are_those_of_the_recursion(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    proof = Log(leaves_of(size + 7)).inclusion(index, size)  # a longer log proves its past as well
    assert proof == naive_inclusion(index, leaves)
    assert merkle.verify_inclusion(index, size, leaves[index], proof, naive_root(leaves))


@given(sizes, st.data())
def test_consistency_proofs_are_those_of_the_recursion(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    leaves = leaves_of(new)
    proof = Log(leaves_of(new + 5)).consistency(old, new)
    assert proof == naive_consistency(old, leaves)
    assert merkle.verify_consistency(old, new, naive_root(leaves[:old]), naive_root(leaves), proof)


@given(sizes, st.data())
def test_altered_proofs_are_refused_as_the_rfc_refuses_them(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    log, root = Log(leaves), naive_root(leaves)
    old = data.draw(st.integers(1, size))
    index = data.draw(st.integers(0, size - 1))
    claimed_index = data.draw(st.integers(0, size + 2))
    claimed_size = data.draw(st.integers(old, size + 3))
    pool = [*log.stored, root]
    hashes = st.lists(st.sampled_from(pool), max_size=9)
    proof = data.draw(st.one_of(st.just(log.inclusion(index, size)), hashes))
    assert merkle.verify_inclusion(
        claimed_index, claimed_size, leaves[index], proof, root
    ) == rfc_verify_inclusion(claimed_index, claimed_size, leaves[index], proof, root)
    proof = data.draw(st.one_of(st.just(log.consistency(old, size)), hashes))
    old_root = data.draw(st.sampled_from([naive_root(leaves[:old]), *pool]))
    if old < claimed_size:
        assert merkle.verify_consistency(old, claimed_size, old_root, root, proof) == rfc_verify_consistency(
            old, claimed_size, old_root, root, proof
        )


@given(sizes, st.data())
def test_one_flipped_bit_anywhere_is_refused(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size + 1)
    log, root = Log(leaves), naive_root(leaves)
    index = data.draw(st.integers(0, size))
    old = data.draw(st.integers(1, size))
    parts = [leaves[index], root, *log.inclusion(index, size + 1)]
    _flip(parts, data)
    assert not merkle.verify_inclusion(index, size + 1, parts[0], parts[2:], parts[1])
    parts = [naive_root(leaves[:old]), root, *log.consistency(old, size + 1)]
    _flip(parts, data)
    assert not merkle.verify_consistency(old, size + 1, parts[0], parts[1], parts[2:])


def _flip(parts: list[bytes], data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 255))
    parts[which] = (int.from_bytes(parts[which]) ^ 1 << bit).to_bytes(32)


def test_hashes_of_another_length_are_refused() -> None:
    proof = Log(LEAVES).inclusion(0, 8)
    root = bytes.fromhex(ROOTS[8])
    assert not merkle.verify_inclusion(0, 8, LEAVES[0], [proof[0] + proof[1], *proof[1:]], root)
    assert not merkle.verify_inclusion(0, 1, b"", [], b"")
    assert not merkle.verify_consistency(1, 8, LEAVES[0], root, [proof[0][:31], *proof[1:]])


def test_sizes_below_zero_are_refused() -> None:
    assert not merkle.verify_inclusion(-1, 8, LEAVES[0], [], LEAVES[0])
    assert not merkle.verify_consistency(-1, 8, LEAVES[0], LEAVES[0], [])
    with pytest.raises(ValueError, match="index < size"):
        merkle.inclusion_spans(8, 8)
    with pytest.raises(ValueError, match="old <= new"):
        merkle.consistency_spans(9, 8)


def test_a_frontier_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="one hash for each"):
        merkle.Frontier(3, b"\x00" * 32)


@pytest.mark.parametrize("size", [257, 65_537])
def test_sizes_just_over_a_tile(size: int) -> None:
    leaves = leaves_of(size)
    log = Log(leaves)
    root = log.frontier.root()
    assert root == naive_root(leaves) == grown(leaves).root()
    for index in (0, 1, 255, 256, size - 1):
        assert merkle.verify_inclusion(index, size, leaves[index], log.inclusion(index, size), root)
    for old in (1, 255, 256, size - 1):
        assert merkle.verify_consistency(
            old, size, merkle.root(leaves[:old]), root, log.consistency(old, size)
        )


@given(st.integers(0, 600), st.integers(0, 600))
def test_the_verifier_grows_its_tree_by_whole_subtrees(first: int, more: int) -> None:
    leaves = leaves_of(first + more)
    log, tree = Log(leaves), grown(leaves[:first])
    covered = 0
    for at, level in verify.cover(first, first + more):
        assert (at, tree.size % (1 << level)) == (tree.size, 0)
        tree.append(log._node(level, at >> level), level)
        covered += 1
    assert tree.root() == log.frontier.root()
    assert covered <= 2 * (first + more).bit_length()


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=80))
def test_an_independent_implementation_agrees(entries: list[bytes]) -> None:
    theirs = InmemoryTree(algorithm="sha256")
    theirs.append_entries(entries)
    ours = Log([merkle.leaf_hash(entry) for entry in entries])
    for size in range(1, len(entries) + 1):
        assert ours.hashes([(0, size)]) == [theirs.get_root(size)]
        index = size // 2
        assert [theirs.get_leaf(index + 1), *ours.inclusion(index, size)] == (
            theirs.prove_inclusion(index + 1, size).path
        )


@given(st.integers(0, 5000))
def test_positions_are_dense_and_in_the_order_of_completion(index: int) -> None:
    first = merkle.position_count(index)
    completed = [(level, index >> level) for level in range(merkle.completed_levels(index) + 1)]
    assert [merkle.position(*subtree) for subtree in completed] == list(
        range(first, merkle.position_count(index + 1))
    )
