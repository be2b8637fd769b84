"""A ciphertext or a wrapped key opens in its one place and nowhere else: whatever is moved or changed."""

from __future__ import annotations

import os
from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from hypothesis import assume, given
from hypothesis import strategies as st

from cdp.crypto import Dek, FileKeyProvider, Place, open_sealed, pae, seal
from cdp.crypto import kek as kek_module
from cdp.crypto.kek import Context, Keks, bucket_context, dek_context, kek_context, secret_context
from cdp.errors import KeyAccessError, SealError

names = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.integers(0, 2**64 - 1)
Spot = tuple[str, str, str, bytes, int, bytes]
spots = st.tuples(names, names, names, st.binary(max_size=8), numbers, st.binary(min_size=16, max_size=16))
KEY = os.urandom(32)
KEKS = {version: AESGCMSIV(os.urandom(32)) for version in (1, 2, 3)}


def keks() -> Keks:
    """Return the KEK versions 1 to 3, as though they had been loaded."""
    held = Keks.__new__(Keks)
    held.__dict__.update(_held=dict(KEKS), current=3, reload=lambda: None)
    return held


@st.composite
def moved(draw: st.DrawFn) -> tuple[Spot, Spot]:
    """Return two spots that differ in workspace, table, column, row, identity or key id."""
    here = draw(spots)
    parts = list(here)
    other = draw(spots)
    for at in draw(st.sets(st.integers(0, 5), min_size=1)):
        parts[at] = other[at]
    there: Any = tuple(parts)
    assume(there != here)
    return here, there


def _sealed(spot: Spot, value: bytes) -> bytes:
    workspace, table, column, row, number, dek_id = spot
    dek = Dek(dek_id, KEY, AESGCM(KEY))
    return seal(dek, Place(workspace, table, column).prefix(), row, number, value)


def _opened(spot: Spot, envelope: bytes) -> bytes:
    workspace, table, column, row, number, dek_id = spot
    dek = Dek(dek_id, KEY, AESGCM(KEY))
    return open_sealed(dek, Place(workspace, table, column).prefix(), row, number, envelope)


@given(moved(), st.binary(max_size=70))
def test_a_ciphertext_opens_in_its_place_only(spots_: tuple[Spot, Spot], value: bytes) -> None:
    """Even under the very same key."""
    here, there = spots_
    envelope = _sealed(here, value)
    assert _opened(here, envelope) == value
    with pytest.raises(SealError):
        _opened(there, envelope)


@given(spots, st.binary(max_size=70), st.data())
def test_a_ciphertext_with_any_bit_changed_does_not_open(
    spot: Spot, value: bytes, data: st.DataObject
) -> None:
    envelope = bytearray(_sealed(spot, value))
    at = data.draw(st.integers(0, len(envelope) * 8 - 1))
    envelope[at // 8] ^= 1 << at % 8
    with pytest.raises(SealError):
        _opened(spot, bytes(envelope))


def test_every_bit_of_the_header_is_bound() -> None:
    spot: Spot = ("w", "t", "c", b"r", 7, bytes(16))
    envelope = _sealed(spot, b"value")
    for bit in range(30 * 8):  # version, suite, dek_id, nonce
        altered = bytearray(envelope)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealError):
            _opened(spot, bytes(altered))


deks = st.tuples(
    st.just("dek"), st.tuples(names, st.integers(0, 2**63), st.sampled_from(["person", "proof"]))
).map(lambda made: (made, dek_context(*made[1])))
buckets = st.tuples(st.just("bucket"), st.tuples(names, names)).map(
    lambda made: (made, bucket_context(*made[1]))
)
keys = st.one_of(deks, buckets)
Key = tuple[Any, Context]


def _row(version: int, dek: Dek, wrapped: bytes, commitment: bytes) -> Any:
    return SimpleNamespace(dek_id=dek.dek_id, kek_version=version, wrapped=wrapped, commitment=commitment)


@given(keys, keys, st.sampled_from([1, 2, 3]))
def test_a_wrapped_key_opens_in_its_row_only(here: Key, there: Key, version: int) -> None:
    assume(here[0] != there[0])
    row = _row(version, *keks().new_key(version, here[1], os.urandom(60)))
    assert len(keks().opened(row, here[1]).key) == 32
    with pytest.raises(KeyAccessError):
        keks().opened(row, there[1])


@given(keys, st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 3]))
def test_a_wrapped_key_opens_under_its_version_only(key: Key, version: int, other: int) -> None:
    assume(version != other)
    row = _row(version, *keks().new_key(version, key[1], os.urandom(60)))
    row.kek_version = other
    with pytest.raises(KeyAccessError):
        keks().opened(row, key[1])
    row.kek_version = version
    lies = (key[1], row.dek_id, version, row.wrapped, row.commitment)
    [row.wrapped] = keks().rewrapped([lies], other)
    row.kek_version = other
    assert len(keks().opened(row, key[1]).key) == 32


@given(keys, st.sampled_from(["dek_id", "wrapped", "commitment"]), st.data())
def test_a_key_row_with_any_bit_changed_does_not_open(key: Key, column: str, data: st.DataObject) -> None:
    row = _row(1, *keks().new_key(1, key[1], os.urandom(60)))
    value = bytearray(getattr(row, column))
    at = data.draw(st.integers(0, len(value) * 8 - 1))
    value[at // 8] ^= 1 << at % 8
    setattr(row, column, bytes(value))
    with pytest.raises(KeyAccessError):
        keks().opened(row, key[1])


@given(keys, st.integers(0, 59))
def test_a_cut_key_does_not_open(key: Key, end: int) -> None:
    row = _row(1, *keks().new_key(1, key[1], os.urandom(60)))
    row.wrapped = row.wrapped[:end]
    with pytest.raises(KeyAccessError):
        keks().opened(row, key[1])


def test_a_key_of_another_length_is_not_taken() -> None:
    """AES-256 keys only: a shorter one would be taken by the cipher without a word."""
    context = dek_context("w", 1, "person")
    for size in (0, 16, 24, 31, 33):
        key, nonce = os.urandom(size), os.urandom(12)
        wrapped = nonce + KEKS[1].encrypt(nonce, key, context(bytes(16), 1))
        row = SimpleNamespace(
            dek_id=bytes(16), kek_version=1, wrapped=wrapped, commitment=kek_module.commitment(key)
        )
        row_: Any = row
        with pytest.raises(KeyAccessError):
            keks().opened(row_, context)


@given(names, numbers, names, st.binary(max_size=20), numbers)
def test_the_context_of_a_dek_is_its_plain_encoding(
    workspace: str, number: int, domain: str, dek_id: bytes, version: int
) -> None:
    given_parts = (pack("<Q", number), domain.encode(), pack("<Q", version), dek_id, b"\x01")
    plain = pae(b"cdp/dek/v1", workspace.encode(), *given_parts)
    assert dek_context(workspace, number, domain)(dek_id, version) == plain


@given(names, st.integers(1, 2**63), names, names)
def test_what_the_root_wraps_has_one_context_each(
    workspace: str, version: int, other: str, name: str
) -> None:
    contexts = [
        kek_context(workspace, version),
        kek_context(workspace, version + 1),
        secret_context(workspace, name),
        secret_context(workspace, name + "x"),
    ]
    if other != workspace:
        contexts += [kek_context(other, version), secret_context(other, name)]
    assert len(set(contexts)) == len(contexts)


def test_the_root_binds_the_context(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = FileKeyProvider.create(tmp_path_factory.mktemp("root") / "root.key")
    wrapped = root.wrap(KEY, kek_context("w", 1))
    for context in (kek_context("w", 2), kek_context("v", 1), secret_context("w", "1")):
        with pytest.raises(KeyAccessError):
            root.unwrap(wrapped, context)
